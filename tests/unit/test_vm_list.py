"""Listing and stopping VMs when one of them is not as it should be; their QEMUs are made up."""

import json
import os
import socket
import subprocess
import threading

import pytest

from fastballoon_cli.host import procfs
from fastballoon_cli.machine import registry
from fastballoon_cli.ops import vm as vm_ops
from fastballoon_cli.progress import Silent
from tests.conftest import await_true
from tests.unit.fake_qemu import FakeQemu
from tests.unit.made import record

pytestmark = pytest.mark.usefixtures("runtime")


@pytest.fixture
def sleeper():
    """Processes that stand for QEMUs; each ends when it is killed."""
    started = []

    def start():
        started.append(subprocess.Popen(["sleep", "1000"]))
        # As init would, as soon as it ends.
        threading.Thread(target=started[-1].wait, daemon=True).start()
        return started[-1]

    yield start
    for one in started:
        one.kill()
        one.wait()


def newer(name, pid):
    """A VM that a newer tool has started."""
    record(name, pid)
    path = registry.vm_dir(name) / "vm.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 2, "spec": "of another kind"}))


def test_a_vm_of_another_version_is_listed_and_can_be_stopped(fastballoon, sleeper):
    qemu = sleeper()
    newer("newer", qemu.pid)
    listed = fastballoon("--json", "vm", "list")
    assert listed.returncode == 0, listed.stderr
    (one,) = json.loads(listed.stdout)["vms"]
    assert (one["name"], one["state"]) == ("newer", "unknown")
    assert "version 2" in one["reason"]
    assert "version 2" in fastballoon("vm", "list").stdout
    refused = fastballoon("--json", "vm", "status", "newer")
    assert refused.returncode == 3
    assert "vm stop newer" in json.loads(refused.stdout)["error"]["hint"]
    assert fastballoon("vm", "stop", "newer").returncode == 0
    assert not registry.vm_dir("newer").exists()
    await_true(lambda: qemu.poll() is not None)


def test_one_silent_monitor_does_not_hide_the_others(fastballoon, sleeper):
    made = record("silent", sleeper().pid)
    newer("newer", sleeper().pid)
    with socket.socket(socket.AF_UNIX) as monitor:
        monitor.bind(str(made.spec.observer_socket))
        monitor.listen()
        listed = fastballoon("--json", "vm", "list")
    assert listed.returncode == 0, listed.stderr
    states = {one["name"]: one["state"] for one in json.loads(listed.stdout)["vms"]}
    assert states == {"newer": "unknown", "silent": "does not answer"}


def test_stopping_all_goes_on_past_one_that_is_in_use(fastballoon, sleeper):
    for name in ("a", "b", "c"):
        newer(name, sleeper().pid)
    with registry.lock("b"):
        ended = fastballoon("--json", "vm", "stop", "--all")
    assert ended.returncode == 3
    document = json.loads(ended.stdout)
    assert document["stopped"] == ["a", "c"]
    assert "in use" in document["failed"]["b"]
    assert [one["name"] for one in json.loads(fastballoon("--json", "vm", "list").stdout)["vms"]] == ["b"]
    assert fastballoon("vm", "stop", "--all").stdout == "stopped: b\n"
    assert fastballoon("vm", "stop", "--all").stdout == "stopped: nothing ran\n"


def test_stopping_ends_both_qemus_of_a_migration_that_nobody_brought_to_an_end(sleeper):
    source, target = (record("v", sleeper().pid, generation=number) for number in (0, 1))
    for one in (source, target):
        registry.save_process(one)
    vm_ops.stop("v", Silent())
    assert procfs.start_time(source.pid) is procfs.start_time(target.pid) is None
    assert not registry.vm_dir("v").exists()


def test_a_session_whose_guest_says_no_goodbye_ends(fastballoon, tmp_path):
    """After a reboot, or when the guest has moved on to another QEMU."""
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    program.chmod(0o755)
    qemu = FakeQemu("v")
    try:
        ran = fastballoon("--vm", "v", "vm", "ssh", "--", "reboot", PATH=f"{program.parent}:{os.environ['PATH']}")
    finally:
        qemu.close()
    assert ran.returncode == 0
    words = ran.stdout.split()
    interval, count = (
        int(next(word for word in words if word.startswith(name)).partition("=")[2])
        for name in ("ServerAliveInterval", "ServerAliveCountMax")
    )
    assert 0 < interval * count <= 30
