"""What /proc tells of a process."""

import mmap
import os
import subprocess

import pytest

from fastballoon_cli.errors import PreconditionError, VmLostError
from fastballoon_cli.host import procfs
from fastballoon_cli.units import GIB, MIB


def _smaps(*mappings: tuple[int, int, int]) -> str:
    return "".join(
        f"{start:x}-{start + size:x} rw-p 00000000 00:00 0 \n"
        f"Size:           {size // 1024} kB\nKernelPageSize:        4 kB\nMMUPageSize:           4 kB\n"
        f"Rss:            {rss // 1024} kB\nPss:            {rss // 1024} kB\nVmFlags: rd wr mr mw me ac sd \n"
        for start, size, rss in mappings
    )


@pytest.mark.parametrize(
    ("mappings", "resident"),
    [
        ([(GIB, GIB, 3 * MIB)], [3 * MIB]),
        # In pieces, with a neighbour on either side.
        (
            [
                (GIB - MIB, MIB, MIB),
                (GIB, 2 * MIB, MIB),
                (GIB + 2 * MIB, GIB - 2 * MIB, 5 * MIB),
                (2 * GIB, 4 * MIB, MIB),
            ],
            [6 * MIB],
        ),
        # A gap in between.
        ([(GIB, GIB // 2, MIB), (2 * GIB, GIB // 2, MIB)], []),
        ([(GIB, GIB, MIB), (4 * GIB, GIB, 2 * MIB)], [MIB, 2 * MIB]),
    ],
)
def test_a_mapping_is_found_whole_and_in_pieces(mappings, resident):
    assert procfs._whole_mappings(_smaps(*mappings), GIB) == resident


def test_a_process_without_such_a_mapping_is_an_error():
    with pytest.raises(PreconditionError, match="has no mapping of 1152921504606846976 bytes"):
        procfs.mapping_rss_bytes(os.getpid(), 1 << 60)


def test_huge_pages_are_resident_memory_too():
    rolled = (
        "55d0-7ffc ---p 00000000 00:00 0 [rollup]\nRss:   1024 kB\nPss:  900 kB\nShared_Hugetlb:  2048 kB\n"
        "Private_Hugetlb:  4096 kB\n"
    )
    assert procfs._rolled_up(rolled) == 7 * MIB


@pytest.mark.parametrize("shared", [False, True])
def test_resident_memory_of_either_kind_comes_and_goes(shared):
    size = 64 * MIB
    kind = mmap.MAP_SHARED if shared else mmap.MAP_PRIVATE
    before = procfs.rss_bytes(os.getpid())
    with mmap.mmap(-1, size, kind | mmap.MAP_ANONYMOUS) as area:
        area.write(bytes(size))
        assert procfs.rss_bytes(os.getpid()) - before > 0.9 * size
    assert procfs.rss_bytes(os.getpid()) - before < 0.1 * size


@pytest.mark.parametrize("reaped", [True, False])
def test_a_process_that_has_ended_is_a_lost_vm(reaped):
    child = subprocess.Popen(["true"])
    pid = child.pid
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    if reaped:
        child.wait()
    for read in (procfs.rss_bytes, lambda pid: procfs.mapping_rss_bytes(pid, 4096)):
        with pytest.raises(VmLostError, match=f"pid {pid}"):
            read(pid)
    child.wait()
    with pytest.raises(VmLostError):
        procfs.thread_cpu_s(pid, pid)
