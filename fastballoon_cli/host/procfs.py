"""What /proc says of QEMU processes and of this host."""

import os
import platform
import re
import signal
from pathlib import Path

from fastballoon_cli.units import KIB

__all__ = [
    "cpu_model",
    "kernel_release",
    "kill",
    "mapping_rss_bytes",
    "mem_available",
    "rss_bytes",
    "start_time",
    "thp_setting",
    "thread_cpu_s",
]

_STAT_STATE, _STAT_STARTTIME = 0, 19  # proc(5), counted from the field after the command's closing parenthesis


def start_time(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; None if it is gone or a zombie.

    Pid and start time together name a process for good; the pid alone may be given to another one.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[_STAT_STATE] in "ZX" else int(fields[_STAT_STARTTIME])


def rss_bytes(pid: int) -> int:
    """Return a process's resident memory in bytes.

    :raise ProcessLookupError: it is gone.
    """
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except FileNotFoundError:
        raise ProcessLookupError(pid) from None
    return pages * os.sysconf("SC_PAGESIZE")


def mapping_rss_bytes(pid: int, size: int) -> int:
    """Return how much of a mapping of exactly ``size`` bytes is resident: of a guest's memory, say.

    The kernel may list it in pieces, one after another: QEMU gives ranges of it different advice. If there are
    several, it is the one of which the most is resident.

    :raise ProcessLookupError: the process is gone.
    :raise ValueError: it has no such mapping.
    """
    try:
        text = Path(f"/proc/{pid}/smaps").read_text()
    except FileNotFoundError:
        raise ProcessLookupError(pid) from None
    found = _whole_mappings(text, size)
    if not found:
        raise ValueError(f"process {pid} has no mapping of {size} bytes")
    return max(found)


def _whole_mappings(smaps: str, size: int) -> list[int]:
    """Return the resident bytes of each mapping of ``size`` bytes, whole or in pieces that follow one another."""
    pieces = [
        (int(start, 16), int(end, 16), int(rss) * KIB)
        for start, end, rss in re.findall(
            r"^([0-9a-f]+)-([0-9a-f]+) .*\n(?:[A-Z]\w+:.*\n)*?Rss:\s+(\d+) kB", smaps, re.MULTILINE
        )
    ]
    found = []
    for first, (begin, _, _) in enumerate(pieces):
        end, resident = begin, 0
        for start, stop, rss in pieces[first:]:
            if start != end or end - begin >= size:
                break
            end, resident = stop, resident + rss
        if end - begin == size:
            found.append(resident)
    return found


def thread_cpu_s(pid: int, thread: int) -> float:
    """Return how long a thread has run on a CPU, in seconds.

    :raise ProcessLookupError: it is gone.
    """
    try:
        # proc(5): nanoseconds on a CPU, nanoseconds waiting for one, time slices
        return int(Path(f"/proc/{pid}/task/{thread}/schedstat").read_text().split()[0]) / 1e9
    except FileNotFoundError:
        raise ProcessLookupError(pid) from None


def mem_available() -> int:
    """Return the host's MemAvailable in bytes."""
    match = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    assert match, "every kernel since 3.14 has MemAvailable"
    return int(match[1]) * KIB


def kill(pid: int, started: int) -> None:
    """Send SIGKILL to the process that has this pid *and* start time; do nothing if it is gone."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if start_time(pid) == started:  # the pidfd pins the process that was looked at
            signal.pidfd_send_signal(handle, signal.SIGKILL)
    except ProcessLookupError:
        pass
    finally:
        os.close(handle)


def cpu_model() -> str:
    """Return the host CPU's name as the kernel gives it."""
    match = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return match[1] if match else platform.machine()


def kernel_release() -> str:
    """Return the host kernel's release."""
    return platform.release()


def thp_setting() -> str:
    """Return the host's transparent huge page setting: ``always``, ``madvise``, ``never``, or ``absent``."""
    try:
        text = Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text()
    except FileNotFoundError:
        return "absent"
    chosen = re.search(r"\[(\w+)\]", text)
    return chosen[1] if chosen else text.strip()
