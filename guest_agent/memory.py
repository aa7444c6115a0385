"""Work on the guest's memory."""

import mmap
import os
import time
from collections.abc import Callable
from pathlib import Path

from guest_agent import worker
from guest_agent.facts import meminfo

_Progress = Callable[[int], None]

#: Areas are filled and compared in steps of so many bytes.
CHUNK = 1 << 20
# Not a multiple of the page size, and coprime enough that no page of one chunk stands in another one.
_STRIDE = 4096 + 8
#: Left alone by default: the kernel needs some free memory to hand any out.
_RESERVE = 96 << 20


def touch(progress: _Progress, *, size: int | None = None, verify: bool = False) -> dict[str, int]:
    """Fill free memory with data that is not zero, then free it again.

    :param size: bytes; by default all that is available but a reserve.
    :param verify: read everything back before it is freed. No two pages are alike, so that a page which is lost,
        zeroed or mapped twice is seen.
    :returns: ``bytes`` filled, chunks that did not read back (``mismatches``), and how long the filling took
        (``fill_ns``).
    :raise ValueError: ``size`` is more than is available.
    :raise MemoryError: the memory could not be had.
    """
    if size is None:
        size = usable()
    elif not 0 < size <= (there := available()):
        raise ValueError(f"{size} bytes asked for, {there} available")
    size -= size % CHUNK

    def work(say: worker.Say) -> None:
        area = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        noise = fill(area, size, say)
        say("mismatches", _mismatches(area, size, noise) if verify else 0)

    return {"bytes": size, **worker.run(work, progress)}


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


def usable() -> int:
    """Return how many bytes a process may take without getting the guest into trouble; a multiple of a chunk."""
    return (available() - _RESERVE) // CHUNK * CHUNK


def fill(area: mmap.mmap, size: int, say: worker.Say) -> memoryview:
    """Fill an area with data of which no two pages are alike, and return what it was cut from."""
    begun = time.monotonic_ns()
    chunks = size // CHUNK
    # Each chunk is the same noise, shifted: cheap to make, and still no page like another.
    noise = memoryview(os.urandom(CHUNK + chunks * _STRIDE))  # a slice of it is no copy
    for chunk in range(chunks):
        area[chunk * CHUNK : (chunk + 1) * CHUNK] = noise[chunk * _STRIDE : chunk * _STRIDE + CHUNK]
        if chunk % 64 == 63:
            say("done", (chunk + 1) * CHUNK)
    say("fill_ns", time.monotonic_ns() - begun)
    return noise


def _mismatches(area: mmap.mmap, size: int, noise: memoryview) -> int:
    # Two bytes objects are compared at memcmp's speed; a memoryview is compared byte by byte.
    return sum(
        area[chunk * CHUNK : (chunk + 1) * CHUNK] != bytes(noise[chunk * _STRIDE : chunk * _STRIDE + CHUNK])
        for chunk in range(size // CHUNK)
    )
