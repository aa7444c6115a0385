"""A workload that goes on while the guest is migrated, and checks every page it works on.

Processes that allocate, stamp, check and free; one that writes to files through the page cache; one that writes
to a mapped file. Each page is checked before it is freed or written anew, and all that are left at the end.
"""

import mmap
import os
import random
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from guest_agent import churn, jobs, memory, stamps

_Progress = Callable[[int], None]

#: In the guest's memory, as the root file system's upper layer is.
_FOLDER = Path("/run/fastballoon")
_ALLOCATORS = 2
#: So many areas are held at a time, so that each is there for a while.
_AREAS = 4
_READY_SECONDS = 20.0
_ROUND_SECONDS = 30.0
_SMALLEST = 16 << 20


class Tally:
    """What one process has checked."""

    # No dataclass: importing that costs a guest without KVM a quarter of a second.
    def __init__(self) -> None:
        self.pages = self.mismatches = 0

    def check(self, area: memoryview, **which: int) -> None:
        """Check an area and count what was found."""
        self.pages += len(area) // mmap.PAGESIZE
        self.mismatches += stamps.check(area, **which)


class Allocator:
    """Takes anonymous memory in pieces of random sizes, and frees the oldest piece for each new one."""

    def __init__(self, owner: int, size: int, tally: Tally, *, rate: float) -> None:
        self._owner, self._tally = owner, tally
        # What it takes at once it has to wait for afterwards: no longer than a second.
        self._most = max(1, min(size // _AREAS, int(rate)) // stamps.CHUNK)
        self._areas: deque[tuple[mmap.mmap, int]] = deque()
        self._generation = 0
        self._chance = random.Random(owner)

    def step(self) -> int:
        """Free one piece if there are enough, take one, and return how many bytes were written."""
        if len(self._areas) == _AREAS:
            self._free()
        size = self._chance.randint(1, self._most) * stamps.CHUNK
        area = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._generation += 1
        with memoryview(area) as view:
            stamps.write(view, owner=self._owner, generation=self._generation)
        self._areas.append((area, self._generation))
        return size

    def finish(self) -> None:
        """Check and free all that is held."""
        while self._areas:
            self._free()

    def _free(self) -> None:
        area, generation = self._areas.popleft()
        with memoryview(area) as view:
            self._tally.check(view, owner=self._owner, generation=generation)
        area.close()


class Writer:
    """Writes a file or a disk anew, chunk by chunk, after reading back what is there.

    :param mapped: write through a mapping and read through the file, instead of both through the file.
    """

    def __init__(self, owner: int, path: Path, size: int, tally: Tally, *, mapped: bool = False) -> None:
        self._owner, self._tally = owner, tally
        self._file = os.open(path, os.O_RDWR | os.O_CREAT)
        self._chunks = max(1, size // stamps.CHUNK)
        if path.is_file():
            os.truncate(self._file, self._chunks * stamps.CHUNK)
        self._map = mmap.mmap(self._file, self._chunks * stamps.CHUNK) if mapped else None
        self._buffer = bytearray(stamps.CHUNK)
        self._steps = 0

    def step(self) -> int:
        """Check the chunk that was written longest ago, write it anew, and return how many bytes that was."""
        round_, chunk = divmod(self._steps, self._chunks)
        if round_:
            self._check(chunk, round_)
        self._write(chunk, round_ + 1)
        self._steps += 1
        return stamps.CHUNK

    def finish(self) -> None:
        """Check all chunks."""
        round_, chunk = divmod(self._steps, self._chunks)
        for number in range(min(self._steps, self._chunks)):
            self._check(number, round_ + 1 if number < chunk else round_)

    def _write(self, chunk: int, generation: int) -> None:
        first = chunk * stamps.CHUNK // mmap.PAGESIZE
        if self._map:
            with memoryview(self._map)[chunk * stamps.CHUNK : (chunk + 1) * stamps.CHUNK] as view:
                stamps.write(view, owner=self._owner, generation=generation, first=first)
            return
        with memoryview(self._buffer) as view:
            stamps.write(view, owner=self._owner, generation=generation, first=first)
        os.pwrite(self._file, self._buffer, chunk * stamps.CHUNK)

    def _check(self, chunk: int, generation: int) -> None:
        data = os.pread(self._file, stamps.CHUNK, chunk * stamps.CHUNK)
        first = chunk * stamps.CHUNK // mmap.PAGESIZE
        self._tally.check(memoryview(data), owner=self._owner, generation=generation, first=first)


def churn_start(_: _Progress, *, rate: int, seconds: float, size: int | None = None) -> dict[str, int]:
    """Start the workload; it goes on until :func:`churn_finish`, whatever becomes of this connection.

    :param rate: bytes per second that all of it writes, at most; a migration has to be faster.
    :param seconds: after so long it ends by itself, which counts as a failure of the check.
    :param size: bytes that it works on; by default a quarter of what is available.
    :returns: ``bytes`` that it works on.
    :raise MemoryError: it did not start.
    """
    churn_kill(_)
    whole = max(_SMALLEST, size or memory.available() // 4)
    workers = _workers(whole, rate / (_ALLOCATORS + 3))
    for name, make in workers.items():
        jobs.start(name, _worker(make, rate / len(workers)), seconds=seconds)
    failed = jobs.await_all(list(workers), lambda name: jobs.told(name).get("steps", 0) > 0, seconds=_READY_SECONDS)
    if failed:
        churn_kill(_)
        raise MemoryError(f"did not start: {', '.join(failed)}")
    return {"bytes": whole}


def churn_finish(_: _Progress, *, seconds: float = _ROUND_SECONDS) -> dict[str, Any]:
    """Let the workload go on for a moment, end it, and have all of its pages checked.

    :param seconds: for its processes to check all they have.
    :returns: ``pages`` that were checked since the start, ``mismatches``, and the processes that ended or hung
        before they had checked everything (``failed``).
    """
    names = _names()
    before = {name: jobs.told(name).get("steps", 0) for name in names}
    # Each of them has to show that it still works.
    dead = jobs.await_all(names, lambda name: jobs.told(name).get("steps", 0) > before[name], seconds=seconds)
    last, failed = jobs.finish(names, seconds=seconds)
    for leftover in _FOLDER.glob("churn-*.data"):
        leftover.unlink()
    return {
        "pages": sum(said.get("pages", 0) for said in last.values()),
        "mismatches": sum(said.get("mismatches", 0) for said in last.values()),
        "failed": sorted({*dead, *failed} if names else {"all of it"}),
    }


def churn_kill(_: _Progress) -> None:
    """End the workload at once and check nothing."""
    jobs.kill(_names())
    for leftover in _FOLDER.glob("churn-*.data"):
        leftover.unlink()


def _names() -> list[str]:
    return sorted(path.stem for path in jobs.FOLDER.glob("churn-*.lock"))


def _workers(size: int, rate: float) -> dict[str, Callable[[Tally], Allocator | Writer]]:
    """Return what makes each process's work: three quarters of the size are anonymous memory."""
    each = size * 3 // 4 // _ALLOCATORS
    workers: dict[str, Callable[[Tally], Allocator | Writer]] = {
        f"churn-allocate-{owner}": lambda tally, owner=owner: Allocator(owner, each, tally, rate=rate)  # type: ignore[misc]
        for owner in range(1, _ALLOCATORS + 1)
    }
    cached, mapped = _FOLDER / "churn-cached.data", _FOLDER / "churn-mapped.data"
    workers["churn-cached"] = lambda tally: Writer(101, cached, size // 8, tally)
    workers["churn-mapped"] = lambda tally: Writer(102, mapped, size // 8, tally, mapped=True)
    try:
        disk = churn.scratch_disk()
    except FileNotFoundError:
        return workers
    workers["churn-disk"] = lambda tally: Writer(103, disk, min(size // 8, _disk_bytes(disk)), tally)
    return workers


def _disk_bytes(disk: Path) -> int:
    with disk.open("rb") as file:
        return file.seek(0, os.SEEK_END)


def _worker(make: Callable[[Tally], Allocator | Writer], rate: float) -> Callable[[jobs.Job], None]:
    def work(job: jobs.Job) -> None:
        tally, steps = Tally(), 0
        it = make(tally)
        while job.goes_on():
            written = it.step()
            steps += 1
            job.tell(steps=steps, pages=tally.pages, mismatches=tally.mismatches)
            job.sleep(written / rate)
        it.finish()
        job.tell(done=True, steps=steps, pages=tally.pages, mismatches=tally.mismatches)

    return work
