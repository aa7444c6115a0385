"""What the guest's agent asks of the guest's memory, without a guest."""

import struct

import pytest

from guest_agent import jobs, strain
from tests.conftest import await_true


def _nothing(_):
    pass


def _core(segments):
    """Return a core file of 64 bits: program headers behind the ELF header, then 0x2000 bytes from 0x1000 on."""
    head = b"\x7fELF".ljust(32, b"\0") + struct.pack("<QQIHHH", 64, 0, 0, 64, 56, len(segments))
    head += bytes(64 - len(head))
    for kind, address, offset, size in segments:
        head += struct.pack("<IIQQQQQQ", kind, 0, offset, address, 0, size, size, 0)
    return head.ljust(0x1000, b"\0") + bytes(0x2000)


def test_of_kcore_only_ram_is_read(tmp_path, monkeypatch):
    core = tmp_path / "kcore"
    core.write_bytes(
        _core(
            [
                (4, 0, 0x200, 0x100),  # a note
                (1, 0xFFFFFFFF81000000, 0x1000, 0x2000),  # the kernel's text
                (1, 0xFFFF888000001000, 0x1000, 0x1800),
                (1, 0xFFFFC90000000000, 0x1000, 0x2000),  # vmalloc
                (1, 0xFFFF888100000000, 0x2800, 0x800),
            ]
        )
    )
    monkeypatch.setattr(strain, "_KCORE", core)
    assert strain.read_kcore(_nothing) == {"bytes": 0x2000}


def test_a_kcore_that_ends_early_is_no_endless_loop(tmp_path, monkeypatch):
    core = tmp_path / "kcore"
    core.write_bytes(_core([(1, 0xFFFF888000000000, 0x2000, 1 << 30)]))
    monkeypatch.setattr(strain, "_KCORE", core)
    with pytest.raises(ValueError, match="ends after 4096"):
        strain.read_kcore(_nothing)


def test_a_block_that_stays_online_is_counted_and_no_error(tmp_path, monkeypatch):
    monkeypatch.setattr(strain, "_BLOCKS", tmp_path)
    for number in range(3):
        (tmp_path / f"memory{number}").mkdir()
        (tmp_path / f"memory{number}" / "state").write_text("online")
    # Writing to a folder fails, as writing to the state of a block that is in use does.
    (tmp_path / "memory1" / "state").unlink()
    (tmp_path / "memory1" / "state").mkdir()
    assert strain.offline_blocks(_nothing) == {"blocks": 3, "offline": 2}
    assert (tmp_path / "memory0" / "state").read_text() == "online"


def test_free_blocks_of_all_zones_are_added_up(tmp_path, monkeypatch):
    table = tmp_path / "buddyinfo"
    table.write_text("Node 0, zone      DMA      1      0      2\nNode 0, zone    DMA32     10     20     30\n")
    monkeypatch.setattr(strain, "_BUDDYINFO", table)
    assert strain.free_by_order(_nothing) == [11, 20, 32]


def test_what_is_made_swap_has_its_header(tmp_path, monkeypatch):
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(64 << 12))
    monkeypatch.setattr(strain.churn, "scratch_disk", lambda: disk)
    # A file here is no swap, and nobody wants it to be.
    monkeypatch.setattr(strain, "_swapon", lambda path: None)
    assert strain.swap_on(_nothing) == {"bytes": 63 << 12}
    first = disk.read_bytes()[:4096]
    assert struct.unpack_from("<III", first, 1024) == (1, 63, 0)
    assert first.endswith(b"SWAPSPACE2")


def test_a_process_takes_memory_and_tells(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "FOLDER", tmp_path)
    strain.take_start(_nothing, size=8 << 20, seconds=60.0)
    await_true(lambda: strain.take_told(_nothing)["taken"] == 8 << 20)
    told = strain.take_told(_nothing)
    assert told["alive"]
    assert told["ns"] > 0
    strain.take_end(_nothing)
    assert not strain.take_told(_nothing)["alive"]
    assert not list(tmp_path.iterdir())


def test_touching_is_counted():
    grown = strain.fault_huge(_nothing, size=4 << 20, advise=True)
    assert all(name.startswith(("thp_fault", "compact_", "allocstall", "pgmigrate")) for name in grown)
    assert min(grown.values()) >= 0
