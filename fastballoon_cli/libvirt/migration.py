"""A domain's migration to another host, which libvirt does."""

import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from fastballoon_cli.errors import FastballoonError, QmpError
from fastballoon_cli.libvirt.connection import Connection, binding
from fastballoon_cli.libvirt.domain import LibvirtDomain
from fastballoon_cli.qemu.migration import COMPLETED, Migration
from fastballoon_cli.units import MIB

__all__ = ["DomainMigration", "Way", "limit"]

#: libvirt's name of a figure of a migration's job -> QEMU's in ``query-migrate``.
_RAM = {
    "memory_total": "total",
    "memory_processed": "transferred",
    "memory_remaining": "remaining",
    "memory_normal": "normal",
    "memory_constant": "duplicate",
    "memory_iteration": "dirty-sync-count",
}


#: For each of what is still to be said to a libvirt that has not ended it.
_LEAVING_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class Way:
    """How to migrate.

    :ivar bandwidth: bytes per second at most; 0 for no limit.
    :ivar downtime_s: seconds for which the guest may be paused, as QEMU expects it.
    :ivar parallel: how many connections; 0 for a single one that takes everything.
    :ivar tls: encrypt it, with the certificates that both hosts have for that.
    :ivar direct: have this process stand between the two daemons, instead of the source's going on by itself.
    :ivar address: where the source's QEMU connects to, as virsh's ``--migrateuri``; None for what the destination says.
    """

    bandwidth: int = 0
    downtime_s: float = 0.3
    parallel: int = 0
    tls: bool = False
    direct: bool = False
    address: str | None = None

    def flags(self, *, persistent: bool) -> list[str]:
        """Return the names of libvirt's flags.

        :param persistent: whether the domain stays defined when it is shut down; then it moves as a whole.
        """
        return [
            "VIR_MIGRATE_LIVE",
            *([] if self.direct else ["VIR_MIGRATE_PEER2PEER"]),
            *(["VIR_MIGRATE_PERSIST_DEST", "VIR_MIGRATE_UNDEFINE_SOURCE"] if persistent else []),
            *(["VIR_MIGRATE_PARALLEL"] if self.parallel else []),
            *(["VIR_MIGRATE_TLS"] if self.tls else []),
        ]

    def parameters(self) -> dict[str, int | str]:
        """Return libvirt's parameters, by the names of their constants."""
        found: dict[str, int | str] = {}
        if self.bandwidth:
            found["VIR_MIGRATE_PARAM_BANDWIDTH"] = limit(self.bandwidth)
        if self.parallel:
            found["VIR_MIGRATE_PARAM_PARALLEL_CONNECTIONS"] = self.parallel
        if self.address:
            found["VIR_MIGRATE_PARAM_URI"] = self.address
        return found


def limit(bandwidth: int) -> int:
    """Return a limit in MiB/s, which libvirt takes: rounded up, as 0 would be none."""
    return -(-bandwidth // MIB)


@dataclass
class DomainMigration:
    """One migration; :meth:`start` returns at once.

    :ivar error: what libvirt says of one that has failed.
    """

    source: LibvirtDomain
    destination: Connection
    way: Way
    error: FastballoonError | None = field(default=None, init=False)
    _last: Migration = field(default_factory=lambda: Migration(status="setup"), init=False)
    # Not by joining the thread: after Ctrl-C during that, Python (3.11) takes one that runs for one that has ended.
    _done: threading.Event = field(default_factory=threading.Event, init=False)

    def start(self) -> None:
        """Have libvirt begin.

        :raise QmpError: it refuses the limit of the downtime.
        """
        lib, handle, connection = binding(), self.source.handle, self.source.connection
        flags = 0
        for name in self.way.flags(persistent=self.source.persistent()):
            flags |= int(getattr(lib, name))
        parameters = {getattr(lib, name): value for name, value in self.way.parameters().items()}
        connection.call(handle.migrateSetMaxDowntime, round(self.way.downtime_s * 1000), 0)

        def run() -> None:
            try:
                if self.way.direct:
                    connection.call(handle.migrate3, self.destination.handle, parameters, flags, timeout=None)
                else:
                    connection.call(handle.migrateToURI3, self.destination.uri, parameters, flags, timeout=None)
            except FastballoonError as e:
                self.error = e
            finally:
                self._done.set()

        threading.Thread(target=run, daemon=True).start()

    @property
    def ended(self) -> bool:
        """Whether libvirt has brought it to an end, whichever."""
        return self._done.is_set()

    def can_be_asked(self) -> bool:
        """Return whether the source answers at once; False when it has ended."""
        try:
            return self.source.can_be_asked()
        except FastballoonError:
            return False

    def progress(self) -> Migration:
        """Return where it is; ``completed`` and ``failed`` are libvirt's last words."""
        if self.ended:
            status = "failed" if self.error else COMPLETED
            return Migration(status=status, error=self.error.message if self.error else None, ram=self._last.ram)
        try:
            stats = self.source.connection.call(self.source.handle.jobStats, 0)
        except FastballoonError:
            return self._last  # it has just ended, or not begun
        if "memory_total" in stats:
            self._last = _migration("active", stats)
        return self._last

    def cancel(self) -> None:
        """Have the source give up; it may be complete before it hears of that, or not have begun.

        To be said again as long as it has not ended: a source that connects to its destination hears nothing.
        """
        if self.can_be_asked():
            self._abort()

    def leave(self) -> None:
        """Have the source give up as soon as it hears of it, and wait for no answer; it does for up to 30 s."""
        self.source.connection.patience = self.destination.patience = _LEAVING_SECONDS
        self._abort()

    def _abort(self) -> None:
        with suppress(FastballoonError):
            self.source.connection.call(self.source.handle.abortJob)

    def wait(self, seconds: float) -> bool:
        """Wait for its end; return whether it came."""
        return self._done.wait(seconds)

    def arrived(self) -> LibvirtDomain:
        """Return the domain at the destination.

        :raise VmLostError: it is not there.
        """
        return LibvirtDomain(self.destination, self.destination.by_uuid(self.source.uuid))

    def summary(self) -> Migration:
        """Return what the destination says of one that is complete; what is missing there, as it was seen last."""
        lib, domain = binding(), self.arrived()
        flags = lib.VIR_DOMAIN_JOB_STATS_COMPLETED | getattr(lib, "VIR_DOMAIN_JOB_STATS_KEEP_COMPLETED", 0)
        try:
            stats = domain.connection.call(domain.handle.jobStats, flags)
        except QmpError:
            stats = {}
        if "memory_total" not in stats:
            return Migration(status=COMPLETED, ram=self._last.ram)
        return _migration(COMPLETED, stats)


def _migration(status: str, stats: Mapping[str, Any]) -> Migration:
    ram = {theirs: float(stats[ours]) for ours, theirs in _RAM.items() if ours in stats}
    if "memory_bps" in stats:
        ram["mbps"] = stats["memory_bps"] * 8 / 1e6
    return Migration(
        status=status,
        total_s=_seconds(stats.get("time_elapsed")),
        setup_s=_seconds(stats.get("setup_time")),
        downtime_s=_seconds(stats.get("downtime")),
        ram=ram,
    )


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000
