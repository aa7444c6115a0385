"""Migrate a domain to another host through libvirt, and say what it cost."""

import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from fastballoon_cli.errors import FastballoonError, MigrationError, PreconditionError, QmpError, VmLostError
from fastballoon_cli.libvirt.connection import Connection, virsh
from fastballoon_cli.libvirt.domain import LibvirtDomain
from fastballoon_cli.libvirt.migration import DomainMigration, Way, limit
from fastballoon_cli.machine.domain import Domain
from fastballoon_cli.machine.session import Session
from fastballoon_cli.ops.migrating import (
    TOO_SLOW,
    Options,
    Ran,
    carry_out,
    free_page_method,
    note,
    time_to_cancel,
)
from fastballoon_cli.progress import Progress
from fastballoon_cli.qemu import free_pages, migration
from fastballoon_cli.qemu.free_pages import FreePages
from fastballoon_cli.qemu.migration import Migration
from fastballoon_cli.qemu.monitor import CommandNotFoundError, Monitor
from fastballoon_cli.results.migration import MigrateResult

__all__ = ["migrate", "plan"]

#: The last look before the source's QEMU is gone says what was skipped.
_POLL_SECONDS = 0.01
_TELL_SECONDS = 0.2
#: libvirt cancels in milliseconds, unless it waits for a host that does not answer: its keep-alive takes 30 s.
_CANCEL_SECONDS = 40.0
#: After Ctrl-C or an error nobody waits longer than this for libvirt.
_GIVE_UP_SECONDS = 4.0
#: A guest whose migration has failed goes on by itself, in a moment.
_SETTLE_SECONDS = 4.0
_GONE = "not there"


@dataclass
class _Seen:
    """What was seen of the source while it had the guest."""

    free_pages: FreePages | None
    vcpu_s: float


def migrate(
    session: Session, machine: Domain, to: str, options: Options, way: Way, *, timeout: float, progress: Progress
) -> MigrateResult:
    """Migrate a domain; the session goes on with the host that has its guest then.

    :param to: the destination, as virsh takes it; unless it is to go directly, the source's daemon reaches it so, too.
    :param timeout: seconds until a migration that has not ended is cancelled.
    :raise FastballoonError: as :func:`fastballoon_cli.ops.migrating.carry_out`; a :class:`PreconditionError`, too, if
        the destination cannot be reached, and a :class:`QmpError` if nobody can say who has the guest.
    """
    return carry_out(session, options, _OtherHost(machine, to, way), timeout=timeout, progress=progress)


@dataclass
class _OtherHost:
    """Another host with a libvirt daemon."""

    machine: Domain
    to: str
    way: Way
    destination: Connection = field(init=False)

    def check(self, session: Session, options: Options) -> str | None:
        method = _check(session.qmp, self.machine, options)
        session.progress.step(f"Connecting to {self.to}")
        self.destination = Connection(self.to)
        return method

    def run(self, session: Session, options: Options, timeout: float, progress: Progress) -> Ran:
        moving = DomainMigration(self.machine.running, self.destination, self.way)
        session.drop_agent()
        told, cpu = free_pages.query(session.qmp), session.process.vcpu_seconds()
        seen = _Seen(told, cpu)
        begun = time.monotonic()
        with _skipping(session.qmp, options.skip_free):
            cancelled = _drive(session, moving, seen, options, timeout, progress)
            arrived = _settle(moving, cancelled, options, progress)
        ended = moving.summary()
        session.move_to(Domain(arrived, self.machine.login))
        return Ran(
            migration=ended,
            # What has not changed is of an earlier migration: this one was too quick to be seen.
            free_pages=None if options.skip_free and seen.free_pages == told else seen.free_pages,
            paused_s=None,  # two hosts have no clock in common
            guest_cpu_s=seen.vcpu_s - cpu + session.process.vcpu_seconds(),
            begun=begun,
            seen_in_part=seen.free_pages is not None and seen.free_pages.active,
        )

    def provenance(self) -> Mapping[str, Any]:
        return {
            "source": self.machine.uri,
            "destination": self.destination.uri,
            "parallel_connections": self.way.parallel,
            "tls": self.way.tls,
        }


def _check(monitor: Monitor, machine: Domain, options: Options) -> str | None:
    """Check that a domain can be migrated as it is asked for, and return by which way free pages are left out.

    :raise PreconditionError: it cannot.
    """
    method = free_page_method(
        monitor,
        machine.balloon(monitor),
        options,
        hint=f"give the domain fastballoon's QEMU: fastballoon --connect {shlex.quote(machine.uri)} vm xml "
        f"{shlex.quote(machine.name)} --apply; and its guest a kernel with the series (docs/libvirt.md)",
    )
    machine.require_running(monitor)
    if machine.running.has_job():
        raise PreconditionError(
            "libvirt is busy with another job of this domain: a migration, a snapshot or a backup",
            hint=f"see: {virsh(machine.uri, 'domjobinfo', machine.name)}; wait until it has ended",
        )
    return method


@contextmanager
def _skipping(monitor: Monitor, wanted: bool) -> Iterator[None]:
    """Have the source skip free pages, or not, as it does by default; set back if the guest stays there."""
    try:
        before = migration.capabilities(monitor).get(free_pages.CAPABILITY)
    except CommandNotFoundError:
        before = None  # nothing of ours is in its XML
    if before is None or before == wanted:
        yield
        return
    migration.set_capabilities(monitor, {free_pages.CAPABILITY: wanted})
    try:
        yield
    except BaseException:
        with suppress(FastballoonError):
            migration.set_capabilities(monitor, {free_pages.CAPABILITY: before})
        raise


def _drive(
    session: Session, moving: DomainMigration, seen: _Seen, options: Options, timeout: float, progress: Progress
) -> str | None:
    """Have libvirt migrate until that has come to an end, whichever; return why it was cancelled, if it was.

    :raise QmpError: it was, and has not ended.
    """
    name = session.record.name
    begun, given_up, told = time.monotonic(), 0.0, 0.0
    cancelled, step = None, False
    moving.start()
    try:
        while not moving.wait(_POLL_SECONDS):
            seconds = time.monotonic() - begun
            if moving.can_be_asked():
                _look(session, seen)
                if seconds - told > _TELL_SECONDS:
                    now, told = moving.progress(), seconds
                    step = _tell(now, name, progress, step=step)
            if cancelled is None:
                cancelled, given_up = time_to_cancel(options, seconds, timeout), seconds
            if cancelled:
                moving.cancel()
                if seconds - given_up > _CANCEL_SECONDS:
                    raise QmpError(f"{cancelled}, which libvirt did not do within {_CANCEL_SECONDS:g} s")
    except BaseException:
        _give_up(moving, progress)
        raise
    return cancelled


def _tell(now: Migration, name: str, progress: Progress, *, step: bool) -> bool:
    """Say where it is; return whether memory is on its way.

    :param step: whether it was before.
    """
    total = float(now.ram.get("total", 0))
    if total and not step:
        progress.step(f"Migrating '{name}'", total)
    if total:
        progress.update(total - now.ram.get("remaining", 0), note=note(now))
    return bool(total)


def _look(session: Session, seen: _Seen) -> None:
    """Read what is gone with the source's QEMU."""
    with suppress(FastballoonError):  # it has just ended
        seen.free_pages = free_pages.query(session.qmp) or seen.free_pages
        seen.vcpu_s = session.process.vcpu_seconds()


def _give_up(moving: DomainMigration, progress: Progress) -> None:
    """Cancel what nobody waits for any more."""
    deadline = time.monotonic() + _GIVE_UP_SECONDS
    while not moving.ended and time.monotonic() < deadline:
        moving.cancel()
        moving.wait(_POLL_SECONDS)
    if not moving.ended:
        moving.leave()
        uri, name = moving.source.connection.uri, moving.source.name
        progress.warn(
            f"libvirt has not cancelled it within {_GIVE_UP_SECONDS:g} s, as it waits for the destination; "
            f"it may still do so, or go on: see {virsh(uri, 'domjobinfo', name)}, and end it with "
            f"{virsh(uri, 'domjobabort', name)}"
        )


def _settle(moving: DomainMigration, cancelled: str | None, options: Options, progress: Progress) -> LibvirtDomain:
    """Return the domain at the destination, if its guest is there.

    :raise MigrationError: it runs on where it was.
    :raise QmpError: nobody can say who has it.
    :raise VmLostError: nobody has it.
    """
    if not moving.error:
        if cancelled:
            progress.warn("it was complete before it could be cancelled")
        arrived = moving.arrived()
        if (state := arrived.state()) != "running":
            progress.warn(f"the guest is at the destination, but does not run there: libvirt says '{state}'")
        return arrived
    why = cancelled or f"the migration failed: {moving.error.message}"
    here = _state(lambda: moving.source)
    if here == "running":
        raise MigrationError(f"{why}; the guest runs on where it was", hint=_hint(moving, cancelled, options))
    there = _state(moving.arrived)
    if there == "running":
        progress.warn(f"{why}; but the guest runs at the destination")
        return moving.arrived()
    if _GONE == here == there:
        raise VmLostError(f"{why}; the guest is on neither host")
    raise QmpError(
        f"{why}; at the source the guest is '{here}', at the destination '{there}'",
        hint="look at both hosts with virsh before you let it go on at one of them",
    )


def _state(find: Callable[[], LibvirtDomain]) -> str:
    """Return what a domain's guest does; ``running`` is waited for, as libvirt lets it go on by itself."""
    deadline = time.monotonic() + _SETTLE_SECONDS
    while True:
        try:
            domain = find()
            state = domain.state() if domain.runs() else _GONE
        except VmLostError:
            state = _GONE
        except FastballoonError:
            return "unknown, as its daemon does not answer"
        if state == "running" or time.monotonic() > deadline:
            return state
        time.sleep(_POLL_SECONDS)


def _hint(moving: DomainMigration, cancelled: str | None, options: Options) -> str | None:
    if cancelled:
        return TOO_SLOW if options.cancel_after_s is None else None
    said = moving.error.message if moving.error else ""
    if "remote libvirt URI" in said and not moving.way.direct:
        return f"the source's daemon has to reach {moving.destination.uri} by itself; or use --direct"
    if "resolve address" in said or "unable to connect to server" in said:
        return (
            "the source's QEMU connects to the destination's ports 49152 to 49215, by its host name unless its "
            "qemu.conf has a migration_host; name an address that the source reaches: --migrate-uri tcp://ADDRESS"
        )
    if "without shared storage" in said:
        return (
            "libvirt takes one of its disks for this host's own: both hosts have to reach it, on a network file system "
            "(NFS, CephFS), or as a block or network device"
        )
    if moving.way.tls and any(word in said for word in ("migration stream", "TLS", "ertificate")):
        # The side that finds fault with it hangs up, and libvirt tells what the other side makes of that.
        return (
            "with --tls both hosts need a certificate of an authority that both trust, in /etc/pki/qemu or where "
            "qemu.conf says, and the destination's has to be for the name or address that the source connects to; "
            f"the source's QEMU has said more: /var/log/libvirt/qemu/{moving.source.name}.log there"
        )
    return None


def plan(monitor: Monitor, machine: Domain, to: str, options: Options, way: Way) -> list[str]:
    """Return what would be done, as commands to paste.

    :raise PreconditionError: as :func:`migrate` does.
    """
    _check(monitor, machine, options)
    words = [
        *("migrate", "--live"),
        *([] if way.direct else ["--p2p"]),
        *(["--persistent", "--undefinesource"] if machine.running.persistent() else []),
        *(["--parallel", "--parallel-connections", str(way.parallel)] if way.parallel else []),
        *(["--tls"] if way.tls else []),
        *(["--bandwidth", str(limit(way.bandwidth))] if way.bandwidth else []),
        *(["--migrateuri", way.address] if way.address else []),
        *(machine.name, to),
    ]
    said = []
    if free_pages.query(monitor) is not None:
        states = [{"capability": free_pages.CAPABILITY, "state": options.skip_free}]
        said.append(machine.tell("migrate-set-capabilities", {"capabilities": states}))
    downtime = virsh(machine.uri, "migrate-setmaxdowntime", machine.name, str(round(way.downtime_s * 1000)))
    return [*said, downtime, virsh(machine.uri, *words)]
