import json
import os
import subprocess
import sys

import pytest

from fastballoon_cli.errors import PreconditionError, UsageError
from fastballoon_cli.host import procfs
from fastballoon_cli.machine import registry
from tests.unit.made import record

pytestmark = pytest.mark.usefixtures("runtime")


@pytest.mark.parametrize("name", ["", "-x", "A", "a/b", "..", "a" * 33, "a b"])
def test_refuses_names_that_are_no_names(name):
    with pytest.raises(UsageError, match="cannot be a VM's name"):
        registry.vm_dir(name)


def test_a_second_holder_is_told_who_holds_the_vm(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["fastballoon", "inflate", "--vm", "a"])
    who = rf"VM 'a' is in use by 'fastballoon inflate --vm a' \(pid {os.getpid()}\)"
    with registry.lock("a", create=True):
        with pytest.raises(PreconditionError, match=who), registry.lock("a"):
            pass
        with registry.lock("b", create=True):
            pass
    with registry.lock("a"):
        pass


def test_a_killed_holder_leaves_no_lock(runtime):
    holder = subprocess.Popen(
        [sys.executable, "-c", """
import time
from fastballoon_cli.machine import registry
with registry.lock("a", create=True):
    print("held", flush=True)
    time.sleep(1000)
"""],
        stdout=subprocess.PIPE,
    )  # fmt: skip
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(PreconditionError), registry.lock("a"):
        pass
    holder.kill()
    holder.wait()
    with registry.lock("a"):
        pass


def test_the_runtime_folder_must_be_private(runtime):
    runtime.mkdir(mode=0o755)
    runtime.chmod(0o755)
    with pytest.raises(PreconditionError, match="private"):
        registry.vm_dir("a")


def test_a_process_is_known_by_pid_and_start_time():
    child = subprocess.Popen(["sleep", "1000"])
    started = procfs.start_time(child.pid)
    procfs.kill(child.pid, started + 1)  # another process that once had this pid
    assert procfs.start_time(child.pid) == started
    procfs.kill(child.pid, started)
    child.wait()
    assert procfs.start_time(child.pid) is None
    procfs.kill(child.pid, started)


def test_a_vm_without_a_folder_is_not_held_but_an_error(runtime):
    with pytest.raises(PreconditionError, match="there is no VM 'a'"), registry.lock("a"):
        pass
    assert not (runtime / "a").exists()


def test_the_holder_of_the_next_vm_of_that_name_is_left_alone(runtime):
    first = registry.lock("a", create=True)
    first.__enter__()
    registry.forget("a")
    with registry.lock("a", create=True):
        first.__exit__(None, None, None)
        assert (runtime / "a" / "holder.json").exists()


def change(runtime, name, **changes):
    path = runtime / name / "vm.json"
    raw = json.loads(path.read_text())
    path.write_text(json.dumps(raw | changes))


def test_a_record_says_its_version_and_fields_that_joined_later_are_left_out(runtime):
    saved = record("a")
    assert json.loads((runtime / "a" / "vm.json").read_text())["schema_version"] == 1
    spec = json.loads((runtime / "a" / "vm.json").read_text())["spec"]
    change(runtime, "a", new=1, spec=spec | {"new": 2})
    assert registry.load("a") == saved


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"schema_version": 2}, "version 2"), ({"spec": {}}, "it lacks 'binary'"), ({"spec": None}, "NoneType")],
)
def test_a_record_of_another_version_is_named(runtime, changes, reason):
    record("a")
    change(runtime, "a", **changes)
    with pytest.raises(registry.UnknownRecordError, match=reason) as unknown:
        registry.load("a")
    assert unknown.value.process == (os.getpid(), procfs.start_time(os.getpid()))
    assert registry.forget_unless_alive("a")
    change(runtime, "a", pid=None)
    assert registry.forget_unless_alive("a")  # nobody can say that its QEMU has ended
    change(runtime, "a", pid=os.getpid(), started=1)
    assert not registry.forget_unless_alive("a")
    assert not (runtime / "a").exists()


def test_half_a_record_is_no_record(runtime):
    record("a")
    (runtime / "a" / "vm.json").write_text("{")
    with pytest.raises(registry.UnknownRecordError):
        registry.load("a")


def test_a_vm_that_goes_away_while_it_is_looked_at_does_not_live(runtime, monkeypatch):
    record("a")
    monkeypatch.setattr(registry, "load", lambda name: None)
    monkeypatch.setattr(registry.Path, "iterdir", lambda self: os.scandir(self / "gone"))
    assert registry.processes("a") == []
    assert not registry.lives("a")
