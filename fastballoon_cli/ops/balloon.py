"""Move a VM's balloon and say what it cost."""

from collections.abc import Mapping
from dataclasses import dataclass

from fastballoon_cli.errors import PreconditionError, UsageError
from fastballoon_cli.machine.reading import Reading, read
from fastballoon_cli.machine.registry import Record
from fastballoon_cli.machine.session import Session
from fastballoon_cli.ops import host_gain
from fastballoon_cli.ops.host_floor import HostFloor, default_floor
from fastballoon_cli.ops.provenance import provenance
from fastballoon_cli.ops.resize import drive
from fastballoon_cli.progress import Progress
from fastballoon_cli.qemu import migration
from fastballoon_cli.qemu.balloon import Balloon, DeviceCounters, QueueCounters, agreed_on
from fastballoon_cli.results.model import MoveResult
from fastballoon_cli.results.timeline import HostSide, Timeline
from fastballoon_cli.units import PAGE_BYTES, format_size

__all__ = ["METHODS", "Plan", "check_inflate", "deflate", "inflate", "plan_deflate", "plan_inflate"]

METHODS = ("auto", "page-bitmap", "pfn")
#: The driver's counters of what keeps a balloon from growing, the weightiest first.
_REASONS = {
    "inflate_oom_pauses": "the guest has run out of memory, and its balloon does not grow for a while",
    "inflate_floor": "it leaves the guest its last available memory (the driver's floor_kbytes)",
    "inflate_exhausted": "the guest's kernel has no page left to give",
}


@dataclass(frozen=True)
class Plan:
    """A move of a balloon that can be made.

    :ivar operation: ``inflate`` or ``deflate``.
    :ivar size, target: bytes, at present and at the end.
    :ivar method: what guest and QEMU have agreed on, one of :data:`METHODS`.
    :ivar floor: bytes of available memory that the host leaves to the guest, by approaching the target in steps; 0: the
        target is asked for at once.
    """

    operation: str
    size: int
    target: int
    method: str
    floor: int = 0


def inflate(
    session: Session,
    target: int,
    *,
    method: str = "auto",
    floor: int | None = None,
    timeout: float = 120.0,
    progress: Progress,
) -> MoveResult:
    """Inflate the balloon to ``target`` bytes.

    :param method: one of :data:`METHODS`; anything but ``auto`` must be what guest and QEMU agreed on.
    :param floor: bytes of available memory that the host leaves to the guest, by approaching the target in steps. None:
        :func:`~fastballoon_cli.ops.host_floor.default_floor` for a VM that something else has started and whose driver
        has no floor of its own; none else, and none if it is 0.
    :param timeout: seconds; a guest that moves nothing is given up sooner.
    :raise UsageError: a target that is no multiple of 4 KiB, not above the present size, or not below the VM's memory.
    :raise PreconditionError: no driver in the guest, another method was agreed on, or the guest is paused.
    :raise TargetNotReachedError: the balloon stopped short; it stays at what it has reached.
    """
    return _move(session, plan_inflate(session, target, method=method, floor=floor), timeout, progress)


def plan_inflate(session: Session, target: int, *, method: str = "auto", floor: int | None = None) -> Plan:
    """Return what an inflation is going to do; the parameters are those of :func:`inflate`.

    :raise UsageError, PreconditionError: as :func:`inflate` does; but a guest that is paused is no error yet.
    """
    device = _with_driver(session)
    size = device.size()
    check_inflate(target, size, device.ram_bytes, session.facts.lent_bytes)
    counters = device.counters()
    agreed = agreed_on(counters)
    if method not in ("auto", agreed):
        raise PreconditionError(_why_not(method, session, counters), hint="use --method auto to take what there is")
    if floor is None:
        # A driver that speaks in page bitmaps has a floor of its own.
        floor = 0 if session.ours or agreed != "pfn" else default_floor(session.facts.memory_bytes)
    return Plan("inflate", size, target, agreed, floor)


def check_inflate(target: int, size: int, ram: int, lent: int = 0) -> None:
    """Check an inflation of a balloon that has ``size`` bytes, in a VM that has ``ram`` bytes for it.

    :param lent: bytes of the VM's memory that virtio-mem lends it, which no balloon takes.
    :raise UsageError: a target that cannot be.
    """
    _check_multiple(target)
    if target == 0:
        raise UsageError("a balloon of 0 is nothing to inflate", hint="to empty it, use deflate")
    if target >= ram:
        raise UsageError(
            f"the target {format_size(target)} is not below the VM's memory, {format_size(ram)}"
            + (f", without the {format_size(lent)} of virtio-mem" if lent else ""),
            hint="--target is the balloon's size: 3G of a 4 GiB guest leaves it 1 GiB",
        )
    if target < size:
        raise UsageError(
            f"the balloon already holds {format_size(size)}, more than {format_size(target)}",
            hint=f"to shrink it, use deflate --to {target}",
        )


def deflate(session: Session, target: int = 0, *, timeout: float = 120.0, progress: Progress) -> MoveResult:
    """Deflate the balloon to ``target`` bytes, by default to nothing.

    The target is QEMU's before the guest is asked anything that the session has not asked it already: a guest in need
    of memory may take long to answer. Nothing withdraws it.

    :raise UsageError: a target that is no multiple of 4 KiB, or above the present size.
    :raise PreconditionError: no driver in the guest.
    :raise TargetNotReachedError: the guest is paused, or did not take its memory back in time; it still can.
    """
    return _move(session, plan_deflate(session, target), timeout, progress)


def plan_deflate(session: Session, target: int = 0) -> Plan:
    """Return what a deflation to ``target`` bytes is going to do.

    :raise UsageError, PreconditionError: as :func:`deflate` does.
    """
    _check_multiple(target)
    device = _with_driver(session)
    size = device.size()
    if target > size:
        raise UsageError(
            f"the balloon holds {format_size(size)}, less than {format_size(target)}",
            hint=f"to grow it, use inflate --target {target}",
        )
    return Plan("deflate", size, target, agreed_on(device.counters()))


def _with_driver(session: Session) -> Balloon:
    if not session.balloon.has_driver():
        raise PreconditionError(
            "no driver in the guest has taken the balloon device",
            hint="one that is still booting does so in a moment; else its kernel needs CONFIG_VIRTIO_BALLOON: "
            f"{session.record.console()}",
        )
    return session.balloon


def _check_multiple(target: int) -> None:
    if target % PAGE_BYTES:
        raise UsageError(f"{target} bytes is no multiple of 4 KiB", hint="a balloon is made of 4 KiB pages")


def _move(session: Session, plan: Plan, timeout: float, progress: Progress) -> MoveResult:
    operation, device = plan.operation, session.balloon
    if plan.floor and session.hurry:
        session.poll_statistics()  # it is kept by what the guest says, and nobody in it was met
    hello = session.ask("hello")
    # A guest in need of memory is asked when it has some.
    before = read(session, wait=plan.target > plan.size)
    title = "Inflating" if operation == "inflate" else "Deflating"
    progress.step(f"{title} the balloon of '{session.record.name}'", float(abs(plan.target - plan.size)))
    driven = drive(
        session,
        device,
        plan.target,
        before,
        timeout=timeout,
        progress=progress,
        why=_Doubt(session, before.driver, late=session.hurry and operation == "inflate").reason,
        floor=HostFloor(session, plan.floor) if plan.floor else None,
    )
    timeline = _timeline(operation, driven.seconds, before, driven.after, stamped=not plan.floor)
    remarks = []
    if operation == "inflate":
        inhibited = _inhibited(session, before.device, driven.after.device)
        started = isinstance(session.record, Record)
        remarks = host_gain.remarks(session.facts.memory_bytes, driven, inhibited=inhibited, started=started)
    return MoveResult(
        operation=operation,
        vm=session.record.name,
        method=plan.method,
        target_bytes=plan.target,
        balloon_bytes=driven.moved,
        duration_s=timeline.duration_s,
        guest_cpu_s=driven.guest_cpu_s,
        phases_s=timeline.phases,
        counts=timeline.counts,
        host_rss_bytes=driven.host_rss,
        guest_free_bytes=driven.guest_free,
        guest_memory=driven.guest_memory,
        remarks=remarks,
        provenance=provenance(session, hello or session.ask("hello"), device.options(), timeline.clock),
    )


def _inhibited(session: Session, before: DeviceCounters | None, after: DeviceCounters | None) -> str | None:
    """Return why QEMU could discard nothing of what the guest gave, and what becomes of it; None if it could."""
    if before and after and after.inflate.inhibited == before.inflate.inhibited:
        return None
    if not after and not migration.snapshots(session.qmp):
        return None
    if after and after.page_bitmap:
        return "it must not discard memory at present, during a background snapshot, say; it does as soon as it may"
    return (
        "it must not discard memory at present, during a background snapshot, say; "
        "when that is over, deflate it and inflate it again"
    )


def _why_not(method: str, session: Session, counters: DeviceCounters | None) -> str:
    if method == "pfn":
        return "guest and QEMU agreed on page bitmaps, so page numbers are not spoken"
    if counters is None:
        return f"page bitmaps were not agreed on: this QEMU{_in_brackets(session.facts.qemu)} does not have them"
    option = session.balloon.options().get("x-page-bitmap")
    if not option:
        return "page bitmaps were not agreed on: the device was made with x-page-bitmap=off"
    return f"page bitmaps were not agreed on: the guest's kernel{_in_brackets(session.facts.kernel)} does not have them"


def _in_brackets(variant: str | None) -> str:
    return f" ({variant})" if variant else ""


class _Doubt:
    """Says what stops a balloon that does not move.

    :param before: the driver's counters before the move; None: nobody has told them.
    :param late: then they are asked for as soon as there is a doubt. They were not worth a login before.
    """

    def __init__(self, session: Session, before: Mapping[str, int] | None, *, late: bool) -> None:
        self._session, self._before, self._late = session, before, late

    def reason(self) -> str | None:
        """Return what the driver says it lacks, if it says so by now."""
        if self._before is None and self._late:
            self._session.meet_agent()  # the driver tries on, and counts that
            self._before = self._session.ask("balloon")
            return None
        return _what_stops_it(self._session, self._before)


def _what_stops_it(session: Session, before: Mapping[str, int] | None) -> str | None:
    """Return what the driver says it lacks, if its counters tell of it."""
    now = session.ask("balloon") if before is not None else None
    if now is None or before is None:
        return None
    for counter, reason in _REASONS.items():
        if now.get(counter, 0) > before.get(counter, 0):
            return reason
    return None


def _timeline(operation: str, watched: float, before: Reading, after: Reading, *, stamped: bool) -> Timeline:
    host = stamps = guest = None
    if before.device and after.device:
        host = (_side(operation, before.device), _side(operation, after.device))
        # Where nothing moved the stamps are those of an earlier move, and after several steps those of the last one.
        if stamped:
            stamps = (after.device.target_ns, after.device.actual_ns) if watched else (0, 0)
    if before.driver is not None and after.driver is not None:
        guest = (before.driver, after.driver)
    return Timeline(operation=operation, watched_s=watched, stamps_ns=stamps, host=host, guest=guest)


def _side(operation: str, counters: DeviceCounters) -> HostSide:
    queue: QueueCounters = counters.inflate if operation == "inflate" else counters.deflate
    return HostSide(
        kicks=queue.kicks,
        messages=queue.messages,
        discards=queue.discards,
        translate_ns=queue.translate_ns,
        discard_ns=queue.discard_ns,
    )
