import os
import subprocess
import sys

import pytest

from fastballoon_cli.errors import PreconditionError, UsageError
from fastballoon_cli.host import procfs, vms


@pytest.fixture(autouse=True)
def runtime(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    monkeypatch.setenv("FASTBALLOON_RUNTIME", str(folder))
    return folder


@pytest.mark.parametrize("name", ["", "-x", "A", "a/b", "..", "a" * 33, "a b"])
def test_refuses_names_that_are_no_names(name):
    with pytest.raises(UsageError, match="cannot be a VM's name"):
        vms.vm_dir(name)


def test_a_second_holder_is_told_who_holds_the_vm(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["fastballoon", "inflate", "--vm", "a"])
    who = rf"VM 'a' is in use by 'fastballoon inflate --vm a' \(pid {os.getpid()}\)"
    with vms.lock("a", create=True):
        with pytest.raises(PreconditionError, match=who), vms.lock("a"):
            pass
        with vms.lock("b", create=True):
            pass
    with vms.lock("a"):
        pass


def test_a_killed_holder_leaves_no_lock(runtime):
    holder = subprocess.Popen(
        [sys.executable, "-c", """
import time
from fastballoon_cli.host import vms
with vms.lock("a", create=True):
    print("held", flush=True)
    time.sleep(1000)
"""],
        stdout=subprocess.PIPE,
    )  # fmt: skip
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(PreconditionError), vms.lock("a"):
        pass
    holder.kill()
    holder.wait()
    with vms.lock("a"):
        pass


def test_the_runtime_folder_must_be_private(runtime):
    runtime.mkdir(mode=0o755)
    runtime.chmod(0o755)
    with pytest.raises(PreconditionError, match="private"):
        vms.vm_dir("a")


def test_a_process_is_known_by_pid_and_start_time():
    child = subprocess.Popen(["sleep", "1000"])
    started = procfs.start_time(child.pid)
    procfs.kill(child.pid, started + 1)  # another process that once had this pid
    assert procfs.start_time(child.pid) == started
    procfs.kill(child.pid, started)
    child.wait()
    assert procfs.start_time(child.pid) is None
    procfs.kill(child.pid, started)
