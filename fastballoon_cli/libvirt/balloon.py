"""The balloon of a domain: moved by libvirt, and what libvirt does not know of it asked of its monitor."""

import time
from typing import Any

from fastballoon_cli.errors import PreconditionError
from fastballoon_cli.libvirt.domain import LibvirtDomain
from fastballoon_cli.qemu.balloon import BalloonDevice, DeviceCounters, GuestStats
from fastballoon_cli.qemu.monitor import Monitor
from fastballoon_cli.units import KIB

__all__ = ["DomainBalloon"]

#: Seconds that an answer may be older than two clocks make it.
_UNSURE = 1.0
#: libvirt's name of a figure of the guest -> QEMU's; KiB there, bytes here.
_SIZES = {
    "available": "stat-total-memory",
    "unused": "stat-free-memory",
    "usable": "stat-available-memory",
    "disk_caches": "stat-disk-caches",
    "swap_in": "stat-swap-in",
    "swap_out": "stat-swap-out",
}
#: The same of what is counted.
_COUNTS = {"major_fault": "stat-major-faults", "minor_fault": "stat-minor-faults"}


class DomainBalloon:
    """The virtio-balloon of a domain.

    :ivar ram_bytes: of the VM's memory that the balloon is counted against.
    :param monitor: for what the features of a patched QEMU have to tell, where the domain's XML names any.
    :raise PreconditionError: the domain has no balloon.
    """

    def __init__(self, domain: LibvirtDomain, monitor: Monitor) -> None:
        self._domain = domain
        description = domain.describe()
        if not description.balloon:
            raise PreconditionError(
                f"domain '{domain.name}' has no virtio balloon", hint="its XML needs: <memballoon model='virtio'/>"
            )
        self.ram_bytes = description.balloon_ram_bytes
        self._device = BalloonDevice(monitor) if description.extended else None
        #: the guest's last answer: when it came by its host's clock, and by this one's, or earlier
        self._answered: tuple[int, float] | None = None
        self._looked = 0.0

    def size(self) -> int:
        """Return its size in bytes, as the guest last wrote it."""
        # Asked of QEMU each time; what 'virsh dominfo' says may be a second old.
        return self.ram_bytes - self._domain.memory_stats()["actual"] * KIB

    def set_target(self, size: int) -> None:
        """Ask the guest for ``size`` bytes; returns at once."""
        self._domain.set_memory(self.ram_bytes - size)

    def counters(self) -> DeviceCounters | None:
        """Return the device's counters, or None where QEMU is unmodified, or no feature is on."""
        return self._device.counters() if self._device else None

    def has_driver(self) -> bool:
        """Return whether a driver in the guest has taken the device.

        libvirt does not tell; a guest that does not answer is noticed later.
        """
        return self._device.has_driver() if self._device else True

    def hints(self) -> bool:
        """Return whether the guest hints its free pages to a migration."""
        return self._device.hints() if self._device else False

    def options(self) -> dict[str, Any]:
        """Return the on/off properties that the device was made with, as far as they are known."""
        return self._device.options() if self._device else {}

    def stats(self) -> GuestStats:
        """Return what libvirt has of the guest's statistics."""
        raw = self._domain.memory_stats()
        updated = raw.get("last_update", 0)
        values = {ours: raw[theirs] * KIB for theirs, ours in _SIZES.items() if theirs in raw}
        values |= {ours: raw[theirs] for theirs, ours in _COUNTS.items() if theirs in raw}
        return GuestStats(
            interval_s=self._domain.describe().stats_interval_s,
            age_s=self._age(updated) if updated else None,
            values=values if updated else {},
        )

    def _age(self, updated: int) -> float:
        """Return how many seconds ago the guest has answered.

        :param updated: when, in whole seconds by the clock of its host, which need not be this one's: what has changed
            since somebody looked has come after that.
        """
        now, local = time.time(), self._domain.connection.local
        if self._answered is None:
            self._answered = updated, min(now, updated) if local else min(now - _UNSURE, updated)
        elif self._answered[0] != updated:
            self._answered = updated, min(now, max(self._looked, updated)) if local else self._looked
        self._looked = now
        return now - self._answered[1]

    def poll_stats(self, interval: int) -> None:
        """Have the guest asked for statistics every so many seconds; 0: no more."""
        self._domain.poll_stats(interval)
