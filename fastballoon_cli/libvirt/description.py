"""What a domain's XML says of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from xml.etree import ElementTree

from fastballoon_cli.units import KIB

__all__ = ["FEATURES", "QEMU", "Description"]

#: Properties of the balloon that a patched QEMU has. Who wants them has to name them in the XML.
FEATURES = ("x-page-bitmap", "x-drop-cache", "x-free-pages")
#: The namespace of what libvirt passes on to QEMU as it is.
QEMU = "http://libvirt.org/schemas/domain/qemu/1.0"
#: libvirt's word for what the memory of a domain is virtualized by -> ours.
_ACCELERATORS = {"qemu": "tcg"}
_UNITS = {"b": 1, "bytes": 1, "KiB": KIB, "MiB": KIB**2, "GiB": KIB**3, "TiB": KIB**4}


@dataclass(frozen=True, kw_only=True)
class Description:
    """A domain as it runs now.

    :ivar memory_bytes: all of the guest's memory, what was plugged in included.
    :ivar balloon_ram_bytes: of it, what QEMU counts the balloon against: what it was started with, and DIMMs.
    :ivar lent_bytes: of it, what virtio-mem lends at most.
    :ivar extended: whether the XML names a feature of fastballoon's QEMU, or free page hinting.
    :ivar balloon: whether there is a virtio balloon.
    :ivar stats_interval_s: how often the guest is asked for statistics; 0: never.
    :ivar ports: the virtio-serial ports that somebody in the guest has open: name -> socket on its host.
    :ivar huge_pages: whether its memory is in huge pages, which libvirt does not count as resident.
    """

    memory_bytes: int
    balloon_ram_bytes: int
    lent_bytes: int
    cpus: int
    accel: str
    extended: bool
    balloon: bool
    stats_interval_s: int
    ports: Mapping[str, Path]
    huge_pages: bool

    @classmethod
    def parse(cls, xml: str) -> Self:
        """Return what the XML of a domain that runs says."""
        root = ElementTree.fromstring(xml)
        memory = _size(root.find("memory"))
        plugged = {
            model: sum(_size(one.find("target/size")) for one in root.findall(f"devices/memory[@model='{model}']"))
            for model in {str(one.get("model")) for one in root.findall("devices/memory")}
        }
        vcpu, period = root.find("vcpu"), root.find("devices/memballoon/stats")
        kind = str(root.get("type"))
        return cls(
            memory_bytes=memory,
            balloon_ram_bytes=memory - sum(plugged.values()) + plugged.get("dimm", 0),
            lent_bytes=plugged.get("virtio-mem", 0),
            cpus=1 if vcpu is None else int(vcpu.get("current") or vcpu.text or 1),
            accel=_ACCELERATORS.get(kind, kind),
            extended=_names(root, (*FEATURES, "free-page-hint")),
            balloon=any(str(one.get("model")).startswith("virtio") for one in root.findall("devices/memballoon")),
            stats_interval_s=0 if period is None else int(period.get("period") or 0),
            ports=_open_ports(root),
            huge_pages=root.find("memoryBacking/hugepages") is not None,
        )


def _open_ports(root: ElementTree.Element) -> dict[str, Path]:
    found = {}
    for channel in root.findall("devices/channel[@type='unix']"):
        source, target = channel.find("source"), channel.find("target[@type='virtio'][@state='connected']")
        if source is not None and target is not None:
            found[str(target.get("name"))] = Path(str(source.get("path")))
    return found


def _size(element: ElementTree.Element | None) -> int:
    if element is None:
        return 0
    return int(element.text or 0) * _UNITS[element.get("unit", "KiB")]


def _names(root: ElementTree.Element, features: tuple[str, ...]) -> bool:
    """Return whether one of the features is named in what libvirt passes on to QEMU."""
    passed = [
        *(str(one.get("value")) for one in root.iter(f"{{{QEMU}}}arg")),
        *(str(one.get("name")) for one in root.iter(f"{{{QEMU}}}property")),
    ]
    return any(feature in text for text in passed for feature in features)
