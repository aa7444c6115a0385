"""Migrate a VM to a second QEMU on this host, and say what it cost."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fastballoon_cli.errors import GuestError, IntegrityError, MigrationError, PreconditionError
from fastballoon_cli.guest.agent import AgentClient
from fastballoon_cli.machine import registry
from fastballoon_cli.machine.local import require_running
from fastballoon_cli.machine.process import Process
from fastballoon_cli.machine.session import Session, connect_agent
from fastballoon_cli.machine.switchover import Handover
from fastballoon_cli.ops import workload
from fastballoon_cli.ops.provenance import provenance
from fastballoon_cli.progress import Progress
from fastballoon_cli.qemu import free_pages, migration
from fastballoon_cli.qemu.balloon import BalloonDevice
from fastballoon_cli.qemu.migration import Migration
from fastballoon_cli.qemu.monitor import Monitor
from fastballoon_cli.qemu.qmp import Qmp
from fastballoon_cli.results.curve import Curve
from fastballoon_cli.results.migration import MigrateResult, RamCounts, Verified
from fastballoon_cli.results.model import Change
from fastballoon_cli.results.timeline import between_events
from fastballoon_cli.units import PAGE_BYTES, format_size

__all__ = ["DEFAULT_SECONDS", "Options", "check", "migrate", "wanted_capabilities"]

DEFAULT_SECONDS = 600.0
#: QEMU's own default.
_DOWNTIME_LIMIT = 0.3
_POLL_SECONDS = 0.02
#: The destination has the guest when the source is complete, but a moment passes until it says so.
_ARRIVAL_SECONDS = 5.0
#: QEMU cancels in milliseconds, unless it waits for a host that does not answer.
_CANCEL_SECONDS = 10.0
_AGENT_SECONDS = 30.0
_TOO_SLOW = "the guest may write faster than memory is sent: raise --bandwidth, --downtime-limit or --timeout"
#: With one of these a QEMU does not ask the guest for its free pages.
_NOT_WITH_SKIPPING = ("postcopy-ram", "background-snapshot", "x-colo")


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to migrate.

    :ivar skip_free: leave out what the guest tells to be free; an error where it tells nothing.
    :ivar bandwidth: bytes per second at most; 0 for no limit.
    :ivar downtime_s: seconds for which the guest may be paused, as QEMU expects it.
    :ivar cancel_after_s: give up so long after the beginning, to see what that does.
    :ivar verify: have the guest work on memory meanwhile and check every page of it.
    """

    skip_free: bool = False
    bandwidth: int = 0
    downtime_s: float = _DOWNTIME_LIMIT
    cancel_after_s: float | None = None
    verify: bool = False


def migrate(
    session: Session, options: Options, *, timeout: float = DEFAULT_SECONDS, progress: Progress
) -> MigrateResult:
    """Migrate the session's guest; the session goes on with the QEMU that has it then.

    :param timeout: seconds until a migration that has not ended is cancelled.
    :raise PreconditionError: free pages are to be skipped and can't be, or the host has too little memory.
    :raise MigrationError: it failed, was cancelled or took too long; the guest runs on where it was.
    :raise IntegrityError: memory of the guest is not what was written to it, or that could not be found out.
    :raise GuestError: there is to be a check, and the agent does not answer.
    :raise VmLostError: the QEMU that had the guest has ended.
    """
    registry.require_started(session.record)
    method = check(session.qmp, options)
    hello = session.ask("hello")
    if options.verify:
        progress.step(f"Starting work in '{session.record.name}' that is checked")
        workload.start_work(_need_agent(session), bandwidth=options.bandwidth, timeout=timeout)
    memory = session.ask("memory")
    watching = workload.start_watch(session, timeout=timeout)
    ran = _hand_over(session, options, timeout, progress)
    if watching is not None:
        _reconnect(session)
    watched = None if watching is None else workload.end_watch(session)
    after = session.ask("memory")
    verified = _verify(session) if options.verify else None
    told = ran.free_pages
    skipped = None if told is None else told.skipped_free_bytes // PAGE_BYTES
    return MigrateResult(
        vm=session.record.name,
        method=method or "precopy",
        skip_free=options.skip_free,
        total_s=ran.migration.total_s or 0.0,
        setup_s=ran.migration.setup_s or 0.0,
        downtime_s=ran.migration.downtime_s or 0.0,
        guest_paused_s=ran.paused_s,
        guest_cpu_s=ran.guest_cpu_s,
        ram=_ram(ran.migration, skipped),
        guest_free_bytes=Change(_free(memory), _free(after)),
        guest_min_free_bytes=watched.least if watched else None,
        skipped_balloon_pages=None if told is None else told.skipped_balloon_bytes // PAGE_BYTES,
        told_free_bytes=None if told is None else told.told_bytes,
        answer_s=None if told is None else told.answer_s,
        verified=verified,
        guest_memory=_curve(watched, watching, ran),
        provenance={
            **provenance(session, hello, session.balloon.options(), "qemu"),
            "bandwidth_bytes_per_s": options.bandwidth,
            "downtime_limit_s": options.downtime_s,
        },
    )


def _hand_over(session: Session, options: Options, timeout: float, progress: Progress) -> "_Ran":
    try:
        with Handover(session) as pair:
            # Its connection does not move along, and the guest should not keep the end of a lost one.
            session.drop_agent()
            _set_up(pair.source, pair.destination, options)
            return _run(pair, options, timeout, progress)
    except MigrationError:
        if options.verify:
            _verify(session)  # memory must not suffer from a migration that failed either
        raise
    except BaseException:
        if options.verify:
            workload.abandon(session.started)
        raise


@dataclass(frozen=True, kw_only=True)
class _Ran:
    migration: Migration
    free_pages: free_pages.FreePages | None
    paused_s: float | None
    guest_cpu_s: float
    begun: float


def _method(qmp: Monitor, device: BalloonDevice, options: Options) -> str | None:
    found = free_pages.method(qmp, device)
    if not options.skip_free:
        # Hints are QEMU's own doing: it asks for them in each migration of a device that has them.
        return found if found == "free-page-hint" else None
    if found is None:
        raise PreconditionError(
            "free pages cannot be skipped: guest and QEMU have agreed on no way to tell of them",
            hint="start the VM with both halves patched, or with --balloon-options free-page-hint=on",
        )
    on = migration.capabilities(qmp)
    if conflicts := [name for name in _NOT_WITH_SKIPPING if on.get(name)]:
        raise PreconditionError(
            f"no free page would be skipped: QEMU asks for none with {conflicts[0]}, a migration capability that is on",
            hint="switch it off with migrate-set-capabilities, or migrate without --skip-free",
        )
    return found


def check(qmp: Monitor, options: Options) -> str | None:
    """Check that a guest can be migrated as it is asked for, and return by which way free pages are left out.

    :raise PreconditionError: free pages cannot be skipped, the guest is paused, or QEMU is busy with it.
    """
    method = _method(qmp, BalloonDevice(qmp), options)
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


def _run(pair: Handover, options: Options, timeout: float, progress: Progress) -> _Ran:
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
        return _Ran(
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
            hint = _TOO_SLOW if cancelled and options.cancel_after_s is None else None
            # The source knows little more than that the other end has refused.
            details = None if cancelled else last_words()
            raise MigrationError(f"{why}; the guest runs on where it was", hint=hint, details=details)
        total = float(now.ram.get("total", 0))
        if total and not step:
            progress.step(f"Migrating '{name}'", total)
            step = True
        if step:
            progress.update(total - now.ram.get("remaining", 0), note=_note(now))
        seconds = time.monotonic() - begun
        if cancelled is None:
            if options.cancel_after_s is not None and seconds >= options.cancel_after_s:
                cancelled = f"the migration was cancelled after {options.cancel_after_s:g} s"
            elif seconds > timeout:
                cancelled = f"the migration was not complete after {timeout:g} s, and cancelled"
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


def _note(now: Migration) -> str:
    rate = now.ram.get("mbps", 0) * 1e6 / 8
    left = format_size(int(now.ram.get("remaining", 0)))
    return f"pass {now.passes}, {left} left, {format_size(int(rate))}/s"


def _last(events: Callable[[], tuple[Mapping[str, Any], ...]]) -> Mapping[str, Any] | None:
    heard = events()
    return heard[-1] if heard else None


def _need_agent(session: Session) -> AgentClient:
    if session.agent is None:
        raise GuestError(
            "nothing can be verified: the agent in the guest does not answer", hint="see: fastballoon doctor"
        )
    return session.agent


def _reconnect(session: Session) -> None:
    try:
        session.agent = connect_agent(session.started, timeout=_AGENT_SECONDS)
        # Under TCG the destination translates all of the guest's code anew, and the first answer takes long.
        session.agent.call("hello", timeout=_AGENT_SECONDS)
    except GuestError as e:
        session.drop_agent()
        session.progress.warn(f"the guest's agent does not answer after the migration: {e.message}")


def _verify(session: Session) -> Verified:
    """Have the guest check all that it has written, wherever it is now.

    :raise IntegrityError: a page is not what was written to it, or nobody answers: that is how a guest may look whose
        memory is ruined.
    """
    session.progress.step("Checking what the guest has written")
    if session.agent is None:
        _reconnect(session)
    if session.agent is None:
        raise IntegrityError(
            "the guest's memory could not be checked: its agent does not answer after the migration",
            hint="see what its kernel says: fastballoon vm console --log",
        )
    return workload.end_work(session.agent)


def _curve(watched: workload.Watched | None, watching: float | None, ran: _Ran) -> Curve | None:
    """Return the guest's free memory during the migration.

    The guest's clock and the host's are never compared: from when the guest begins to look they go alike.
    """
    if watched is None or watching is None:
        return None
    begin = ran.begun - watching
    return watched.between(begin, begin + (ran.migration.total_s or 0.0))


def _ram(ended: Migration, skipped: int | None) -> RamCounts:
    ram = ended.ram
    return RamCounts(
        total_bytes=int(ram.get("total", 0)),
        transferred_bytes=int(ram.get("transferred", 0)),
        normal_pages=int(ram.get("normal", 0)),
        zero_pages=int(ram.get("duplicate", 0)),
        skipped_free_pages=skipped,
        passes=ended.passes,
    )


def _free(memory: Mapping[str, int] | None) -> int | None:
    return None if memory is None else memory["MemFree"]
