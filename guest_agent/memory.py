"""Work on the guest's memory."""

import mmap
import os
import re
from collections.abc import Callable
from pathlib import Path

_Progress = Callable[[int], None]

_CHUNK = 1 << 20
# Not a multiple of the page size, and coprime enough that no page of one chunk stands in another one.
_STRIDE = 4096 + 8
#: Left alone by default: the kernel needs some free memory to hand any out.
_RESERVE = 96 << 20
_OOM_SCORE_ADJ_MAX = "1000"


def touch(progress: _Progress, *, size: int | None = None, verify: bool = False) -> dict[str, int]:
    """Fill free memory with data that is not zero, then free it again.

    A process of its own does it, so that its end gives every page back to the kernel.

    :param size: bytes; by default all that is available but a reserve.
    :param verify: read everything back before it is freed. No two pages are alike, so that a page which is lost,
        zeroed or mapped twice is seen.
    :returns: ``bytes`` filled and chunks that did not read back (``mismatches``).
    :raise ValueError: ``size`` is more than is available.
    """
    available = _available()
    if size is None:
        size = available - _RESERVE
    if not 0 < size <= available:
        raise ValueError(f"{size} bytes asked for, {available} available")
    size -= size % _CHUNK
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(read_end)
            # Should the guest run out of memory after all, this process is the one to go.
            Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE_ADJ_MAX)
            with open(write_end, "w") as out:
                _fill(size, verify, lambda word: print(word, file=out, flush=True))
            status = 0
        finally:
            os._exit(status)
    os.close(write_end)
    mismatches = 0
    with open(read_end) as words:
        for line in words:
            kind, number = line.split()
            if kind == "filled":
                progress(int(number))
            else:
                mismatches = int(number)
    _, status = os.waitpid(child, 0)
    if status:
        raise MemoryError(f"filling {size} bytes ended with {os.waitstatus_to_exitcode(status)}")
    return {"bytes": size, "mismatches": mismatches}


def compact(_: _Progress) -> None:
    """Have the kernel compact all of its memory; returns when it has."""
    Path("/proc/sys/vm/compact_memory").write_text("1")


def _fill(size: int, verify: bool, say: Callable[[str], None]) -> None:
    chunks = size // _CHUNK
    # Each chunk is the same noise, shifted: cheap to make, and still no page like another.
    noise = os.urandom(_CHUNK + chunks * _STRIDE)
    view = memoryview(noise)  # a slice of it is no copy
    memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for chunk in range(chunks):
        start = chunk * _STRIDE
        memory[chunk * _CHUNK : (chunk + 1) * _CHUNK] = view[start : start + _CHUNK]
        if chunk % 64 == 63:
            say(f"filled {(chunk + 1) * _CHUNK}")
    mismatches = 0
    if verify:
        for chunk in range(chunks):
            start = chunk * _STRIDE
            mismatches += memory[chunk * _CHUNK : (chunk + 1) * _CHUNK] != noise[start : start + _CHUNK]
    say(f"mismatches {mismatches}")


def _available() -> int:
    match = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    assert match
    return int(match[1]) * 1024
