"""Things die, and values are wrong: a clear message, the right exit code, within 10 s, and nothing is left behind."""

import os
import signal
import time

import pytest

from fastballoon_cli.errors import GuestError
from fastballoon_cli.host import procfs
from fastballoon_cli.machine import registry
from fastballoon_cli.machine.session import hold
from fastballoon_cli.progress import Silent
from fastballoon_cli.qemu.balloon import BalloonDevice
from fastballoon_cli.qemu.qmp import Qmp
from tests.conftest import await_true, qemus_below

pytestmark = pytest.mark.guest

#: Of the guest that the tests share, see conftest.py.
FAST_MEMORY = "2G"
#: What is interfered with: by page numbers it takes seconds.
TARGET = 1536 << 20


def nothing_left(tool, name):
    return name not in tool.folders() and not qemus_below(tool.runtime / name)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("moment", ["at once", "QEMU runs"])
def test_the_tool_dies_while_a_vm_starts(tool, number, moment):
    process = tool.start("vm", "start", "--name", "dying", "--memory", "1G")
    since = time.monotonic()
    if moment == "QEMU runs":
        await_true(lambda: qemus_below(tool.runtime / "dying"), what="QEMU")
    else:
        await_true(lambda: "dying" in tool.folders() or process.poll() is not None, what="the VM's folder")
    process.send_signal(number)
    ran = tool.finish(process, since=since)
    assert ran.seconds < 10
    if number == signal.SIGKILL:
        assert ran.code == -signal.SIGKILL
        await_true(lambda: not qemus_below(tool.runtime / "dying"), what="QEMU to be gone")
        assert tool.ok("vm", "list")["vms"] == []  # clears a folder that was made before there was a guardian
    else:
        assert ran.code == 130
        assert ran.document["error"]["message"] == "interrupted"
    await_true(lambda: nothing_left(tool, "dying"), what="the folder to be gone")


@pytest.fixture
def slow(keep):
    """A guest whose inflation takes long enough to interfere with."""
    return keep("slow", "--variant", "stock", "--memory", "2G")


def observe(vm, command):
    with Qmp(registry.load(vm).spec.observer_socket) as qmp:
        return qmp.execute(command)


def begin_inflating(tool, vm):
    """Start the tool, and stop the guest in the middle of its inflation."""
    process = tool.start("--vm", vm, "inflate", "--target", str(TARGET))
    since = time.monotonic()
    with Qmp(registry.load(vm).spec.observer_socket) as qmp:
        device = BalloonDevice(qmp)
        await_true(lambda: device.size() > 0, what="the balloon to grow")
        qmp.execute("stop")
        assert device.size() < TARGET
    return process, since


def test_ctrl_c_during_inflate_stops_the_balloon_where_it_is(tool, slow):
    process, since = begin_inflating(tool, slow)
    process.send_signal(signal.SIGINT)
    ran = tool.finish(process, since=since)
    assert ran.code == 130
    observe(slow, "cont")
    sizes = [tool.ok("vm", "status", slow)["balloon_bytes"] for _ in range(2)]
    assert 0 < sizes[1] < TARGET
    assert sizes[0] == sizes[1]
    assert tool.ok("--vm", slow, "deflate")["balloon_bytes"]["after"] == 0


def test_a_killed_inflate_leaves_a_vm_that_works(tool, slow):
    process, since = begin_inflating(tool, slow)
    process.kill()
    tool.finish(process, since=since)
    observe(slow, "cont")
    assert tool.ok("--vm", slow, "deflate")["balloon_bytes"]["after"] == 0


def test_a_second_tool_on_the_same_vm_is_told_who_has_it(tool, slow):
    process, since = begin_inflating(tool, slow)
    error = tool.refused(3, "--vm", slow, "deflate")
    assert f"VM '{slow}' is in use by 'fastballoon" in error["message"]
    assert f"pid {process.pid}" in error["message"]
    observe(slow, "cont")
    assert tool.finish(process, since=since).code == 0
    tool.ok("--vm", slow, "deflate")


def test_a_killed_qemu_is_a_lost_vm(tool, slow):
    process, since = begin_inflating(tool, slow)
    record = registry.load(slow)
    killed = time.monotonic()
    os.kill(record.pid, signal.SIGKILL)
    ran = tool.finish(process, since=since)
    assert ran.code == 128
    assert time.monotonic() - killed < 10
    error = tool.refused(128, "--vm", slow, "inflate", "--target", "1G")
    assert f"VM '{slow}' was lost" in error["message"]
    assert tool.ok("vm", "list")["vms"] == []
    assert nothing_left(tool, slow)


def test_an_agent_that_dies_is_said_and_another_answers(tool, fast):
    with hold(fast, Silent(), need_agent=True) as session:
        # Its own is the one that the kernel may kill when memory runs out; the one that listens is not.
        tool.in_guest(
            fast,
            "for it in $(grep -l agent[.]pyz /proc/[0-9]*/cmdline); do cd ${it%/*}; "
            "[ $(cat oom_score_adj) = -1000 ] || kill -9 ${PWD#/proc/}; done",
        )
        with pytest.raises(GuestError, match="broke during 'memory'") as broken:
            session.agent.call("memory")
        assert "vm console" in broken.value.hint
    assert tool.ok("--vm", fast, "inflate", "--target", "256M")["guest_free_bytes"]["before"] > 256 << 20
    tool.ok("--vm", fast, "deflate")


def test_a_guest_without_a_balloon_driver_is_refused_and_stopped(tool, boot):
    boot("driverless", "--memory", "512M", "--append", "initcall_blacklist=virtio_balloon_init")
    error = tool.refused(3, "--vm", "driverless", "inflate", "--target", "128M")
    assert "no driver in the guest has taken the balloon device" in error["message"]
    tool.ok("vm", "stop", "driverless")
    assert nothing_left(tool, "driverless")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("2G", "is not below the VM's memory"),
        ("9G", "is not below the VM's memory"),
        ("0", "a balloon of 0 is nothing to inflate"),
        ("-1G", "is negative"),
        ("3X", "is not a size"),
        ("4097", "no multiple of 4 KiB"),
    ],
)
def test_targets_that_cannot_be(tool, fast, target, message):
    error = tool.refused(2, "--vm", fast, "inflate", f"--target={target}")
    assert message in error["message"]
    assert error["hint"]
    assert tool.ok("vm", "status", fast)["balloon_bytes"] == 0


def test_a_smaller_target_is_sent_to_deflate(tool, fast):
    tool.ok("--vm", fast, "inflate", "--target", "1G")
    error = tool.refused(2, "--vm", fast, "inflate", "--target", "512M")
    assert "deflate --to" in error["hint"]
    tool.ok("--vm", fast, "deflate")


def test_a_name_that_runs_already(tool, fast):
    error = tool.refused(3, "vm", "start", "--name", fast)
    assert "runs already" in error["message"]
    assert procfs.start_time(registry.load(fast).pid)


def test_a_host_with_too_little_memory(tool):
    error = tool.refused(3, "vm", "start", "--name", "huge", "--memory", "64T")
    assert "too little" in error["message"]
    assert nothing_left(tool, "huge")
