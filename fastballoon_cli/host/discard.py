"""How fast this host can take memory back at all."""

import contextlib
import mmap
import time

__all__ = ["discard_seconds"]

#: From <linux/mman.h>.
_MADV_DONTNEED, _MADV_HUGEPAGE, _MADV_POPULATE_WRITE = 4, 14, 23


def discard_seconds(size: int, *, touched: bool = True, keep_every: int | None = None) -> float:
    """Return the seconds that the bare ``madvise(MADV_DONTNEED)`` of ``size`` bytes takes.

    The memory is made as QEMU makes a guest's: private, anonymous, with huge pages where the host gives them.

    :param touched: the memory is there; otherwise it was only mapped.
    :param keep_every: spare one page in so many, as in a fragmented guest: one call for each run in between.
    :raise OSError: the host's kernel (before 5.14) cannot populate memory, or has none left.
    """
    page = mmap.PAGESIZE
    area_size = size // (keep_every - 1) * keep_every if keep_every else size
    with mmap.mmap(-1, area_size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as area:
        with contextlib.suppress(OSError):  # a kernel without huge pages
            area.madvise(_MADV_HUGEPAGE)
        if touched:
            area.madvise(_MADV_POPULATE_WRITE)
        if keep_every is None:
            begun = time.perf_counter()
            area.madvise(_MADV_DONTNEED)
            return time.perf_counter() - begun
        stride, length = keep_every * page, (keep_every - 1) * page
        starts = range(page, area_size - length + 1, stride)
        begun = time.perf_counter()
        for start in starts:
            area.madvise(_MADV_DONTNEED, start, length)
        return time.perf_counter() - begun
