"""Migrations that are cancelled, given up or killed: one QEMU is left, and has the guest."""

import os
import signal
import time
from dataclasses import replace

import pytest

from fastballoon_cli.errors import PreconditionError, QmpError, VmLostError
from fastballoon_cli.host import procfs
from fastballoon_cli.machine import registry
from fastballoon_cli.machine.session import hold
from fastballoon_cli.machine.spec import QemuSpec
from fastballoon_cli.ops import migrate
from fastballoon_cli.progress import Silent
from fastballoon_cli.qemu.qmp import Qmp
from tests.conftest import await_true, kernel_warnings, qemus_below
from tests.guest.migrating import MIB, SLOW, begin, generation, one_qemu_has_the_guest

pytestmark = pytest.mark.guest

BOOT_ID = "cat /proc/sys/kernel/random/boot_id"


@pytest.fixture(scope="module")
def moving(tool):
    """A guest of the unmodified pair that every test leaves running, in whichever QEMU."""
    tool.ok("vm", "start", "--name", "moving", "--variant", "stock", "--memory", "1G")
    boot_id = tool.in_guest("moving", BOOT_ID)
    yield "moving"
    assert tool.in_guest("moving", BOOT_ID) == boot_id
    assert kernel_warnings(tool, "moving") == []
    tool.ok("vm", "stop", "moving")
    assert "moving" not in tool.folders()
    assert not qemus_below(tool.runtime / "moving")


def await_rescue(name):
    """Wait until whoever still holds the VM has let go of it."""

    def is_free():
        try:
            with registry.lock(name):
                return True
        except PreconditionError:
            return False

    await_true(is_free, what="the rescue")


@pytest.mark.parametrize("after", ["0ms", "5ms", "300ms"])
def test_a_migration_can_be_cancelled_in_any_status(tool, moving, after):
    before = generation(moving)
    error = tool.refused(7, "--vm", moving, "migrate", *SLOW, "--cancel-after", after)
    assert "cancelled after" in error["message"]
    assert "the guest runs on where it was" in error["message"]
    one_qemu_has_the_guest(tool, moving, generation=before)


@pytest.mark.parametrize("steps", [(0, 2, 4), pytest.param((0, 1, 2, 3, 4), marks=pytest.mark.long)], ids=len)
def test_cancelled_again_and_again_it_succeeds(tool, moving, steps):
    """At moments throughout: into the switchover and beyond it, where it is too late."""
    ended = []
    before = generation(moving)
    for step in steps:
        options = migrate.Options(cancel_after_s=0.15 * step, bandwidth=0, downtime_s=2.0)
        with hold(moving, Silent()) as session:
            session.agent.close()
            session.agent = None
            try:
                ended.append(migrate.migrate(session, options, progress=Silent()))
            except migrate.MigrationError:
                ended.append(None)
        one_qemu_has_the_guest(tool, moving)
    assert None in ended
    assert generation(moving) - before == sum(it is not None for it in ended)
    assert tool.ok("--vm", moving, "migrate")["total_s"] > 0


def test_what_takes_too_long_is_given_up(tool, moving):
    error = tool.refused(7, "--timeout", "1", "--vm", moving, "migrate", *SLOW)
    assert "not complete after 1 s" in error["message"]
    assert "--bandwidth" in error["hint"]
    one_qemu_has_the_guest(tool, moving)


def test_ctrl_c_leaves_the_guest_where_it_was(tool, moving):
    before = generation(moving)
    process, _ = begin(tool, moving)
    # Whoever looks is not kept out meanwhile, but whoever wants to work with the VM is.
    assert tool.ok("vm", "status", moving)["state"] == "running"
    assert "is in use by 'fastballoon" in tool.refused(3, "--vm", moving, "migrate")["message"]
    since = time.monotonic()
    process.send_signal(signal.SIGINT)
    ran = tool.finish(process, since=since)
    assert ran.code == 130
    assert ran.seconds < 10
    one_qemu_has_the_guest(tool, moving, generation=before)


@pytest.mark.parametrize("delay", [0.0, 0.5])
def test_a_killed_tool_leaves_the_guest_where_it_was(tool, moving, delay):
    before = generation(moving)
    process, since = begin(tool, moving)
    time.sleep(delay)
    process.kill()
    tool.finish(process, since=since)
    await_rescue(moving)
    one_qemu_has_the_guest(tool, moving, generation=before)


@pytest.mark.parametrize("steps", [(0, 3, 10), pytest.param((0, 1, 2, 3, 4, 10), marks=pytest.mark.long)], ids=len)
def test_a_tool_killed_at_any_moment_leaves_one_qemu_with_the_guest(tool, moving, steps):
    """The switchover among them: without a limit a migration takes about half a second."""
    moved = set()
    for step in steps:
        before = generation(moving)
        process = tool.start("--vm", moving, "migrate")
        since = time.monotonic()
        folder = tool.runtime / moving / str(before + 1)
        await_true(lambda: folder.exists() or process.poll() is not None, seconds=30, what="the destination")  # noqa: B023
        time.sleep(0.15 * step)
        process.kill()
        tool.finish(process, since=since)
        await_rescue(moving)
        moved.add(generation(moving) - before)
        # An empty folder may be left if not even a guardian was there; whoever works with the VM next removes it.
        with hold(moving, Silent()):
            pass
        one_qemu_has_the_guest(tool, moving)
    assert moved == {0, 1}


def test_a_killed_destination_fails_the_migration_only(tool, moving):
    before = generation(moving)
    process, _ = begin(tool, moving)
    source, destination = registry.processes(moving)
    assert source.pid == registry.load(moving).pid
    since = time.monotonic()
    os.kill(destination.pid, signal.SIGKILL)
    ran = tool.finish(process, since=since)
    assert ran.code == 7, ran.out
    assert ran.seconds < 10
    assert "the guest runs on where it was" in ran.document["error"]["message"]
    one_qemu_has_the_guest(tool, moving, generation=before)


def test_a_killed_source_is_a_lost_vm_and_takes_the_destination_along(tool, boot):
    boot("doomed", "--variant", "stock", "--memory", "512M")
    process, _ = begin(tool, "doomed")
    since = time.monotonic()
    os.kill(registry.load("doomed").pid, signal.SIGKILL)
    ran = tool.finish(process, since=since)
    assert ran.code == 128, ran.out
    assert ran.seconds < 10
    await_true(lambda: not qemus_below(tool.runtime / "doomed"), what="the destination to be gone")
    assert "doomed" not in [it["name"] for it in tool.ok("vm", "list")["vms"]]


def test_a_host_without_room_for_a_second_one(tool, moving, monkeypatch):
    before = generation(moving)
    with hold(moving, Silent()) as session:
        monkeypatch.setattr(procfs, "mem_available", lambda: 1024 * MIB)
        with pytest.raises(PreconditionError, match="too little for a second QEMU"):
            migrate.migrate(session, migrate.Options(), progress=Silent())
        assert session.agent.call("hello")
    one_qemu_has_the_guest(tool, moving, generation=before)


def test_what_qemu_refuses_leaves_the_guest_alone(tool, moving):
    before = generation(moving)
    with hold(moving, Silent()) as session, pytest.raises(QmpError, match="refused 'migrate-set-parameters'"):
        migrate.migrate(session, migrate.Options(downtime_s=1e6), progress=Silent())
    one_qemu_has_the_guest(tool, moving, generation=before)


def test_a_paused_guest_is_not_migrated(tool, moving):
    with hold(moving, Silent()) as session:
        session.qmp.execute("stop")
        try:
            with pytest.raises(PreconditionError, match="does not run"):
                migrate.migrate(session, migrate.Options(), progress=Silent())
        finally:
            session.qmp.execute("cont")


def test_a_destination_killed_after_the_switchover_is_a_lost_vm(tool, boot, monkeypatch):
    """The guest has run there, and the source's memory knows nothing of what it wrote to its disks."""
    boot("late", "--variant", "stock", "--memory", "512M")
    seen = []

    def kill_it(destination, progress):
        source, target = registry.processes("late")
        with Qmp(source.spec.observer_socket) as qmp:
            seen.append(qmp.execute("query-status")["status"])
        os.kill(target.pid, signal.SIGKILL)
        raise VmLostError("its QEMU has ended")

    monkeypatch.setattr(migrate, "_await_arrival", kill_it)
    with pytest.raises(VmLostError), hold("late", Silent()) as session:
        migrate.migrate(session, migrate.Options(), progress=Silent())
    assert seen == ["postmigrate"]
    await_true(lambda: not qemus_below(tool.runtime / "late"), what="both QEMUs to be gone")
    assert "late" not in [it["name"] for it in tool.ok("vm", "list")["vms"]]


def test_a_destination_that_refuses_the_guest_says_why(tool, boot, monkeypatch):
    boot("picky", "--memory", "512M")
    whole = QemuSpec.successor
    monkeypatch.setattr(QemuSpec, "successor", lambda self, port: replace(whole(self, port), balloon_options=""))
    with hold("picky", Silent()) as session, pytest.raises(migrate.MigrationError) as failed:
        migrate.migrate(session, migrate.Options(), progress=Silent())
    assert "virtio-balloon" in failed.value.details
    one_qemu_has_the_guest(tool, "picky", generation=0)
