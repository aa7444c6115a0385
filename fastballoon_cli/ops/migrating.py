"""A guest that moves to another QEMU: what is the same wherever that is, and what is said of it afterwards."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from fastballoon_cli.errors import GuestError, IntegrityError, MigrationError, PreconditionError
from fastballoon_cli.guest.agent import AgentClient
from fastballoon_cli.machine.reading import read
from fastballoon_cli.machine.session import Session, connect_agent
from fastballoon_cli.ops import workload
from fastballoon_cli.ops.provenance import provenance
from fastballoon_cli.progress import Progress
from fastballoon_cli.qemu import free_pages, migration
from fastballoon_cli.qemu.balloon import Balloon
from fastballoon_cli.qemu.migration import Migration
from fastballoon_cli.qemu.monitor import Monitor
from fastballoon_cli.results.curve import Curve
from fastballoon_cli.results.migration import MigrateResult, RamCounts, Verified
from fastballoon_cli.results.model import Change
from fastballoon_cli.units import PAGE_BYTES, format_size

__all__ = [
    "DEFAULT_SECONDS",
    "TOO_SLOW",
    "Migrator",
    "Options",
    "Ran",
    "carry_out",
    "free_page_method",
    "note",
    "time_to_cancel",
]

DEFAULT_SECONDS = 600.0
#: The hint where a migration did not come to an end in time.
TOO_SLOW = "the guest may write faster than memory is sent: raise --bandwidth, --downtime-limit or --timeout"
#: QEMU's own default.
_DOWNTIME_LIMIT = 0.3
_AGENT_SECONDS = 30.0
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


@dataclass(frozen=True, kw_only=True)
class Ran:
    """A migration that was completed.

    :ivar free_pages: what the source says of them; None where it knows of no such thing.
    :ivar seen_in_part: whether it said that before the last pass, and has skipped more since.
    :ivar paused_s: for how long the guest did not run; None where nobody's clock tells.
    :ivar guest_cpu_s: for which its vCPUs ran meanwhile, on both sides.
    :ivar begun: when it began, as ``time.monotonic`` tells.
    """

    migration: Migration
    free_pages: free_pages.FreePages | None
    paused_s: float | None
    guest_cpu_s: float
    begun: float
    seen_in_part: bool = False


class Migrator(Protocol):
    """Where a guest moves to, and who brings it there."""

    def check(self, session: Session, options: Options, /) -> str | None:
        """Check that it can be done as it is asked for, and return by which way free pages are left out.

        :raise PreconditionError: it cannot.
        """
        ...

    def run(self, session: Session, options: Options, timeout: float, progress: Progress, /) -> Ran:
        """Move the guest; the session goes on with the QEMU that has it then, and without its agent.

        :raise MigrationError: that failed, was cancelled or took too long; the guest runs on where it was.
        :raise VmLostError: the QEMU that had the guest has ended.
        """
        ...

    def provenance(self) -> Mapping[str, Any]:
        """Return what a reader needs to know of it beside the options."""
        ...


def carry_out(
    session: Session, options: Options, migrator: Migrator, *, timeout: float, progress: Progress
) -> MigrateResult:
    """Migrate the session's guest; the session goes on with the QEMU that has it then.

    :param timeout: seconds until a migration that has not ended is cancelled.
    :raise PreconditionError: free pages are to be skipped and can't be, or the host has too little memory.
    :raise MigrationError: it failed, was cancelled or took too long; the guest runs on where it was.
    :raise IntegrityError: memory of the guest is not what was written to it, or that could not be found out.
    :raise GuestError: there is to be a check, and the agent does not answer.
    :raise VmLostError: the QEMU that had the guest has ended.
    """
    method = migrator.check(session, options)
    hello = session.ask("hello")
    if options.verify:
        progress.step(f"Starting work in '{session.record.name}' that is checked")
        workload.start_work(_need_agent(session), bandwidth=options.bandwidth, timeout=timeout)
    before = read(session)
    watching = workload.start_watch(session, timeout=timeout)
    ran = _run(session, options, migrator, timeout, progress)
    if watching is not None:
        _reconnect(session)
    watched = None if watching is None else workload.end_watch(session)
    after = read(session, after=True)
    verified = _verify(session, timeout) if options.verify else None
    told = ran.free_pages
    skipped = None if ran.seen_in_part else told
    return MigrateResult(
        vm=session.record.name,
        method=method or "precopy",
        skip_free=options.skip_free,
        total_s=ran.migration.total_s or 0.0,
        setup_s=ran.migration.setup_s or 0.0,
        downtime_s=ran.migration.downtime_s or 0.0,
        guest_paused_s=ran.paused_s,
        guest_cpu_s=ran.guest_cpu_s,
        ram=_ram(ran.migration, None if skipped is None else skipped.skipped_free_bytes // PAGE_BYTES),
        guest_free_bytes=Change(before.guest.free, after.guest.free),
        guest_min_free_bytes=watched.least if watched else None,
        skipped_balloon_pages=None if skipped is None else skipped.skipped_balloon_bytes // PAGE_BYTES,
        told_free_bytes=None if told is None else told.told_bytes,
        answer_s=None if told is None else told.answer_s,
        verified=verified,
        guest_memory=_curve(watched, watching, ran),
        provenance={
            **provenance(session, hello, session.balloon.options(), "qemu"),
            "bandwidth_bytes_per_s": options.bandwidth,
            "downtime_limit_s": options.downtime_s,
            **migrator.provenance(),
        },
    )


def _run(session: Session, options: Options, migrator: Migrator, timeout: float, progress: Progress) -> Ran:
    try:
        return migrator.run(session, options, timeout, progress)
    except MigrationError:
        if options.verify:
            _verify(session, timeout)  # memory must not suffer from a migration that failed either
        raise
    except BaseException:
        if options.verify:
            workload.abandon(session.record)
        raise


def time_to_cancel(options: Options, seconds: float, timeout: float) -> str | None:
    """Return why a migration that has taken so long is to be cancelled; None if it is not."""
    if options.cancel_after_s is not None and seconds >= options.cancel_after_s:
        return f"the migration was cancelled after {options.cancel_after_s:g} s"
    if seconds > timeout:
        return f"the migration was not complete after {timeout:g} s, and cancelled"
    return None


def free_page_method(
    qmp: Monitor,
    device: Balloon,
    options: Options,
    *,
    hint: str = "start the VM with both halves patched, or with --balloon-options free-page-hint=on",
) -> str | None:
    """Return by which way free pages are left out; None if they are not.

    :param hint: what to do where they are to be, and guest and QEMU have no way.

    :raise PreconditionError: they are to be, and cannot.
    """
    found = free_pages.method(qmp, device)
    if not options.skip_free:
        # Hints are QEMU's own doing: it asks for them in each migration of a device that has them.
        return found if found == "free-page-hint" else None
    if found is None:
        raise PreconditionError(
            "free pages cannot be skipped: guest and QEMU have agreed on no way to tell of them",
            hint=hint,
        )
    on = migration.capabilities(qmp)
    if conflicts := [name for name in _NOT_WITH_SKIPPING if on.get(name)]:
        raise PreconditionError(
            f"no free page would be skipped: QEMU asks for none with {conflicts[0]}, a migration capability that is on",
            hint="switch it off with migrate-set-capabilities, or migrate without --skip-free",
        )
    return found


def note(now: Migration) -> str:
    """Return what is said of a migration that is under way."""
    rate = now.ram.get("mbps", 0) * 1e6 / 8
    left = format_size(int(now.ram.get("remaining", 0)))
    return f"pass {now.passes}, {left} left, {format_size(int(rate))}/s"


def _need_agent(session: Session) -> AgentClient:
    if session.agent is None:
        raise GuestError(
            "nothing can be verified: the agent in the guest does not answer", hint=session.record.console()
        )
    return session.agent


def _reconnect(session: Session, *, patience: float = _AGENT_SECONDS) -> None:
    try:
        session.agent = connect_agent(session.record, timeout=patience)
        # Under TCG the destination translates all of the guest's code anew, and the first answer takes long.
        session.agent.call("hello", timeout=patience)
    except GuestError as e:
        session.drop_agent()
        session.progress.warn(f"the guest's agent does not answer after the migration: {e.message}")


def _verify(session: Session, timeout: float) -> Verified:
    """Have the guest check all that it has written, wherever it is now.

    :param timeout: seconds to wait for a guest that is slow, which is not one whose memory is ruined.
    :raise IntegrityError: a page is not what was written to it, or nobody answers: that is how a guest may look whose
        memory is ruined.
    """
    session.progress.step("Checking what the guest has written")
    if session.agent is None:
        _reconnect(session, patience=max(_AGENT_SECONDS, timeout))
    if session.agent is None:
        raise IntegrityError(
            "the guest's memory could not be checked: its agent does not answer after the migration",
            hint=session.record.console(),
        )
    return workload.end_work(session.agent, session.record)


def _curve(watched: workload.Watched | None, watching: float | None, ran: Ran) -> Curve | None:
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
