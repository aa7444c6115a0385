"""Fill the guest's memory with data that can be told from any other, and look whether it is still there."""

import ctypes
import mmap
import os
import time
from collections.abc import Callable

from guest_agent import memory, worker

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
        size = _usable()
    elif not 0 < size <= (there := memory.available()):
        raise ValueError(f"{size} bytes asked for, {there} available")
    size -= size % CHUNK

    def work(say: worker.Say) -> None:
        area = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        noise = fill(area, size, say)
        say("mismatches", mismatches(area, size, noise) if verify else 0)

    return {"bytes": size, **worker.run(work, progress)}


def _usable() -> int:
    """Return how many bytes a process may take without getting the guest into trouble; a multiple of a chunk."""
    return (memory.available() - _RESERVE) // CHUNK * CHUNK


def fill(area: mmap.mmap, size: int, say: worker.Say) -> bytes:
    """Fill an area with data of which no two pages are alike, and return what it was cut from."""
    begun = time.monotonic_ns()
    chunks = size // CHUNK
    # Each chunk is the same noise, shifted: cheap to make, and still no page like another.
    noise = os.urandom(CHUNK + chunks * _STRIDE)
    source = memoryview(noise)  # a slice of it is no copy
    for chunk in range(chunks):
        area[chunk * CHUNK : (chunk + 1) * CHUNK] = source[chunk * _STRIDE : chunk * _STRIDE + CHUNK]
        if chunk % 64 == 63:
            say("done", (chunk + 1) * CHUNK)
    say("fill_ns", time.monotonic_ns() - begun)
    return noise


def address(area: mmap.mmap) -> int:
    """Return where in this process's memory an area lies."""
    return ctypes.addressof(ctypes.c_char.from_buffer(area))


def mismatches(area: mmap.mmap, size: int, noise: bytes) -> int:
    """Return how many chunks of an area are not what :func:`fill` has put there from ``noise``."""
    # In place: slices of both would be copied first, which takes a guest without KVM several times as long.
    compare = ctypes.CDLL(None).memcmp
    compare.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
    there, right = address(area), ctypes.cast(ctypes.c_char_p(noise), ctypes.c_void_p).value or 0
    return sum(compare(there + n * CHUNK, right + n * _STRIDE, CHUNK) != 0 for n in range(size // CHUNK))
