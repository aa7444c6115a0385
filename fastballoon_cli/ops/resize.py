"""What a balloon and its rivals have in common: memory moves between guest and host until a target is reached."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from fastballoon_cli.errors import FastballoonError, PreconditionError, TargetNotReachedError
from fastballoon_cli.machine.reading import Reading, read
from fastballoon_cli.machine.session import Session
from fastballoon_cli.ops.host_floor import HostFloor
from fastballoon_cli.progress import Progress
from fastballoon_cli.results.curve import Curve, thinned
from fastballoon_cli.results.model import Change
from fastballoon_cli.units import format_size

__all__ = ["Device", "Driven", "drive"]

#: Reading the device's size takes 0.3 ms; this is the error of a duration that is found by polling.
_POLL_SECONDS = 0.005
#: Where others are waited for as well, each look takes CPU time from all of them: it comes after a share of the time so
#: far, and after so long at most.
_POLL_SHARE, _POLL_MOST_SECONDS = 0.05, 0.25
#: A guest that has moved nothing for so long won't: its driver retries five times a second.
_STALL_SECONDS = 5.0
#: After so long without a move it is worth asking the guest what is the matter.
_DOUBT_SECONDS = 0.4
#: Until then it may merely wait for a CPU that others keep busy.
_HURRIED_DOUBT_SECONDS = 1.0


class Device(Protocol):
    """A device that takes memory from the guest and gives it back."""

    def size(self) -> int:
        """Return how many bytes it has taken."""
        ...

    def set_target(self, size: int) -> None:
        """Ask for ``size`` bytes; returns at once."""
        ...


@dataclass(frozen=True)
class Driven:
    """What a move did to host and guest.

    :ivar seconds: from asking for the target to reaching it.
    :ivar moved: the device's size in bytes.
    :ivar guest_memory: what the device left to the guest.
    """

    seconds: float
    moved: Change
    before: Reading
    after: Reading
    guest_memory: Curve | None

    @property
    def guest_cpu_s(self) -> float:
        """For how long the guest's vCPUs ran meanwhile."""
        return self.after.vcpu_s - self.before.vcpu_s

    @property
    def host_rss(self) -> Change:
        """What the host holds for QEMU, in bytes."""
        return Change(self.before.rss_bytes, self.after.rss_bytes)

    @property
    def guest_free(self) -> Change:
        """What the guest has free, in bytes."""
        return Change(self.before.guest.free, self.after.guest.free)


def drive(
    session: Session,
    device: Device,
    target: int,
    before: Reading,
    *,
    timeout: float,
    progress: Progress,
    why: Callable[[], str | None] = lambda: None,
    floor: HostFloor | None = None,
) -> Driven:
    """Ask for the target and wait until it is reached.

    Whatever ends an inflation early leaves the device's target at what it has reached: a guest must not go on
    chasing a target that nobody waits for. Memory that is given back is never withdrawn, whatever ends the wait.

    :param before: what was read of the VM just now.
    :param timeout: seconds; a guest that moves nothing is given up sooner.
    :param why: asked when nothing has moved for a while; a reason that it returns ends the wait.
    :param floor: of an inflation that is to be approached in steps.
    :raise TargetNotReachedError: the device stopped short.
    :raise PreconditionError: there is memory to take from a guest that is paused.
    """
    size = device.size()
    points = [(0.0, size)]
    seconds = _wait(session, device, target, timeout, progress, why, points, floor)
    after = read(session, after=True)
    return Driven(
        seconds=seconds,
        moved=Change(size, device.size()),
        before=before,
        after=after,
        guest_memory=thinned("left", [(at, session.facts.memory_bytes - size) for at, size in points]),
    )


def _wait(
    session: Session,
    device: Device,
    target: int,
    timeout: float,
    progress: Progress,
    why: Callable[[], str | None],
    points: list[tuple[float, int]],
    floor: HostFloor | None = None,
) -> float:
    """Return after how long the target was reached.

    :param points: seconds and the device's sizes, of which the one before is there; those on the way are added.
    """
    before = size = points[0][1]
    if size == target:
        # The guest may be about to leave it, for the target of a tool that was killed.
        device.set_target(target)
        return 0.0
    gives_back = target < before
    if not gives_back:
        session.require_running()
    begun = moved = asked = time.monotonic()
    aim = size
    doubt = _HURRIED_DOUBT_SECONDS if session.hurry else _DOUBT_SECONDS
    try:
        if gives_back:
            device.set_target(aim := target)
            _require_running_to_give_back(session, target)
        while True:
            if size == aim:
                aim = _go_on(session, device, target, floor, begun)
                moved = asked = time.monotonic()
            size_now = device.size()
            now = time.monotonic()
            if size_now != size:
                size, moved = size_now, now
                points.append((now - begun, size))
                progress.update(abs(size - before), note=format_size(size))
            if size == target:
                return now - begun
            if now - moved > _STALL_SECONDS or now - begun > timeout:
                raise _short(session, size, target, now - begun, None, gives_back=gives_back)
            if now - moved > doubt and now - asked > _DOUBT_SECONDS:
                if reason := why():
                    raise _short(session, device.size(), target, now - begun, reason, gives_back=gives_back)
                asked = time.monotonic()
            time.sleep(_until_next_look(now - begun) if session.hurry else _POLL_SECONDS)
    except BaseException:
        if not gives_back:
            _freeze(device, progress)
        raise


def _until_next_look(waited: float) -> float:
    return min(max(_POLL_SECONDS, _POLL_SHARE * waited), _POLL_MOST_SECONDS)


def _go_on(session: Session, device: Device, target: int, floor: HostFloor | None, begun: float) -> int:
    """Ask for the target, or for what the guest can spare on the way there; return which."""
    aim = target
    if floor:
        size = device.size()
        aim = floor.next(size, target)
        if aim == size:
            seconds = time.monotonic() - begun
            raise _short(session, size, target, seconds, floor.reason, gives_back=False, hint=floor.hint)
    device.set_target(aim)
    return aim


def _freeze(device: Device, progress: Progress) -> None:
    """Have the guest stop where it is."""
    try:
        device.set_target(device.size())
    except FastballoonError as e:
        progress.warn(f"the guest may go on towards the target, as it could not be set back: {e.message}")


def _require_running_to_give_back(session: Session, target: int) -> None:
    try:
        session.require_running()
    except PreconditionError as e:
        raise TargetNotReachedError(
            f"{e.message}; it gets its memory back as soon as it runs, as the target is {format_size(target)} now",
            hint=e.hint,
        ) from e


def _short(
    session: Session,
    size: int,
    target: int,
    seconds: float,
    reason: str | None,
    *,
    gives_back: bool,
    hint: str | None = None,
) -> TargetNotReachedError:
    because = f": {reason}" if reason else ""
    if gives_back:
        return TargetNotReachedError(
            f"the balloon still holds {format_size(size)} after {seconds:.1f} s, more than {format_size(target)}"
            f"{because}",
            hint="the target stands: the guest gets the rest as soon as its driver takes it",
        )
    # A hint of its own is about a guest that has just been waited for in vain.
    free = None if hint else (session.guest_memory() or {}).get("MemFree")
    left = f"; the guest has {format_size(free)} free" if free is not None else ""
    return TargetNotReachedError(
        f"the balloon stopped at {format_size(size)} of {format_size(target)} after {seconds:.1f} s{because}{left}",
        hint=hint or "the balloon stays at what it has reached; ask for less, or free memory in the guest",
    )
