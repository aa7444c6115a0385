"""Work on the guest's memory."""

from collections.abc import Callable
from pathlib import Path

from guest_agent.facts import meminfo

_Progress = Callable[[int], None]


def compact(_: _Progress) -> None:
    """Have the kernel compact all of its memory; returns when it has."""
    Path("/proc/sys/vm/compact_memory").write_text("1")


def drop_caches(_: _Progress, *, value: int) -> None:
    """Have the kernel drop clean pages of its page cache (1), slab that can be reclaimed (2), or both (3).

    :raise ValueError: another value.
    """
    if value not in {1, 2, 3}:
        raise ValueError(f"{value} is none of 1, 2 and 3")
    Path("/proc/sys/vm/drop_caches").write_text(str(value))


def available() -> int:
    """Return MemAvailable in bytes."""
    return meminfo()["MemAvailable"]


def cached() -> int:
    """Return in bytes what the page cache holds of files and of block devices."""
    now = meminfo()
    return now["Cached"] + now["Buffers"]
