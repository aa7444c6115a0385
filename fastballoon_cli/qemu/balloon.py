"""The balloon device as QEMU shows it."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from fastballoon_cli.errors import PreconditionError
from fastballoon_cli.qemu import memory
from fastballoon_cli.qemu.monitor import CommandNotFoundError, Monitor

__all__ = ["Balloon", "BalloonDevice", "DeviceCounters", "GuestStats", "QueueCounters", "agreed_on"]

#: From here on a figure of the guest is -1: it does not tell it.
_UNKNOWN = 1 << 63


@dataclass(frozen=True)
class QueueCounters:
    """What one queue has cost since the device was made (QEMU property ``x-counters``).

    :ivar errors: messages that were not done, or not whole.
    :ivar refused: blocks of them that are no RAM of the guest.
    :ivar inhibited: messages that were done, but of whose memory nothing, or not all, was discarded, as none may be.
    """

    kicks: int
    messages: int
    errors: int
    refused: int
    inhibited: int
    pages: int
    discards: int
    translate_ns: int
    discard_ns: int


@dataclass(frozen=True)
class DeviceCounters:
    """Counters and stamps of a patched QEMU; stamps are nanoseconds of the host's monotonic clock."""

    page_bitmap: bool
    target_ns: int
    actual_ns: int
    inflate: QueueCounters
    deflate: QueueCounters


@dataclass(frozen=True)
class GuestStats:
    """The guest's statistics, as its driver tells them.

    :ivar interval_s: seconds between two times that QEMU asks; 0: it does not.
    :ivar age_s: seconds since it answered last; None if it never has.
    :ivar values: QEMU's name of a figure -> the figure; without those that the guest does not tell.
    """

    interval_s: int
    age_s: float | None
    values: Mapping[str, int]


def agreed_on(counters: DeviceCounters | None) -> str:
    """Return how guest and QEMU have agreed to speak of pages: in a ``page-bitmap``, or by ``pfn``."""
    return "page-bitmap" if counters and counters.page_bitmap else "pfn"


class Balloon(Protocol):
    """A virtio-balloon, by whichever way it is driven.

    :ivar ram_bytes: of the VM's memory that the balloon is counted against: what it was started with, and DIMMs.
    """

    ram_bytes: int

    def size(self) -> int:
        """Return its size in bytes, as the guest last wrote it."""
        ...

    def set_target(self, size: int) -> None:
        """Ask the guest for ``size`` bytes; returns at once."""
        ...

    def counters(self) -> DeviceCounters | None:
        """Return the device's counters, or None where QEMU is unmodified."""
        ...

    def has_driver(self) -> bool:
        """Return whether a driver in the guest has taken the device, as far as that can be known."""
        ...

    def hints(self) -> bool:
        """Return whether the guest hints its free pages to a migration."""
        ...

    def options(self) -> dict[str, Any]:
        """Return the on/off properties that the device was made with."""
        ...

    def stats(self) -> GuestStats:
        """Return what there is of the guest's statistics."""
        ...

    def poll_stats(self, interval: int) -> None:
        """Have the guest asked for statistics every so many seconds; 0: no more."""
        ...


class BalloonDevice:
    """The virtio-balloon device of a VM, as QEMU's monitor shows it.

    :param ram_bytes: what QEMU counts the balloon against, where that was asked already; else it is asked.
    :raise PreconditionError: the VM has none.
    """

    def __init__(self, qmp: Monitor, ram_bytes: int | None = None) -> None:
        self._qmp = qmp
        self._path = self._find()
        #: bytes of the VM's memory that QEMU counts the balloon against: what it was started with, and DIMMs
        self.ram_bytes = memory.ask(qmp).ballooned if ram_bytes is None else ram_bytes

    def size(self) -> int:
        """Return the balloon's size in bytes, as the guest last wrote it."""
        # QEMU speaks of what is left to the guest, not of what the balloon holds.
        return self.ram_bytes - int(self._qmp.execute("query-balloon")["actual"])

    def set_target(self, size: int) -> None:
        """Ask the guest for a balloon of ``size`` bytes; returns at once."""
        self._qmp.execute("balloon", {"value": self.ram_bytes - size})

    def counters(self) -> DeviceCounters | None:
        """Return the device's counters, or None where QEMU is unmodified."""
        if "x-counters" not in self._properties:
            return None
        raw = self._get("x-counters")
        return DeviceCounters(
            page_bitmap=raw["page-bitmap"],
            target_ns=raw["target-ns"],
            actual_ns=raw["actual-ns"],
            inflate=_queue(raw["inflate"]),
            deflate=_queue(raw["deflate"]),
        )

    def has_driver(self) -> bool:
        """Return whether a driver in the guest has taken the device."""
        status = self._virtio_status()
        if status is None:
            return True  # before QEMU 7.2 there is no way to ask; a guest that does not answer is noticed later
        return any(word.startswith("VIRTIO_CONFIG_S_DRIVER_OK") for word in status["status"]["statuses"])

    def hints(self) -> bool:
        """Return whether the guest hints its free pages to a migration (merged in Linux 4.18 and QEMU 3.0)."""
        if not self.options().get("free-page-hint"):
            return False
        status = self._virtio_status()
        features = status["guest-features"].get("dev-features", []) if status else ["VIRTIO_BALLOON_F_FREE_PAGE_HINT"]
        return any(word.startswith("VIRTIO_BALLOON_F_FREE_PAGE_HINT") for word in features)

    def options(self) -> dict[str, Any]:
        """Return the on/off properties that the device was made with."""
        known = (
            "x-page-bitmap",
            "x-drop-cache",
            "x-free-pages",
            "free-page-reporting",
            "free-page-hint",
            "deflate-on-oom",
            "page-poison",
        )
        names = [name for name in known if name in self._properties]
        values = self._qmp.execute_all("qom-get", [{"path": self._path, "property": name} for name in names])
        return dict(zip(names, values, strict=True))

    def stats(self) -> GuestStats:
        """Return what QEMU has of the guest's statistics."""
        raw = self._get("guest-stats")
        updated = int(raw["last-update"])
        known = {name: int(value) for name, value in raw["stats"].items() if 0 <= int(value) < _UNKNOWN}
        return GuestStats(
            interval_s=int(self._get("guest-stats-polling-interval")),
            age_s=max(0.0, time.time() - updated) if updated else None,
            values=known if updated else {},
        )

    def poll_stats(self, interval: int) -> None:
        """Have QEMU ask the guest for statistics every so many seconds; 0: no more."""
        arguments = {"path": self._path, "property": "guest-stats-polling-interval", "value": interval}
        self._qmp.execute("qom-set", arguments)

    @cached_property
    def _properties(self) -> frozenset[str]:
        """The names of the properties that this QEMU has; they stay the same."""
        return frozenset(p["name"] for p in self._qmp.execute("qom-list", {"path": self._path}))

    def _get(self, name: str) -> Any:
        return self._qmp.execute("qom-get", {"path": self._path, "property": name})

    def _virtio_status(self) -> dict[str, Any] | None:
        try:
            status: dict[str, Any] = self._qmp.execute(
                "x-query-virtio-status", {"path": f"{self._path}/virtio-backend"}
            )
        except CommandNotFoundError:
            return None
        return status

    def _find(self) -> str:
        for folder in ("/machine/peripheral", "/machine/peripheral-anon"):
            for child in self._qmp.execute("qom-list", {"path": folder}):
                if child["type"].startswith("child<virtio-balloon-"):
                    return f"{folder}/{child['name']}"
        raise PreconditionError("this VM has no balloon device")


def _queue(raw: dict[str, int]) -> QueueCounters:
    return QueueCounters(
        kicks=raw["kicks"],
        messages=raw["messages"],
        errors=raw["errors"],
        refused=raw.get("refused", 0),
        inhibited=raw.get("inhibited", 0),
        pages=raw["pages"],
        discards=raw["discards"],
        translate_ns=raw["translate-ns"],
        discard_ns=raw["discard-ns"],
    )
