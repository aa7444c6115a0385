"""Migrate a VM to a second QEMU on this host, and say what it cost."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from fastballoon_cli.errors import MigrationError, PreconditionError
from fastballoon_cli.machine import registry
from fastballoon_cli.machine.local import require_running
from fastballoon_cli.machine.process import Process
from fastballoon_cli.machine.session import Session
from fastballoon_cli.machine.switchover import Handover
from fastballoon_cli.ops.migrating import (
    DEFAULT_SECONDS,
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
from fastballoon_cli.qemu.balloon import BalloonDevice
from fastballoon_cli.qemu.migration import Migration
from fastballoon_cli.qemu.monitor import Monitor
from fastballoon_cli.qemu.qmp import Qmp
from fastballoon_cli.results.migration import MigrateResult
from fastballoon_cli.results.timeline import between_events

__all__ = ["DEFAULT_SECONDS", "Options", "check", "migrate", "wanted_capabilities"]

_POLL_SECONDS = 0.02
#: The destination has the guest when the source is complete, but a moment passes until it says so.
_ARRIVAL_SECONDS = 5.0
#: QEMU cancels in milliseconds, unless it waits for a host that does not answer.
_CANCEL_SECONDS = 10.0


def migrate(
    session: Session, options: Options, *, timeout: float = DEFAULT_SECONDS, progress: Progress
) -> MigrateResult:
    """Migrate the session's guest; the session goes on with the QEMU that has it then.

    :param timeout: seconds until a migration that has not ended is cancelled.
    :raise FastballoonError: as :func:`fastballoon_cli.ops.migrating.carry_out`; a :class:`PreconditionError`, too, if
        the host has too little memory for a second QEMU, or the VM was not started here.
    """
    return carry_out(session, options, _SecondQemu(), timeout=timeout, progress=progress)


class _SecondQemu:
    """A second QEMU on this host, which takes the place of the first one."""

    def check(self, session: Session, options: Options) -> str | None:
        registry.require_started(session.record)
        return check(session.qmp, options)

    def run(self, session: Session, options: Options, timeout: float, progress: Progress) -> Ran:
        with Handover(session) as pair:
            # Its connection does not move along, and the guest should not keep the end of a lost one.
            session.drop_agent()
            _set_up(pair.source, pair.destination, options)
            return _run(pair, options, timeout, progress)

    def provenance(self) -> Mapping[str, Any]:
        return {}


def check(qmp: Monitor, options: Options) -> str | None:
    """Check that a guest can be migrated as it is asked for, and return by which way free pages are left out.

    :raise PreconditionError: free pages cannot be skipped, the guest is paused, or QEMU is busy with it.
    """
    method = free_page_method(qmp, BalloonDevice(qmp), options)
    require_running(qmp)
    if (now := migration.query(qmp)).under_way:
        raise PreconditionError(
            f"QEMU is busy with another migration or a snapshot of this VM: '{now.status}'",
            hint="wait until it has ended",
        )
    return method


def _set_up(source: Qmp, destination: Qmp, options: Options) -> None:
    wanted = wanted_capabilities(migration.capabilities(source), options)
    migration.set_capabilities(destination, wanted)
    migration.set_capabilities(source, wanted)
    migration.set_limits(source, bandwidth=options.bandwidth, downtime_s=options.downtime_s)


def wanted_capabilities(there: Mapping[str, bool], options: Options) -> dict[str, bool]:
    """Return what is to be on or off at both ends.

    :param there: the capabilities that the source knows, and which of them are on.
    """
    # What somebody has switched on at the source has to be on at the destination as well.
    wanted = {name: True for name, state in there.items() if state} | {"events": True, "return-path": True}
    if free_pages.CAPABILITY in there:
        # Said both ways, as it is on by default. At the destination it keeps single pages from filling huge ones.
        wanted[free_pages.CAPABILITY] = options.skip_free
    return wanted


def _run(pair: Handover, options: Options, timeout: float, progress: Progress) -> Ran:
    source, destination = pair.source, pair.destination
    here, there = Process(source, pair.origin.pid), Process(destination, pair.target.pid)
    with source.listening("STOP") as stopped, destination.listening("RESUME") as resumed:
        cpu = here.vcpu_seconds() + there.vcpu_seconds()
        migration.listen_on(destination, pair.target.spec.migration_socket)
        begun = time.monotonic()
        migration.migrate_to(source, pair.target.spec.migration_socket)
        ended = _watch(source, options, timeout, progress, pair.origin.spec.name, last_words=pair.last_words)
        _await_arrival(destination, progress)
        cpu = here.vcpu_seconds() + there.vcpu_seconds() - cpu
        return Ran(
            migration=ended,
            free_pages=free_pages.query(source),
            paused_s=between_events(_last(stopped), _last(resumed)),
            guest_cpu_s=cpu,
            begun=begun,
        )


def _watch(
    source: Qmp,
    options: Options,
    timeout: float,
    progress: Progress,
    name: str,
    *,
    last_words: Callable[[], str | None] = lambda: None,
) -> Migration:
    """Return the end of a migration that has been started; cancel it when it is time to.

    :param last_words: what the destination says of a migration that has failed.
    """
    begun = time.monotonic()
    step = False
    cancelled, cancelled_at = None, 0.0
    while True:
        now = migration.query(source)
        if now.status == migration.COMPLETED:
            if cancelled:
                progress.warn("it was complete before it could be cancelled")
            return now
        if now.ended:
            why = cancelled or f"the migration failed: {now.error or 'QEMU does not say why'}"
            hint = TOO_SLOW if cancelled and options.cancel_after_s is None else None
            # The source knows little more than that the other end has refused.
            details = None if cancelled else last_words()
            raise MigrationError(f"{why}; the guest runs on where it was", hint=hint, details=details)
        total = float(now.ram.get("total", 0))
        if total and not step:
            progress.step(f"Migrating '{name}'", total)
            step = True
        if step:
            progress.update(total - now.ram.get("remaining", 0), note=note(now))
        seconds = time.monotonic() - begun
        if cancelled is None:
            cancelled = time_to_cancel(options, seconds, timeout)
            if cancelled:
                cancelled_at = seconds
                migration.cancel(source)
        elif seconds - cancelled_at > _CANCEL_SECONDS:
            # Whoever settles it ends the destination, and the source with it goes on.
            raise MigrationError(
                f"{cancelled}, which QEMU did not do within {_CANCEL_SECONDS:g} s: it says '{now.status}'; "
                "the destination was ended"
            )
        time.sleep(_POLL_SECONDS)


def _await_arrival(destination: Qmp, progress: Progress) -> None:
    deadline = time.monotonic() + _ARRIVAL_SECONDS
    while True:
        arrived = migration.query(destination).status == migration.COMPLETED
        status = destination.execute("query-status")["status"]
        if arrived and status == "running":
            return
        if time.monotonic() > deadline:
            progress.warn(f"the guest is at the destination, but does not run there: QEMU says '{status}'")
            return
        time.sleep(_POLL_SECONDS)


def _last(events: Callable[[], tuple[Mapping[str, Any], ...]]) -> Mapping[str, Any] | None:
    heard = events()
    return heard[-1] if heard else None
