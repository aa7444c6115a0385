"""Bring the guest's memory into a state that a measurement starts from."""

import ctypes
import itertools
import mmap
import subprocess
import time
from array import array
from collections.abc import Callable
from pathlib import Path

from guest_agent import facts, fill, memory, worker

_Progress = Callable[[int], None]

#: The frame number in an entry of /proc/PID/pagemap (Documentation/admin-guide/mm/pagemap.rst).
_FRAME_BITS = (1 << 55) - 1
_ENTRY_BYTES = 8
#: From <linux/mman.h>; the second since Linux 5.18.
_MADV_NOHUGEPAGE, _MADV_DONTNEED_LOCKED = 15, 24
_MLOCK_ONFAULT = 1
#: What filling a large area needs beside it per byte: page tables, and the data it is filled with.
_OVERHEAD = 1 / 512 + 1 / 255
#: So little memory stays untouched that it matters to nobody.
_FRAGMENT_RESERVE = 24 << 20
_COMPACT_LOCKED = Path("/proc/sys/vm/compact_unevictable_allowed")
#: A disk that the host attaches for this; reading it costs neither memory nor I/O on the host.
_DISK = Path("/dev/vdb")
#: Where a file system on that disk is mounted, and the file of zeros in it (fastballoon_cli/build/zeros.py).
_MOUNTED = Path("/run/fastballoon/disk")
_FILE = _MOUNTED / "zeros"
_READ_BYTES = 1 << 20


def fragment(progress: _Progress, *, every: int = 64, size: int | None = None) -> dict[str, int]:
    """Fill memory and free it again but for one page in ``every``.

    The pages that stay are chosen by frame number: it is the guest's *physical* memory that ends up in pieces of less
    than ``every`` pages. A process that lives as long as the guest holds them, locked, as pages that the kernel may
    move are moved together by and by (proactive compaction) and the guest would be in one piece again.

    :param every: a power of two.
    :param size: bytes to fill; by default all that are available.
    :returns: ``bytes`` that were filled, and ``kept`` pages.
    :raise MemoryError: the memory could not be had.
    :raise OSError: the pages could not be locked.
    """
    most = int((memory.available() - _FRAGMENT_RESERVE) / (1 + _OVERHEAD))
    size = min(size or most, most) // fill.CHUNK * fill.CHUNK
    _COMPACT_LOCKED.write_text("0")

    def work(say: worker.Say) -> mmap.mmap:
        area = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        area.madvise(_MADV_NOHUGEPAGE)
        fill.fill(area, size, say)
        # Before the first page is freed, as the kernel sets to work on the holes at once; they stay holes.
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mlock2(ctypes.c_void_p(fill.address(area)), ctypes.c_size_t(size), _MLOCK_ONFAULT):
            raise OSError(ctypes.get_errno(), "mlock2")
        kept = _kept_pages(area, size, every)
        # From one that stays to the next, so that nothing is freed page by page.
        edges = [-1, *kept, size // mmap.PAGESIZE]
        for before, after in itertools.pairwise(edges):
            if length := after - before - 1:
                area.madvise(_MADV_DONTNEED_LOCKED, (before + 1) * mmap.PAGESIZE, length * mmap.PAGESIZE)
        say("kept", len(kept))
        return area

    return {"bytes": size, **worker.run(work, progress, lasting=True)}


def cache(progress: _Progress, *, size: int, large: bool = False) -> dict[str, int]:
    """Fill the page cache with ``size`` bytes that are clean.

    :param large: read a file of a file system that caches in large folios, rather than a disk, whose cache is made of
        single pages.
    :returns: by how many bytes the cache has grown (``bytes``).
    :raise FileNotFoundError: the host has attached no disk to read from.
    """
    before = memory.cached()
    buffer = bytearray(_READ_BYTES)
    if large and not _FILE.exists():
        _MOUNTED.mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", "erofs", "-o", "ro", _DISK, _MOUNTED], check=True)
    with _source().open("rb", buffering=0) as disk:
        for done in range(0, size, _READ_BYTES):
            if disk.readinto(buffer) != _READ_BYTES:
                raise ValueError(f"{_DISK} ends after {done} bytes")
            progress(done)
        # The kernel drops what it has cached of a block device when its last user closes it: leave one that doesn't.
        worker.run(lambda _say: None, progress, lasting=True)
    return {"bytes": memory.cached() - before}


def read_disk(_: _Progress, *, offset: int, size: int) -> dict[str, int]:
    """Read a part of the disk that ``cache`` reads, through the page cache.

    :returns: how long it took (``ns``), and what came from the disk because it was not cached (``disk_bytes``),
        what was read ahead included.
    :raise FileNotFoundError: the host has attached no disk to read from.
    """
    buffer = bytearray(_READ_BYTES)
    read_before, begun = _paged_in(), time.monotonic_ns()
    with _source().open("rb", buffering=0) as disk:
        disk.seek(offset)
        for _step in range(0, size, _READ_BYTES):
            disk.readinto(buffer)
    return {"ns": time.monotonic_ns() - begun, "disk_bytes": _paged_in() - read_before}


def _source() -> Path:
    return _FILE if _FILE.exists() else _DISK


def _paged_in() -> int:
    """Return what was read from disks since the boot, in bytes; the kernel counts in KiB."""
    return facts.vmstat_now()["pgpgin"] << 10


def _kept_pages(area: mmap.mmap, size: int, every: int) -> list[int]:
    """Return which pages of the area lie on frames whose number is a multiple of ``every``."""
    entries = array("Q")
    with Path("/proc/self/pagemap").open("rb", buffering=0) as pagemap:
        pagemap.seek(fill.address(area) // mmap.PAGESIZE * _ENTRY_BYTES)
        left = size // mmap.PAGESIZE * _ENTRY_BYTES
        while left:
            part = pagemap.read(left)
            entries.frombytes(part)
            left -= len(part)
    mask = _FRAME_BITS & (every - 1)
    return [page for page, entry in enumerate(entries) if not entry & mask]
