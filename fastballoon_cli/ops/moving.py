"""What a balloon and its rivals have in common: memory moves between guest and host until a target is reached."""

import time
from collections.abc import Callable
from typing import Protocol

from fastballoon_cli.errors import TargetNotReachedError
from fastballoon_cli.ops.session import Session
from fastballoon_cli.progress import Progress
from fastballoon_cli.units import format_size

__all__ = ["Device", "drive", "guest_free"]

#: Reading the device's size takes 0.3 ms; this is the error of a duration that is found by polling.
_POLL_SECONDS = 0.005
#: A guest that has moved nothing for so long won't: its driver retries five times a second.
_STALL_SECONDS = 5.0
#: After so long without a move it is worth asking the guest what is the matter.
_DOUBT_SECONDS = 0.4


class Device(Protocol):
    """A device that takes memory from the guest and gives it back."""

    def size(self) -> int:
        """Return how many bytes it has taken."""
        ...

    def set_target(self, size: int) -> None:
        """Ask for ``size`` bytes; returns at once."""
        ...


def drive(
    session: Session,
    device: Device,
    target: int,
    *,
    timeout: float,
    progress: Progress,
    why: Callable[[], str | None] = lambda: None,
) -> float:
    """Ask for the target and wait until it is reached; return the seconds that took.

    Whatever ends this early leaves the device's target at what it has reached: a guest must not go on
    chasing a target that nobody waits for.

    :param timeout: seconds; a guest that moves nothing is given up sooner.
    :param why: asked when nothing has moved for a while; a reason that it returns ends the wait.
    :raise TargetNotReachedError: the device stopped short.
    """
    before = size = device.size()
    if size == target:
        return 0.0
    begun = moved = asked = time.monotonic()
    try:
        device.set_target(target)
        while True:
            size_now = device.size()
            now = time.monotonic()
            if size_now == target:
                return now - begun
            if size_now != size:
                size, moved = size_now, now
                progress.update(abs(size - before), note=format_size(size))
            if now - moved > _STALL_SECONDS or now - begun > timeout:
                raise _short(session, size, target, now - begun, None)
            if now - max(moved, asked) > _DOUBT_SECONDS:
                if reason := why():
                    raise _short(session, device.size(), target, now - begun, reason)
                asked = time.monotonic()
            time.sleep(_POLL_SECONDS)
    except (TargetNotReachedError, KeyboardInterrupt):
        device.set_target(device.size())
        raise


def guest_free(session: Session) -> int | None:
    """Return the guest's MemFree in bytes, or None where nobody answers."""
    memory = session.ask("memory")
    return int(memory["MemFree"]) if memory else None


def _short(session: Session, size: int, target: int, seconds: float, reason: str | None) -> TargetNotReachedError:
    free = guest_free(session)
    left = f"; the guest has {format_size(free)} free" if free is not None else ""
    because = f": {reason}" if reason else ""
    return TargetNotReachedError(
        f"the balloon stopped at {format_size(size)} of {format_size(target)} after {seconds:.1f} s{because}{left}",
        hint="the balloon stays at what it has reached; ask for less, or free memory in the guest",
    )
