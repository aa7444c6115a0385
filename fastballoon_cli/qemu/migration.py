"""Live migration as QEMU's monitor offers it; either end is one monitor connection."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fastballoon_cli.qemu.monitor import CommandNotFoundError, Monitor

__all__ = [
    "COMPLETED",
    "Migration",
    "cancel",
    "capabilities",
    "limits",
    "listen_on",
    "migrate_to",
    "query",
    "set_capabilities",
    "set_limits",
    "snapshots",
]

COMPLETED = "completed"
#: Statuses that a migration stays in.
_ENDED = frozenset({COMPLETED, "failed", "cancelled"})


@dataclass(frozen=True, kw_only=True)
class Migration:
    """What the source says of its latest migration.

    :ivar status: ``none`` before the first one; see MigrationStatus in QEMU's QMP reference.
    :ivar error: why it failed, in QEMU's words.
    :ivar total_s, setup_s, downtime_s: QEMU's own measures, in whole milliseconds; None as long as there are none.
    :ivar ram: ``query-migrate``'s own figures of memory: bytes, pages, and ``mbps`` in megabits per second.
    """

    status: str
    error: str | None = None
    total_s: float | None = None
    setup_s: float | None = None
    downtime_s: float | None = None
    ram: Mapping[str, float] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """Whether it will change no more."""
        return self.status in _ENDED

    @property
    def under_way(self) -> bool:
        """Whether it has begun and not ended."""
        return self.status != "none" and not self.ended

    @property
    def passes(self) -> int:
        """How often the dirty bitmap was taken over: 1 while memory is sent for the first time."""
        return int(self.ram.get("dirty-sync-count", 0))


def query(qmp: Monitor) -> Migration:
    """Return where the latest migration is."""
    raw = qmp.execute("query-migrate")
    return Migration(
        status=raw.get("status", "none"),
        error=raw.get("error-desc"),
        total_s=_seconds(raw.get("total-time")),
        setup_s=_seconds(raw.get("setup-time")),
        downtime_s=_seconds(raw.get("downtime")),
        ram=raw.get("ram", {}),
    )


def capabilities(qmp: Monitor) -> dict[str, bool]:
    """Return the capabilities that this QEMU knows, and which of them are on."""
    return {one["capability"]: one["state"] for one in qmp.execute("query-migrate-capabilities")}


def snapshots(qmp: Monitor) -> bool:
    """Return whether a background snapshot is being taken."""
    try:
        return query(qmp).under_way and bool(capabilities(qmp).get("background-snapshot"))
    except CommandNotFoundError:
        return False  # a monitor that is left alone; libvirt takes none


def set_capabilities(qmp: Monitor, wanted: Mapping[str, bool]) -> None:
    """Switch capabilities on or off.

    :raise QmpError: one is not known, or does not go with another.
    """
    states = [{"capability": name, "state": state} for name, state in wanted.items()]
    qmp.execute("migrate-set-capabilities", {"capabilities": states})


def set_limits(qmp: Monitor, *, bandwidth: int, downtime_s: float) -> None:
    """Limit what the source sends and for how long the guest may be paused.

    :param bandwidth: bytes per second; 0 for as fast as it goes (QEMU's own default is 128 MiB/s).
    :param downtime_s: the guest is not paused before QEMU expects that this is enough for the rest.
    """
    qmp.execute("migrate-set-parameters", limits(bandwidth=bandwidth, downtime_s=downtime_s))


def limits(*, bandwidth: int, downtime_s: float) -> dict[str, int]:
    """Return the parameters of :func:`set_limits`, as QEMU names and counts them."""
    return {"max-bandwidth": bandwidth, "downtime-limit": round(downtime_s * 1000)}


def listen_on(qmp: Monitor, socket: Path) -> None:
    """Have the destination wait for a source.

    :raise QmpError: it cannot make the socket.
    """
    qmp.execute("migrate-incoming", {"uri": f"unix:{socket}"})


def migrate_to(qmp: Monitor, socket: Path) -> None:
    """Have the source begin; returns at once, and says nothing of how it will end.

    :raise QmpError: QEMU refuses, as some device cannot be migrated.
    """
    qmp.execute("migrate", {"uri": f"unix:{socket}"})


def cancel(qmp: Monitor) -> None:
    """Have the source give up; it may be complete before it hears of that."""
    qmp.execute("migrate_cancel")


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000
