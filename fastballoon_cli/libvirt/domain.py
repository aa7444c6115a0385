"""A domain in plain types: bytes, seconds, words."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from fastballoon_cli.libvirt.connection import Connection, binding
from fastballoon_cli.libvirt.description import Description
from fastballoon_cli.units import KIB

__all__ = ["LibvirtDomain"]

_NS = 1e9


@dataclass(frozen=True)
class LibvirtDomain:
    """libvirt's own words for a domain. Every method raises as :meth:`Connection.call`.

    :ivar handle: the binding's object.
    """

    connection: Connection
    handle: Any

    @property
    def name(self) -> str:
        """The domain's name."""
        return str(self.handle.name())

    @property
    def uuid(self) -> str:
        """What names it for good."""
        return str(self.handle.UUIDString())

    def runs(self) -> bool:
        """Return whether it has a QEMU, be its guest paused or not."""
        return bool(self._call(self.handle.isActive))

    def describe(self) -> Description:
        """Return what it is like."""
        return Description.parse(self._call(self.handle.XMLDesc, 0))

    def persistent(self) -> bool:
        """Return whether it stays defined when it is shut down."""
        return bool(self._call(self.handle.isPersistent))

    def defined(self) -> str:
        """Return its XML as it is when it starts next, with what is secret in it."""
        lib = binding()
        flags = lib.VIR_DOMAIN_XML_INACTIVE | lib.VIR_DOMAIN_XML_SECURE
        xml: str = self._call(self.handle.XMLDesc, flags)
        return xml

    def emulator(self) -> Path | None:
        """Return the program that it starts with next, if its XML names it."""
        named = ElementTree.fromstring(self.defined()).findtext("devices/emulator")
        return Path(named) if named else None

    def state(self) -> str:
        """Return what its guest does, in words as QEMU has them: ``running``, ``paused`` and others."""
        state = self._call(self.handle.state)[0]
        words = {
            "VIR_DOMAIN_RUNNING": "running",
            "VIR_DOMAIN_BLOCKED": "running",
            "VIR_DOMAIN_PAUSED": "paused",
            "VIR_DOMAIN_SHUTDOWN": "shutdown",
            "VIR_DOMAIN_SHUTOFF": "shut off",
            "VIR_DOMAIN_CRASHED": "crashed",
            "VIR_DOMAIN_PMSUSPENDED": "suspended",
        }
        return next((word for name, word in words.items() if getattr(binding(), name, None) == state), f"{state}")

    def has_job(self) -> bool:
        """Return whether libvirt is at work that takes its time: a migration, a snapshot, a backup."""
        return bool(self._call(self.handle.jobInfo)[0] != binding().VIR_DOMAIN_JOB_NONE)

    def can_be_asked(self) -> bool:
        """Return whether nobody else is asking its QEMU something, who would have to be waited for.

        While libvirt connects to a migration's destination, say, every other question takes up to 30 s.
        """
        return bool(self._call(self.handle.controlInfo)[0] == binding().VIR_DOMAIN_CONTROL_OK)

    def memory_stats(self) -> Mapping[str, int]:
        """Return what libvirt has of its memory, under libvirt's names: sizes in KiB, ``last_update`` in seconds."""
        stats: Mapping[str, int] = self._call(self.handle.memoryStats)
        return stats

    def set_memory(self, size: int) -> None:
        """Ask the guest to do with ``size`` bytes; returns at once."""
        self._call(self.handle.setMemoryFlags, size // KIB, binding().VIR_DOMAIN_AFFECT_LIVE)

    def poll_stats(self, interval: int) -> None:
        """Have the guest asked for statistics every so many seconds; 0: no more."""
        self._call(self.handle.setMemoryStatsPeriod, interval, binding().VIR_DOMAIN_AFFECT_LIVE)

    def vcpu_seconds(self) -> float:
        """Return for how long its virtual CPUs have run so far; of QEMU as a whole where they share a thread."""
        stats = self.connection.bulk_stats(self.handle, binding().VIR_DOMAIN_STATS_VCPU)
        times = [value for name, value in stats.items() if name.startswith("vcpu.") and name.endswith(".time")]
        return (sum(times) if times else int(self._call(self.handle.info)[4])) / _NS

    def tainted_by_monitor(self) -> bool:
        """Return whether libvirt has noted that somebody used the domain's monitor past it; False if unknown."""
        kind = getattr(binding(), "VIR_DOMAIN_MESSAGE_TAINTING", None)  # 7.1
        if kind is None:
            return False
        return any("monitor" in said for said in self._call(self.handle.messages, kind))

    def _call(self, function: Any, *arguments: Any) -> Any:
        return self.connection.call(function, *arguments)
