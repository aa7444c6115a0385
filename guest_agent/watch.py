"""See how little free memory the guest has while something is done to it."""

import ctypes
import time
from collections.abc import Callable
from typing import Any

from guest_agent import jobs

_Progress = Callable[[int], None]
_NAME = "watch"
_EVERY_SECONDS = 0.01
#: What is kept of it: as soon as there are more, of two neighbours the lower one stays.
_POINTS = 400


class _SysInfo(ctypes.Structure):
    """As sysinfo(2) has it on 64 bits; ``freeram`` is what /proc/meminfo calls MemFree."""

    _fields_ = (
        ("uptime", ctypes.c_long),
        ("loads", ctypes.c_ulong * 3),
        ("totalram", ctypes.c_ulong),
        ("freeram", ctypes.c_ulong),
        ("rest", ctypes.c_byte * 64),
    )


def watch_start(_: _Progress, *, seconds: float) -> None:
    """Begin to look at MemFree every 10 ms, whatever becomes of this connection.

    :param seconds: after so long it ends by itself.
    """
    jobs.start(_NAME, _watch, seconds=seconds)


def watch_finish(_: _Progress) -> dict[str, Any] | None:
    """End it; return what was seen, or None if nobody looked to the end.

    :returns: ``min_free_bytes``, the least; ``seconds`` since the beginning and ``free_bytes``, the curve; ``cpu_ns``,
        what the looking took.
    """
    last, failed = jobs.finish([_NAME], seconds=5.0)
    if failed:
        return None
    return {name: last[_NAME][name] for name in ("min_free_bytes", "seconds", "free_bytes", "cpu_ns")}


def _watch(job: jobs.Job) -> None:
    # A system call costs a guest without KVM some microseconds; reading /proc/meminfo would cost it half a millisecond.
    libc, info = ctypes.CDLL(None), _SysInfo()
    begun = time.monotonic()
    points: list[tuple[float, int]] = []
    # How many looks make a point, and the lowest of those that have made none yet.
    looks, seen, lowest = 1, 0, (0.0, 0)
    while job.goes_on():
        libc.sysinfo(ctypes.byref(info))
        if not seen or info.freeram < lowest[1]:
            lowest = (time.monotonic() - begun, info.freeram)
        seen += 1
        if seen == looks:
            points.append(lowest)
            seen = 0
        if len(points) == _POINTS:
            points = [min(pair, key=_size) for pair in zip(points[::2], points[1::2], strict=True)]
            looks *= 2
        time.sleep(_EVERY_SECONDS)
    if seen:
        points.append(lowest)
    job.tell(
        done=True,
        min_free_bytes=min(map(_size, points), default=-1),
        seconds=[round(seconds, 3) for seconds, _ in points],
        free_bytes=[size for _, size in points],
        cpu_ns=time.process_time_ns(),
    )


def _size(point: tuple[float, int]) -> int:
    return point[1]
