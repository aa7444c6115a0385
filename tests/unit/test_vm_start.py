import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from fastballoon_cli.errors import GuestError, PreconditionError, VmLostError
from fastballoon_cli.machine import locks, registry
from fastballoon_cli.ops import vm
from fastballoon_cli.progress import Silent
from tests.conftest import await_true


class Heard(Silent):
    def __init__(self):
        self.warnings = []

    def warn(self, message):
        self.warnings.append(message)


class Outcomes(list):
    """What becomes of each attempt, how long each lasts, and how long each may last, in seconds."""

    lasts = 0.0

    def __init__(self):
        self.had = []


@pytest.fixture
def boots(runtime, monkeypatch):
    """What becomes of each attempt to boot; an exception is raised, anything else is the VM."""
    outcomes = Outcomes()
    monkeypatch.setattr(vm, "plan", lambda request, progress: None)

    def boot(planned, request, progress, timeout, lock):
        assert registry.vm_dir("v").is_dir()
        assert 0 < timeout <= 100
        outcomes.had.append(timeout)
        outcome = outcomes.pop(0)
        now[0] += min(timeout, outcomes.lasts)
        if isinstance(outcome, BaseException):
            raise outcome
        return SimpleNamespace(record=outcome, guardian=SimpleNamespace(release=lambda: None))

    now = [0.0]
    monkeypatch.setattr(vm.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(vm, "_boot", boot)
    return outcomes


def start(progress):
    return vm.start(vm.Request(name="v"), progress, timeout=100)


@pytest.mark.parametrize(
    "passing",
    [
        GuestError("the guest's SSH did not answer within 45 s"),
        VmLostError("QEMU ended", details="Could not set up host forwarding rule 'tcp:127.0.0.1:1-:22'"),
        VmLostError("QEMU ended", details="iotlb_to_section: Assertion `section_index < d->map.sections_nb' failed."),
    ],
)
def test_a_boot_that_stalls_or_ended_by_a_race_is_tried_once_more(boots, passing):
    boots += [passing, "the VM"]
    heard = Heard()
    assert start(heard) == "the VM"
    assert len(heard.warnings) == 1
    assert passing.message in heard.warnings[0]


def test_a_qemu_that_ends_is_not_started_again(boots):
    boots += [VmLostError("QEMU ended", details="out of memory")]
    with pytest.raises(VmLostError):
        start(Silent())
    assert not registry.vm_dir("v").exists()


def test_a_guest_that_never_comes_up_is_an_error_in_the_end(boots):
    boots += [GuestError("no answer")] * 5
    with pytest.raises(GuestError):
        start(Silent())
    assert not boots


def test_on_a_busy_host_another_attempt_has_more_time(boots):
    """100 s are 45 and all the rest, not twice 45 and a hopeless 10."""
    boots += [GuestError("no answer")] * 2
    boots.lasts = 1000
    with pytest.raises(GuestError):
        start(Silent())
    assert boots.had == [45, 55]


@pytest.mark.parametrize(
    ("where", "what"),
    [
        (pathlib.Path, "mkdir"),
        (locks.os, "open"),
        (locks.fcntl, "flock"),
        (pathlib.Path, "write_text"),
        (vm.registry, "load"),
    ],
    ids=["folder made", "folder opened", "folder locked", "holder told", "looked for another"],
)
def test_ctrl_c_at_any_moment_before_qemu_leaves_no_folder(boots, monkeypatch, where, what):
    whole, folder, made = getattr(where, what), registry.vm_dir("v"), []

    def and_ctrl_c(*arguments, **keywords):
        result = whole(*arguments, **keywords)
        if not made and os.path.lexists(folder):
            made.append(folder)
            raise KeyboardInterrupt
        return result

    monkeypatch.setattr(where, what, and_ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        start(Silent())
    assert made == [folder]
    assert not folder.exists()
    boots += ["the VM"]
    assert start(Silent()) == "the VM"


def test_whoever_guards_a_killed_start_holds_the_vm_until_its_folder_is_gone(runtime):
    """So the folder that it removes is never the next VM's."""
    tool = subprocess.Popen(
        [sys.executable, "-c", """
import os, time
from pathlib import Path
from fastballoon_cli.machine import registry
from fastballoon_cli.ops import vm
from fastballoon_cli.progress import Silent

class Spec:
    name, memory_bytes, cpus, accel, directory = "v", 1, 1, "tcg", registry.vm_dir("v")
    qemu_log = directory / "log"
    def argv(self):
        return ["sleep", "1000"]

vm._furnish = lambda spec: None
def stay(pid, **_):
    print(Path(f"/proc/{pid}/stat").read_text().split()[3], flush=True)  # its parent, the guardian
    time.sleep(1000)

vm.Record = stay
vm.plan = lambda *_: vm.StartPlan(Spec(), {})
vm.start(vm.Request(name="v"), Silent())
"""],
        stdout=subprocess.PIPE,
    )  # fmt: skip
    guardian = int(tool.stdout.readline())
    os.kill(guardian, signal.SIGSTOP)
    tool.kill()
    tool.wait()
    with pytest.raises(PreconditionError, match="in use"), registry.lock("v", create=True):
        pass
    assert registry.vm_dir("v").exists()
    os.kill(guardian, signal.SIGCONT)
    await_true(lambda: not registry.vm_dir("v").exists())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP, signal.SIGTERM])
def test_a_borrowed_vm_ends_with_the_tool_whatever_ends_that(runtime, number):
    tool = subprocess.Popen(
        [sys.executable, "-c", """
import time
from fastballoon_cli.machine import registry
from fastballoon_cli.ops import vm
from fastballoon_cli.process import Guarded
from fastballoon_cli.progress import Silent
from fastballoon_cli.signals import interrupt_on_signals
from tests.unit.made import record

def boot(planned, request, progress, timeout, lock):
    qemu = Guarded(["sleep", "1000"], stdout=-3, cleanup=registry.vm_dir("v"), hold=[lock])
    return vm._Booted(record("v", qemu.pid), qemu, lock)

class Nobody:
    def __init__(self, *_):
        pass
    def execute(self, *_):
        return {"status": "running"}
    def close(self):
        pass

class Agent:
    def close(self):
        pass

interrupt_on_signals()
vm.plan = lambda *_: None
vm._boot = boot
vm.Qmp = Nobody
vm.Session.meet_agent = lambda self, **_: setattr(self, "agent", Agent())
with vm.borrow(vm.Request(name="v"), Silent()) as session:
    print(session.record.pid, flush=True)
    time.sleep(1000)
"""],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    qemu = int(tool.stdout.readline())
    with pytest.raises(PreconditionError, match="in use"), registry.lock("v"):
        pass
    tool.send_signal(number)
    tool.wait(20)
    await_true(lambda: registry.procfs.start_time(qemu) is None and not registry.vm_dir("v").exists())


class Ready:
    """A record of a VM that boots: where its console is kept, and what init has written there."""

    def __init__(self, console, said=b""):
        console.write_bytes(said)
        self.spec = SimpleNamespace(console_log=console)


@pytest.fixture
def agent(monkeypatch):
    """What becomes of each attempt to reach the agent; an exception is raised."""
    outcomes = []

    @contextlib.contextmanager
    def connect(record, *, timeout):
        outcome = outcomes.pop(0)
        if isinstance(outcome, BaseException):
            raise outcome
        yield SimpleNamespace(call=lambda verb: outcome)

    monkeypatch.setattr(vm, "connect_agent", connect)
    return outcomes


def test_sshd_may_be_there_before_the_agent(agent, tmp_path):
    agent += [GuestError("the guest's agent is not there"), GuestError("the guest's agent is not there"), {}]
    vm._await_agent(Ready(tmp_path / "console"), time.monotonic() + 100)
    assert agent == []


def test_an_agent_that_has_failed_is_not_waited_for(agent, tmp_path):
    agent += [GuestError("the guest's agent is not there", details="Connect failed"), {}]
    with pytest.raises(GuestError) as raised:
        vm._await_agent(Ready(tmp_path / "console", b"No module\nfastballoon: ready\n"), time.monotonic() + 100)
    assert "Connect failed" in raised.value.details
    assert "No module" in raised.value.details
    assert agent == [{}]


def test_an_agent_is_not_waited_for_longer_than_the_boot_may_last(agent, tmp_path):
    agent += [GuestError("the guest's agent is not there"), {}]
    with pytest.raises(GuestError):
        vm._await_agent(Ready(tmp_path / "console"), time.monotonic())
    assert agent == [{}]
