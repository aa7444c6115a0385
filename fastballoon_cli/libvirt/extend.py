"""What a domain's XML needs so that its balloon has the features of fastballoon's QEMU."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

from fastballoon_cli.errors import PreconditionError
from fastballoon_cli.libvirt.description import FEATURES, QEMU

__all__ = ["Extended", "extend"]

#: Version of libvirt that has ``qemu:override``.
_OVERRIDE = (8, 2)
_DEVICE = "virtio-balloon-pci"

ElementTree.register_namespace("qemu", QEMU)


@dataclass(frozen=True)
class Extended:
    """A domain with the features.

    :ivar xml: all of it.
    :ivar added: what is new in it, as somebody would write it with ``virsh edit``; empty if there is nothing to add.
    """

    xml: str
    added: str


def extend(
    xml: str,
    *,
    libvirt_version: str,
    emulator: Path | None = None,
    firmware: Sequence[Path] = (),
    features: Collection[str] = FEATURES,
) -> Extended:
    """Add to a domain's XML what switches the features on.

    :param xml: of a domain as it is defined, running or not.
    :param libvirt_version: of the daemon, such as ``9.0.0``.
    :param emulator: another QEMU than the domain has.
    :param firmware: folders that this QEMU is to be told of.
    :param features: those that it knows.
    :raise PreconditionError: the domain has no virtio balloon.
    """
    root = ElementTree.fromstring(xml)
    balloon = next((one for one in root.findall("devices/memballoon") if one.get("model") != "none"), None)
    if balloon is None:
        raise PreconditionError(
            f"domain '{root.findtext('name')}' has no balloon", hint="add to its devices: <memballoon model='virtio'/>"
        )
    added = []
    if emulator and root.findtext("devices/emulator") != str(emulator):
        devices = root.find("devices")
        assert devices is not None, "a balloon was found in it"
        found = root.find("devices/emulator")
        if found is None:
            found = ElementTree.Element("emulator")
            devices.insert(0, found)
        found.text = str(emulator)
        added.append(f"<devices>\n  <emulator>{emulator}</emulator>\n</devices>")
    words = [word for folder in firmware for word in ("-L", str(folder))]
    alias = balloon.find("alias")
    name = "balloon0" if alias is None else str(alias.get("name"))
    wanted = [feature for feature in FEATURES if feature in features]
    if tuple(int(part) for part in libvirt_version.split(".")[:2]) < _OVERRIDE:
        words += [word for feature in wanted for word in ("-global", f"{_DEVICE}.{feature}=on")]
    else:
        added += _override(root, name, wanted)
    added += _arguments(root, words)
    ElementTree.indent(root)
    return Extended(ElementTree.tostring(root, encoding="unicode"), "\n".join(added))


def _override(root: ElementTree.Element, alias: str, features: Sequence[str]) -> list[str]:
    """Switch the features on that are not mentioned for the device; return what was added."""
    override = _child(root, "override")
    device = next((one for one in override if one.get("alias") == alias), None)
    if device is None:
        device = ElementTree.SubElement(override, f"{{{QEMU}}}device", alias=alias)
    frontend = _child(device, "frontend")
    mentioned = {one.get("name") for one in frontend}
    new = [feature for feature in features if feature not in mentioned]
    for feature in new:
        ElementTree.SubElement(frontend, f"{{{QEMU}}}property", name=feature, type="bool", value="true")
    if not new:
        return []
    lines = [f"      <qemu:property name='{feature}' type='bool' value='true'/>" for feature in new]
    return [
        "<qemu:override>",
        f"  <qemu:device alias='{alias}'>",
        "    <qemu:frontend>",
        *lines,
        "    </qemu:frontend>",
        "  </qemu:device>",
        "</qemu:override>",
    ]


def _arguments(root: ElementTree.Element, words: Sequence[str]) -> list[str]:
    """Add pairs of words to QEMU's command line that are not in it; return what was added."""
    line = _child(root, "commandline")
    there = [str(one.get("value")) for one in line.findall(f"{{{QEMU}}}arg")]
    pairs = list(pairwise(there))
    new = [word for pair in zip(words[::2], words[1::2], strict=True) if pair not in pairs for word in pair]
    for word in new:
        ElementTree.SubElement(line, f"{{{QEMU}}}arg", value=word)
    if not new:
        if not len(line):
            root.remove(line)
        return []
    return ["<qemu:commandline>", *(f"  <qemu:arg value='{word}'/>" for word in new), "</qemu:commandline>"]


def _child(parent: ElementTree.Element, name: str) -> ElementTree.Element:
    """Return a child of QEMU's namespace, which is made if it is missing."""
    found = parent.find(f"{{{QEMU}}}{name}")
    return ElementTree.SubElement(parent, f"{{{QEMU}}}{name}") if found is None else found
