"""See how little free memory the guest has while something is done to it."""

import ctypes
import time
from collections.abc import Callable

from guest_agent import jobs

_Progress = Callable[[int], None]
_NAME = "watch"
_EVERY_SECONDS = 0.01


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


def watch_finish(_: _Progress) -> dict[str, int] | None:
    """End it; return the least that was seen (``min_free_bytes``), or None if nobody looked to the end."""
    last, failed = jobs.finish([_NAME], seconds=5.0)
    return None if failed else {"min_free_bytes": last[_NAME]["min_free_bytes"], "cpu_ns": last[_NAME]["cpu_ns"]}


def _watch(job: jobs.Job) -> None:
    # A system call costs a guest without KVM some microseconds; reading /proc/meminfo would cost it half a millisecond.
    libc, info = ctypes.CDLL(None), _SysInfo()
    least = -1
    while job.goes_on():
        libc.sysinfo(ctypes.byref(info))
        if least < 0 or info.freeram < least:
            least = info.freeram
        time.sleep(_EVERY_SECONDS)
    job.tell(done=True, min_free_bytes=least, cpu_ns=time.process_time_ns())
