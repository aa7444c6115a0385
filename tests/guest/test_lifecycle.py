"""Whatever ends the balloon device ends it in time, and nothing warns of it: reboot, unbind, suspend, a failure."""

import threading

import pytest

from fastballoon_cli.machine.session import hold
from fastballoon_cli.ops import vm
from fastballoon_cli.progress import Silent
from fastballoon_cli.qemu import drop_cache
from fastballoon_cli.qemu.balloon import BalloonDevice
from tests.conftest import await_true, kernel_warnings
from tests.guest.breaking import (
    DRIVER,
    MIB,
    balloon_device,
    boots,
    has_panicked,
    let_through,
    needs_reset,
    never_at_rest,
    spoil_slots,
)

pytestmark = pytest.mark.guest

MEMORY = 512 * MIB
#: Of each way for the device to go. On an idle machine all of them take less than one.
SECONDS = 10
COUNTERS = "/sys/kernel/debug/virtio-balloon/*/counters"
#: The kernel's own wait in the middle of a suspend that is only a test.
_SUSPEND_TEST_SECONDS = 5
#: Through the kernel's shutdown of every device, as reboot(8) of a distribution goes; the guest's own does not.
REBOOT = "python3 -c 'import ctypes; ctypes.CDLL(None).reboot(0x1234567)'"
HALT = "python3 -c 'import ctypes; ctypes.CDLL(None).reboot(0xcdef0123 - (1 << 32))'"
#: mount(8) looks at the disk itself, and might hang where it holds no file system.
MOUNT = (
    'python3 -c \'import ctypes; open("/proc/self/comm", "w").write("mounts"); '
    'ctypes.CDLL(None).mount(b"/dev/{disk}", b"/run/hangs", b"ext4", 0, None)\''
)
SUSPEND = "echo devices > /sys/power/pm_test && echo freeze > /sys/power/state && echo none > /sys/power/pm_test"


@pytest.fixture(scope="module")
def guest(tool):
    """A guest that ends with the first warning of its kernel, for tests each of which leaves its balloon empty."""
    tool.ok("vm", "start", "--name", "guest", "--memory", "512M", "--append", "panic_on_warn=1")
    yield "guest"
    assert not has_panicked("guest")
    tool.ok("vm", "stop", "guest")


def is_well(tool, name, *, said=()):
    """Assert that a guest's balloon works, that its memory is whole, and that nothing was warned of but ``said``."""
    assert not has_panicked(name)
    assert tool.ok("--vm", name, "inflate", "--target", "256M")["balloon_bytes"]["after"] == 256 * MIB
    assert tool.ok("--vm", name, "deflate")["balloon_bytes"]["after"] == 0
    assert tool.ok("--vm", name, "vm", "touch", "--verify")["mismatches"] == 0
    assert [line.partition(": ")[2] for line in kernel_warnings(tool, name)] == list(said)


def timed(tool, name, command):
    """Return how long a shell command took in a guest, by the guest's clock."""
    begun = "$(cut -d' ' -f1 /proc/uptime)"
    script = f"begun={begun}; {command} && echo $begun {begun}"
    begin, end = map(float, tool.in_guest(name, script).split()[-2:])
    return end - begin


def test_unbinding_while_the_balloon_moves(tool, guest):
    device = balloon_device(tool, guest)
    with never_at_rest(guest, MEMORY, MEMORY // 2):
        for _ in range(5):
            assert timed(tool, guest, f"echo {device} > {DRIVER}/unbind") < SECONDS
            tool.in_guest(guest, f"echo {device} > {DRIVER}/bind")
    is_well(tool, guest)


def test_suspending_while_the_balloon_moves(tool, guest):
    with never_at_rest(guest, MEMORY, MEMORY // 2):
        for _ in range(2):
            assert timed(tool, guest, SUSPEND) < SECONDS + _SUSPEND_TEST_SECONDS
    is_well(tool, guest)


@pytest.mark.parametrize("times", [1, pytest.param(5, marks=pytest.mark.long)])
@pytest.mark.parametrize("way", ["reboot", "system_reset"])
def test_starting_again_while_the_balloon_moves(tool, guest, way, times):
    with never_at_rest(guest, MEMORY, MEMORY // 2):
        for _ in range(times):
            before = boots(guest)
            if way == "reboot":
                tool.in_guest(guest, f"(sleep 0.2; {REBOOT}) > /dev/null 2>&1 &")
            else:
                with hold(guest, Silent()) as session:
                    session.qmp.execute("system_reset")
            await_true(lambda: boots(guest) > before, seconds=90, what="the guest to come up again")  # noqa: B023
    is_well(tool, guest)


def test_pulling_the_device_while_the_balloon_moves(tool, guest):
    """As when it is unplugged, but that the guest begins."""
    for _ in range(3):
        device = balloon_device(tool, guest)
        slot = tool.in_guest(guest, f"basename $(dirname $(realpath /sys/bus/virtio/devices/{device}))").strip()
        with never_at_rest(guest, MEMORY, MEMORY // 2):
            assert timed(tool, guest, f"echo 1 > /sys/bus/pci/devices/{slot}/remove") < SECONDS
        tool.in_guest(guest, "echo 1 > /sys/bus/pci/rescan")
    is_well(tool, guest)


def test_a_guest_that_is_halted_has_let_go_of_the_device(tool, guest):
    tool.ok("--vm", guest, "inflate", "--target", "128M")
    before = boots(guest)
    tool.in_guest(guest, f"(sleep 0.2; {HALT}) > /dev/null 2>&1 &")
    with hold(guest, Silent()) as session:
        device = BalloonDevice(session.qmp)
        # Whatever the guest's memory is used for next, the device has no part in it.
        await_true(lambda: not device.has_driver(), seconds=30, what="the device to be reset")
        device.set_target(0)
        session.qmp.execute("system_reset")
    await_true(lambda: boots(guest) > before, seconds=90, what="the guest to come up again")
    is_well(tool, guest)


def test_a_device_that_has_failed_can_be_unbound_and_works_again_after_that(tool, guest, tmp_path):
    total = "grep MemTotal /proc/meminfo"
    whole = tool.in_guest(guest, total)
    tool.ok("--vm", guest, "inflate", "--target", "128M")
    device = balloon_device(tool, guest)
    with hold(guest, Silent()) as session:
        # After inflate, deflate and statistics come the requests.
        spoil_slots(session.qmp, session.record.spec.process_directory, queue=3)
        session.qmp.execute("x-balloon-drop-cache", {"mode": "all"})
        await_true(lambda: needs_reset(session.qmp), what="the device to fail")
        # Who waits for an answer to this, waits for ever.
        session.qmp.execute("balloon", {"value": MEMORY // 2})
    await_true(lambda: tool.in_guest(guest, "dmesg | grep 'Device failed' || :"), what="the driver to hear of it")
    assert tool.in_guest(guest, total) != whole
    assert timed(tool, guest, f"echo {device} > {DRIVER}/unbind") < SECONDS
    assert tool.in_guest(guest, total) == whole
    tool.in_guest(guest, f"echo {device} > {DRIVER}/bind && dmesg --clear")
    await_true(lambda: tool.ok("vm", "status", guest)["balloon_bytes"] == MEMORY // 2, what="the balloon to fill")
    tool.ok("--vm", guest, "deflate")
    is_well(tool, guest, said=["Device failed, the balloon stays as it is"])


@pytest.fixture(scope="module")
def reading(tool):
    """A guest with a disk to read and one to slow down."""
    request = vm.Request(
        name="reading", memory_bytes=1024 * MIB, zero_disk_bytes=4096 * MIB, scratch_disk_bytes=64 * MIB
    )
    vm.start(request, Silent())
    yield "reading"
    tool.ok("vm", "stop", "reading")


def fill_cache(name, size):
    with hold(name, Silent(), need_agent=True) as session:
        assert session.agent.call("cache", size=size, timeout=100)["bytes"] >= 0.99 * size


def cached(tool, name):
    """Return the bytes of a guest's page cache; a disk's own is what meminfo calls buffers."""
    return int(tool.in_guest(name, "awk '/^(Buffers|Cached):/ {n += $2} END {print n}' /proc/meminfo")) << 10


def hangs(tool, name, command):
    """Return whether a process of this name waits in the guest's kernel and can't be interrupted."""
    return f"({command}) D " in tool.in_guest(name, "cat /proc/[0-9]*/stat 2> /dev/null || :")


def while_dropping(tool, name, command):
    """Run a command in a guest as soon as it has begun to drop its cache; return how long it took, and how it ended.

    The guest waits for the request, as a command from here would come too late.
    """
    requests = int(tool.in_guest(name, f"grep ^host_requests' ' {COUNTERS}").split()[-1])
    took = []
    wait = f"while grep -q '^host_requests {requests}$' {COUNTERS}; do :; done"
    script = f"echo waits > /dev/ttyS0; {wait}; {command}"
    thread = threading.Thread(target=lambda: took.append(timed(tool, name, script)))
    with hold(name, Silent()) as session:
        log = session.record.spec.console_log
        before = log.read_bytes().count(b"waits")
        thread.start()
        await_true(lambda: log.read_bytes().count(b"waits") > before, what="the guest to wait")
        answer = drop_cache.request(session.qmp, "pagecache", timeout=60)
        thread.join()
    return took[0], answer


def test_other_caches_are_dropped_while_a_mount_hangs(tool, reading):
    device = balloon_device(tool, reading)
    fill_cache(reading, 512 * MIB)
    with hold(reading, Silent()) as session:
        let_through(session.qmp, "scratch", bytes_per_second=1)
    try:
        disk = tool.in_guest(reading, "basename $(dirname $(grep -lx scratch /sys/block/*/serial))").strip()
        # What comes first is let through.
        tool.in_guest(reading, f"dd if=/dev/{disk} of=/dev/null bs=4k count=1 iflag=direct 2> /dev/null")
        tool.in_guest(reading, f"mkdir -p /run/hangs; {MOUNT.format(disk=disk)} > /dev/null 2>&1 &")
        await_true(lambda: hangs(tool, reading, "mounts"), what="the mount to hang")
        before = cached(tool, reading)
        with hold(reading, Silent()) as session:
            answer = drop_cache.request(session.qmp, "all", timeout=SECONDS)
        assert answer.status == "done"
        assert answer.freed_bytes >= 0.95 * 512 * MIB
        assert before - cached(tool, reading) >= 0.95 * 512 * MIB
        # And whoever unbinds the driver while it drops them does not wait for the mount.
        fill_cache(reading, 512 * MIB)
        took, answer = while_dropping(tool, reading, f"echo {device} > {DRIVER}/unbind")
        assert took < SECONDS
        assert answer.status in {"done", "reset"}
        tool.in_guest(reading, f"echo {device} > {DRIVER}/bind")
    finally:
        with hold(reading, Silent()) as session:
            let_through(session.qmp, "scratch", bytes_per_second=0)
    assert tool.ok("--vm", reading, "drop-cache")["method"] == "balloon"


@pytest.mark.parametrize("way", ["unbind", "suspend"])
def test_a_drop_ends_early_when_the_device_goes(tool, reading, way):
    device = balloon_device(tool, reading)
    fill_cache(reading, 768 * MIB)
    if way == "unbind":
        took, _ = while_dropping(tool, reading, f"echo {device} > {DRIVER}/unbind")
        assert took < SECONDS
        # It was stopped in the middle of the one file that there is.
        assert cached(tool, reading) > 64 * MIB
        tool.in_guest(reading, f"echo {device} > {DRIVER}/bind")
    else:
        took, _ = while_dropping(tool, reading, SUSPEND)
        assert took < SECONDS + _SUSPEND_TEST_SECONDS
        assert cached(tool, reading) > 64 * MIB
    assert tool.ok("--vm", reading, "drop-cache")["method"] == "balloon"
    assert cached(tool, reading) < 64 * MIB
    # But for the mounts of a disk that has no file system.
    assert [line for line in kernel_warnings(tool, reading) if "Can't find ext4 filesystem" not in line] == []
