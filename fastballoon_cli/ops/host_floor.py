"""A floor that the host keeps, for guests whose own driver would give all that it is asked for."""

from dataclasses import dataclass

from fastballoon_cli.machine.session import Session
from fastballoon_cli.units import MIB, PAGE_BYTES, format_size

__all__ = ["HostFloor", "default_floor", "short", "steps"]

_MOST = 128 * MIB
_SHARE = 8
#: Less is not worth another step.
_STEP = 4 * MIB
#: What a guest says of its memory is up to a second old when it is acted upon, and older when it is busy.
_STALE_SECONDS = 5.0


def default_floor(memory_bytes: int) -> int:
    """Return the bytes of available memory that a guest keeps: 128 MiB, less in one of less than 1 GiB."""
    return min(_MOST, memory_bytes // _SHARE)


@dataclass
class HostFloor:
    """Approaches a target by what the guest says of its memory, in steps that leave it some in any case.

    :ivar bytes: of available memory that the guest keeps.
    :ivar reason: why :meth:`next` has gone no further.
    :ivar hint: what to do about that; None where it is what is always done.
    """

    session: Session
    bytes: int
    reason: str = ""
    hint: str | None = None

    def next(self, size: int, target: int) -> int:
        """Return the size that a balloon of ``size`` bytes may have next, on its way to ``target``.

        The target itself where three quarters of what the guest can spare are enough for it; else half of
        that. ``size`` if it can spare nothing, or does not say.
        """
        memory = self.session.guest_memory()
        age = self.session.guest_memory_age_s
        if self.session.guest_memory_from != "statistics":
            age = 0.0  # an agent tells what is so now
        if not memory or age is None or age > _STALE_SECONDS:
            self.reason = "the guest does not say how much memory it has left"
            self.hint = (
                "if it is still booting, wait until it has booted, and its driver virtio_balloon says that; "
                "--floor 0 inflates all the same"
            )
            return size
        # Before Linux 4.6 the driver does not tell what is available.
        available = memory.get("MemAvailable", memory.get("MemFree", 0))
        aim = _next(size, target, available - self.bytes)
        if aim == size:
            self.reason = short(available, self.bytes)
        return aim


def _next(size: int, target: int, spare: int) -> int:
    if target - size <= spare * 3 // 4:
        return target
    step = spare // 2 // PAGE_BYTES * PAGE_BYTES
    return size if step < _STEP else size + step


def steps(size: int, target: int, *, available: int, floor: int) -> list[int]:
    """Return the sizes that a balloon of ``size`` bytes has on its way, if all that the guest loses is what it gives.

    :param available: bytes, as the guest has told.
    :param floor: bytes of them that it keeps.
    :returns: ends with the target, or short of it where the floor is in the way.
    """
    found = [size]
    while found[-1] != target:
        aim = _next(found[-1], target, available - floor - (found[-1] - size))
        if aim == found[-1]:
            break
        found.append(aim)
    return found[1:]


def short(available: int, floor: int) -> str:
    """Return why an inflation goes no further."""
    return f"the guest has {format_size(available)} available, and is to keep {format_size(floor)} (--floor)"
