"""What the guest knows of itself. Imports little, as the agent's start waits for it."""

import os
import re
import sys
from collections.abc import Callable

_Progress = Callable[[int], None]
_BALLOON_COUNTERS = "/sys/kernel/debug/virtio-balloon"
_KIB = 1024
_WARNING = 4  # syslog(2) level; lower is worse
_INIT = "as init process"
#: A vCPU that the host did not run for a while, or a guest that was migrated; says nothing of the guest.
_HOST_WAS_BUSY = (
    "hrtimer: interrupt took",
    "clocksource: ",
    "tsc: Marking TSC unstable due to clocksource watchdog",
    "TSC found unstable after boot",
    "sched: DL replenish lagged too much",
)


def hello(_: _Progress) -> dict[str, str | bool | None]:
    """Return who answers: kernel release, Python version, boot id, and what the kernel was told at boot."""
    return {
        "kernel": os.uname().release,
        "python": sys.version.split()[0],
        "boot_id": _read("/proc/sys/kernel/random/boot_id").strip(),
        "cmdline": _read("/proc/cmdline").strip(),
        "thp": _chosen("/sys/kernel/mm/transparent_hugepage/enabled"),
        "init_on_alloc": _init_on_alloc(),
    }


def memory(_: _Progress) -> dict[str, int]:
    """Return /proc/meminfo, sizes in bytes."""
    return meminfo()


def meminfo() -> dict[str, int]:
    """Return /proc/meminfo, sizes in bytes."""
    found = re.findall(r"^(\S+):\s+(\d+)( kB)?$", _read("/proc/meminfo"), re.MULTILINE)
    return {name: int(number) * (_KIB if unit else 1) for name, number, unit in found}


def balloon(_: _Progress) -> dict[str, int] | None:
    """Return the balloon driver's counters, or None where the kernel has none."""
    try:
        with os.scandir(_BALLOON_COUNTERS) as devices:
            device = min((one.path for one in devices), default=None)
    except FileNotFoundError:
        return None
    return _counters(f"{device}/counters") if device else None


def vmstat(_: _Progress) -> dict[str, int]:
    """Return /proc/vmstat: events and pages."""
    return vmstat_now()


def vmstat_now() -> dict[str, int]:
    """Return /proc/vmstat: events and pages."""
    return _counters("/proc/vmstat")


def kernel_warnings(_: _Progress) -> list[str]:
    """Return what the kernel has warned of, or worse, since it handed over to init; oldest first.

    What it says of the machine while it boots, such as of a clock that it can't calibrate, is no concern here.
    """
    lines: list[str] = []
    log = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    try:
        while True:
            try:
                prefix, _sep, text = os.read(log, 8192).decode(errors="replace").partition(";")
            except BlockingIOError:
                return lines
            except BrokenPipeError:
                continue  # overwritten while it was read; the next one follows
            if _INIT in text:
                lines.clear()
            if is_warning(int(prefix.split(",", 1)[0]), text):
                lines.append(text.splitlines()[0])
    finally:
        os.close(log)


def is_warning(priority: int, text: str) -> bool:
    """Return whether a line of /dev/kmsg is the kernel's own and a warning, or worse, about the guest.

    :param priority: facility and level, as syslog(2) has them; facility 0 is the kernel.
    """
    return priority >> 3 == 0 and priority & 7 <= _WARNING and not text.startswith(_HOST_WAS_BUSY)


def _read(path: str) -> str:
    with open(path) as file:
        return file.read()


def _counters(path: str) -> dict[str, int]:
    """Return what a file says that has a name and a number in each line."""
    return {name: int(number) for name, number in (line.split() for line in _read(path).splitlines())}


def _chosen(path: str) -> str | None:
    try:
        match = re.search(r"\[(\w+)\]", _read(path))
    except FileNotFoundError:
        return None
    return match[1] if match else None


def _init_on_alloc() -> bool | None:
    match = re.search(r"\binit_on_alloc=(\S+)", _read("/proc/cmdline"))
    if match:
        return match[1] in {"1", "on", "y", "yes"}
    # Without the parameter it is what the kernel was built with, which it says once while booting.
    log = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    try:
        return said_of_init_on_alloc(lambda: os.read(log, 8192).decode(errors="replace"))
    finally:
        os.close(log)


def said_of_init_on_alloc(read: Callable[[], str]) -> bool | None:
    """Return what the kernel's log says of it, or None where that is no longer there.

    :param read: as os.read(2) reads /dev/kmsg: a record at a time, BlockingIOError behind the last one.
    """
    while True:
        try:
            text = read()
        except BlockingIOError:
            return None
        except BrokenPipeError:
            continue  # overwritten while it was read; the next one follows
        if "mem auto-init" in text:
            return "heap alloc:on" in text
