"""What /proc tells of a process."""

import os

import pytest

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
    with pytest.raises(ValueError, match="has no mapping of 1152921504606846976 bytes"):
        procfs.mapping_rss_bytes(os.getpid(), 1 << 60)
