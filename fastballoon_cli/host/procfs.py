"""What /proc says of QEMU processes and of this host."""

import platform
import re
import signal
import time
from os import close, pidfd_open
from pathlib import Path

from fastballoon_cli.errors import PreconditionError, VmLostError
from fastballoon_cli.units import KIB

__all__ = [
    "await_end",
    "cpu_model",
    "is_qemu",
    "is_stopped",
    "kernel_release",
    "kill",
    "mapping_rss_bytes",
    "mem_available",
    "process_of",
    "rss_bytes",
    "start_time",
    "thp_setting",
    "thread_cpu_s",
]

_STAT_STATE, _STAT_STARTTIME = 0, 19  # proc(5), counted from the field after the command's closing parenthesis
_QUIT_SECONDS = 5.0


def start_time(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; None if it is gone or a zombie.

    Pid and start time together name a process for good; the pid alone may be given to another one.
    """
    fields = _stat(pid)
    return None if fields is None or fields[_STAT_STATE] in "ZX" else int(fields[_STAT_STARTTIME])


def is_stopped(pid: int) -> bool:
    """Return whether a process was stopped by a signal, such as SIGSTOP, or by a debugger."""
    fields = _stat(pid)
    return fields is not None and fields[_STAT_STATE] in "Tt"


def process_of(thread: int) -> int | None:
    """Return the pid of the process that a thread belongs to; None if there is no such thread."""
    try:
        status = Path(f"/proc/{thread}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    match = re.search(r"^Tgid:\s+(\d+)$", status, re.MULTILINE)
    return int(match[1]) if match else None


def is_qemu(pid: int) -> bool:
    """Return whether a process runs a program whose name has ``qemu`` in it, as far as this user may know."""
    try:
        return "qemu" in Path(f"/proc/{pid}/exe").readlink().name
    except OSError:
        return False


def _stat(pid: int) -> list[str] | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def rss_bytes(pid: int) -> int:
    """Return a process's resident memory in bytes, huge pages of hugetlbfs included.

    :raise VmLostError: it has ended.
    """
    return _rolled_up(_of_qemu(pid, "smaps_rollup"))


def _rolled_up(smaps: str) -> int:
    """Return what is resident of all mappings; the kernel counts hugetlbfs by itself, and not in ``Rss``."""
    sizes = dict(re.findall(r"^(\w+):\s+(\d+) kB", smaps, re.MULTILINE))
    return sum(int(sizes.get(name, 0)) for name in ("Rss", "Shared_Hugetlb", "Private_Hugetlb")) * KIB


def mapping_rss_bytes(pid: int, size: int) -> int:
    """Return how much of a mapping of exactly ``size`` bytes is resident: of a guest's memory, say.

    The kernel may list it in pieces, one after another: QEMU gives ranges of it different advice. If there are
    several, it is the one of which the most is resident.

    :raise VmLostError: the process has ended.
    :raise PreconditionError: it has no such mapping.
    """
    found = _whole_mappings(_of_qemu(pid, "smaps"), size)
    if not found:
        raise PreconditionError(f"process {pid} has no mapping of {size} bytes")
    return max(found)


def _of_qemu(pid: int, name: str) -> str:
    """Return a file below /proc of a process that must be there, and is a VM's QEMU."""
    try:
        # A zombie's file is there, and empty.
        if text := Path(f"/proc/{pid}/{name}").read_text():
            return text
    except (FileNotFoundError, ProcessLookupError):
        pass
    except PermissionError:
        raise PreconditionError(
            f"what the host holds of QEMU (pid {pid}) may not be read by this user",
            hint="use sudo, or be the user that QEMU runs as",
        ) from None
    raise VmLostError(f"the VM was lost: its QEMU (pid {pid}) has ended")


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

    :raise VmLostError: it has ended.
    """
    # proc(5): nanoseconds on a CPU, nanoseconds waiting for one, time slices
    return int(_of_qemu(pid, f"task/{thread}/schedstat").split()[0]) / 1e9


def mem_available() -> int:
    """Return the host's MemAvailable in bytes."""
    match = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    assert match, "every kernel since 3.14 has MemAvailable"
    return int(match[1]) * KIB


def kill(pid: int, started: int) -> None:
    """Send SIGKILL to the process that has this pid *and* start time; do nothing if it is gone."""
    try:
        handle = pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if start_time(pid) == started:  # the pidfd pins the process that was looked at
            signal.pidfd_send_signal(handle, signal.SIGKILL)
    except ProcessLookupError:
        pass
    finally:
        close(handle)


def await_end(pid: int, started: int) -> None:
    """Wait until a QEMU that was told to quit has ended; kill one that does not."""
    deadline = time.monotonic() + _QUIT_SECONDS
    while start_time(pid) == started:
        if time.monotonic() > deadline:
            kill(pid, started)
        time.sleep(0.01)


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
