"""Guests of distributions' own kernels, with the driver as a module."""

import pytest

from fastballoon_cli.build import Variant, guest_kernel
from fastballoon_cli.machine.session import connect, running
from fastballoon_cli.progress import Silent
from tests.conftest import await_true, drops_its_cache_by, kernel_warnings

pytestmark = pytest.mark.guest

MIB, GIB = 1 << 20, 1 << 30
TARGET = 640 * MIB
#: The guest has no kmod; these are its system calls, see finit_module(2) and delete_module(2).
LOAD_AND_UNLOAD = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    if libc.syscall(number, *arguments):
        sys.exit(os.strerror(ctypes.get_errno()))
file = os.open("/run/virtio_balloon.ko", os.O_RDONLY)
for _ in range(int(sys.argv[1])):
    call(176, b"virtio_balloon", os.O_NONBLOCK)
    call(313, file, b"", 0)
"""


@pytest.fixture(
    scope="module",
    params=[
        "debian13",
        *(pytest.param(guest, marks=pytest.mark.long) for guest in ("debian12", "debian13-backports")),
    ],
)
def distribution(request):
    return request.param


@pytest.fixture
def guest(keep, distribution):
    """A guest of a distribution's kernel with the module; its balloon is empty, and each test leaves it so."""
    return keep(distribution, "--guest", distribution, "--memory", "1G", "--append", "init_on_alloc=0")


def test_its_balloon_moves_by_page_bitmaps_and_its_memory_is_whole(tool, guest):
    tool.ok("--vm", guest, "vm", "touch")
    total = tool.in_guest(guest, "grep MemTotal /proc/meminfo")

    inflated = tool.ok("--vm", guest, "inflate", "--target", str(TARGET))
    assert inflated["method"] == "page-bitmap"
    assert inflated["balloon_bytes"] == {"before": 0, "after": TARGET}
    rss = inflated["host_rss_bytes"]
    assert rss["before"] - rss["after"] >= 0.95 * TARGET
    assert inflated["counts"]["messages"] <= 8
    assert inflated["provenance"]["guest"] == guest
    left = tool.in_guest(guest, "grep MemTotal /proc/meminfo")
    assert int(total.split()[1]) - int(left.split()[1]) == TARGET // 1024

    assert tool.ok("--vm", guest, "deflate")["balloon_bytes"] == {"before": TARGET, "after": 0}
    assert tool.in_guest(guest, "grep MemTotal /proc/meminfo") == total
    assert tool.ok("--vm", guest, "vm", "touch", "--verify")["mismatches"] == 0
    assert kernel_warnings(tool, guest) == []


def test_it_drops_its_cache_when_the_host_asks(tool, guest):
    drops_its_cache_by(tool, guest, "balloon")
    assert kernel_warnings(tool, guest) == []


def test_a_migration_leaves_out_what_it_tells_to_be_free_and_each_page_is_right(tool, guest):
    moved = tool.ok("--vm", guest, "migrate", "--skip-free", "--verify")
    assert (moved["method"], moved["verified"]["mismatches"]) == ("free-pages", 0)
    assert moved["ram"]["skipped_free_pages"] > (256 * MIB) // 4096
    assert kernel_warnings(tool, guest) == []


def test_memory_can_be_compacted_around_its_balloon(tool, guest):
    tool.ok("--vm", guest, "inflate", "--target", "512M")
    for _ in range(10):
        tool.in_guest(guest, "echo 1 >/proc/sys/vm/compact_memory")
    tool.ok("--vm", guest, "deflate")
    assert tool.ok("--vm", guest, "vm", "touch", "--verify")["mismatches"] == 0
    assert kernel_warnings(tool, guest) == []


@pytest.mark.parametrize("times", [10, pytest.param(100, marks=pytest.mark.long)])
def test_its_driver_is_unloaded_and_loaded_again_and_again_while_the_balloon_moves(tool, guest, distribution, times):
    module = (guest_kernel(distribution, Variant.FAST, Silent()).dir / "virtio_balloon.ko").read_bytes()
    total = tool.in_guest(guest, "grep MemTotal /proc/meminfo")
    with connect(running(guest), timeout=20) as transport:
        put(transport, "/run/virtio_balloon.ko", module)
        put(transport, "/run/load.py", LOAD_AND_UNLOAD.encode())
        channel = transport.open_session(timeout=20)
        channel.exec_command(f"python3 /run/load.py {times}")
        moves = 0
        while not channel.exit_status_ready():
            # Whether the driver is there for it is up to chance: the host must be right about what it has in any case.
            target = (moves % 8) * 64 * MIB
            tool.run("--timeout", "2", "--vm", guest, "inflate" if target else "deflate", *target_of(target))
            moves += 1
        assert channel.recv_exit_status() == 0, channel.makefile_stderr("r").read()
    assert moves >= 3

    await_true(lambda: tool.ok("--vm", guest, "deflate")["balloon_bytes"]["after"] == 0, what="an empty balloon")
    assert tool.in_guest(guest, "grep MemTotal /proc/meminfo") == total
    assert tool.ok("--vm", guest, "vm", "touch", "--verify")["mismatches"] == 0
    assert kernel_warnings(tool, guest) == []


def test_with_its_own_driver_it_speaks_page_numbers(tool, boot, distribution):
    boot("own", "--guest", distribution, "--kernel", "stock", "--memory", "512M")
    moved = tool.ok("--vm", "own", "inflate", "--target", "128M")
    assert (moved["method"], moved["balloon_bytes"]["after"]) == ("pfn", 128 * MIB)
    assert moved["provenance"]["kernel_series_sha256"] is None


def target_of(size):
    return ("--target", str(size)) if size else ()


def put(transport, path, content):
    channel = transport.open_session(timeout=20)
    channel.exec_command(f"cat >{path}")
    channel.sendall(content)
    channel.shutdown_write()
    assert channel.recv_exit_status() == 0
