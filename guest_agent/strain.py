"""Ask much of the guest's memory: what a guest must bear with an inflated balloon as well as with an empty one."""

import ctypes
import mmap
import os
import signal
import struct
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from guest_agent import churn, facts, fill, jobs, worker

_Progress = Callable[[int], None]

_BLOCKS = Path("/sys/devices/system/memory")
#: A block that can't be emptied is tried again and again by the kernel until a signal comes.
_BLOCK_SECONDS = 60.0
_TAKE = "take"
_KCORE, _BUDDYINFO = Path("/proc/kcore"), Path("/proc/buddyinfo")
#: An ELF header's number of program headers and where they begin; a program header (elf(5), 64 bits).
_ELF, _PROGRAM = struct.Struct("<32xQ16xH"), struct.Struct("<IIQQQQQQ")
_PT_LOAD = 1
#: Where the kernel maps all RAM on x86-64 without KASLR, and what lies behind that.
_DIRECT_MAP, _VMALLOC = 0xFFFF888000000000, 0xFFFFC88000000000
_READ_BYTES = 1 << 20
#: What mkswap(8) writes: version 1, the last page's number, no bad pages; the signature ends the first page.
_SWAP_HEADER, _SWAP_SIGNATURE = struct.Struct("<III"), b"SWAPSPACE2"
_SWAP_HEADER_AT = 1024


def offline_blocks(progress: _Progress) -> dict[str, int]:
    """Take each block of memory offline, one at a time, and put it back online.

    :returns: how many ``blocks`` there are, and how many of them went ``offline``.
    """
    signal.signal(signal.SIGALRM, _give_up)
    states = sorted(_BLOCKS.glob("memory*/state"))
    offline = 0
    for number, state in enumerate(states):
        progress(number)
        signal.setitimer(signal.ITIMER_REAL, _BLOCK_SECONDS)
        try:
            state.write_text("offline")
        except OSError:
            continue
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        offline += 1
        state.write_text("online")
    return {"blocks": len(states), "offline": offline}


def _give_up(_number: int, _frame: FrameType | None) -> None:
    raise TimeoutError


def fault_huge(progress: _Progress, *, size: int, advise: bool = False) -> dict[str, int]:
    """Touch each page of so much fresh memory, which the kernel fills with huge pages where it can.

    :param advise: ask for them by madvise(2): then the kernel by default compacts memory for want of one.
    :returns: by how much the events of huge pages, compaction and reclaim in /proc/vmstat have grown.
    """

    def work(_say: worker.Say) -> None:
        area = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if advise:
            area.madvise(mmap.MADV_HUGEPAGE)
        for at in range(0, size, mmap.PAGESIZE):
            area[at] = 1

    before = facts.vmstat_now()
    worker.run(work, progress)
    after = facts.vmstat_now()
    kinds = ("thp_fault", "compact_", "allocstall", "pgmigrate")
    return {name: after[name] - before[name] for name in after if name.startswith(kinds)}


def free_by_order(_: _Progress) -> list[int]:
    """Return how many free blocks of 1, 2, 4, ... pages the kernel has, in all of its zones."""
    rows = [line.partition("zone")[2].split()[1:] for line in _BUDDYINFO.read_text().splitlines()]
    return [sum(map(int, column)) for column in zip(*rows, strict=True)]


def take_start(_: _Progress, *, size: int, seconds: float, idle: bool = False) -> None:
    """Start a process that takes so much memory and keeps it, the first that the kernel ends when it has none left.

    :param seconds: after so long it ends by itself.
    :param idle: return when it has all of it. It does not look at it again.
    :raise MemoryError: it did not get it.
    """
    jobs.start(_TAKE, lambda job: _take(job, size), seconds=seconds)
    if idle and jobs.await_all([_TAKE], lambda name: jobs.told(name).get("taken", 0) == size, seconds=seconds):
        raise MemoryError(f"no {size} bytes to be had")


def take_told(_: _Progress) -> dict[str, Any]:
    """Return whether that process is ``alive``, how many bytes it has (``taken``) and since when (``ns``, from its
    start), and how many processes the kernel has ended for want of memory (``oom_kill``).
    """  # fmt: skip
    told = jobs.told(_TAKE)
    return {
        "alive": jobs.alive(_TAKE),
        "taken": told.get("taken", 0),
        "ns": told.get("ns", 0),
        "oom_kill": facts.vmstat_now()["oom_kill"],
    }


def take_end(_: _Progress) -> None:
    """End that process."""
    jobs.kill([_TAKE])


def _take(job: jobs.Job, size: int) -> None:
    begun = time.monotonic_ns()
    area = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    noise = os.urandom(fill.CHUNK)
    for at in range(0, size, fill.CHUNK):
        area[at : at + fill.CHUNK] = noise
        job.tell(taken=at + fill.CHUNK, ns=time.monotonic_ns() - begun)
    job.tell(done=True, taken=size, ns=time.monotonic_ns() - begun)
    while job.goes_on():
        job.sleep(1.0)


def read_kcore(progress: _Progress) -> dict[str, int]:
    """Read all of the guest's RAM through /proc/kcore, as a debugger or a dump of the live kernel does.

    :returns: ``bytes`` that were read.
    :raise FileNotFoundError: the kernel has no /proc/kcore.
    :raise ValueError: it ends before the RAM does.
    """
    buffer = bytearray(_READ_BYTES)
    done = 0
    with _KCORE.open("rb", buffering=0) as kcore:
        for offset, size in _ram_segments(kcore.read(1 << 16)):
            kcore.seek(offset)
            left = size
            while left:
                count = kcore.readinto(memoryview(buffer)[: min(left, _READ_BYTES)])
                if not count:
                    raise ValueError(f"{_KCORE} ends after {done} bytes")
                left -= count
                done += count
                progress(done)
    return {"bytes": done}


def _ram_segments(head: bytes) -> list[tuple[int, int]]:
    first, count = _ELF.unpack_from(head)
    segments = (_PROGRAM.unpack_from(head, first + number * _PROGRAM.size) for number in range(count))
    return [
        (offset, size)
        for kind, _flags, offset, address, _physical, size, _memory_size, _align in segments
        if kind == _PT_LOAD and _DIRECT_MAP <= address < _VMALLOC
    ]


def swap_on(_: _Progress) -> dict[str, int]:
    """Use the whole scratch disk for swap; return its ``bytes``.

    :raise FileNotFoundError: the host has attached no such disk.
    :raise OSError: the kernel takes no such swap.
    """
    path = churn.scratch_disk()
    with path.open("r+b", buffering=0) as disk:
        pages = disk.seek(0, os.SEEK_END) // mmap.PAGESIZE
        first = bytearray(mmap.PAGESIZE)
        _SWAP_HEADER.pack_into(first, _SWAP_HEADER_AT, 1, pages - 1, 0)
        first[-len(_SWAP_SIGNATURE) :] = _SWAP_SIGNATURE
        disk.seek(0)
        disk.write(first)
    _swapon(path)
    return {"bytes": (pages - 1) * mmap.PAGESIZE}


def _swapon(path: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.swapon(os.fsencode(path), 0):
        raise OSError(ctypes.get_errno(), f"swapon {path}")
