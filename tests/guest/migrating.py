"""What the tests of migrations share."""

import time

from fastballoon_cli.machine import registry
from fastballoon_cli.qemu import migration
from fastballoon_cli.qemu.qmp import Qmp
from tests.conftest import await_true, qemus_below

MIB = 1 << 20
#: So slow that there is time to interfere.
SLOW = ("--bandwidth", "16M")


def generation(name):
    """Return how often a VM was migrated."""
    return registry.load(name).spec.generation


def one_qemu_has_the_guest(tool, name, *, generation=None):
    """Assert that one QEMU is left, is the VM's and has its guest running, and that there is nothing of another."""
    record = registry.load(name)
    await_true(lambda: qemus_below(tool.runtime / name) == [record.pid], what="one QEMU")
    folders = [entry.name for entry in (tool.runtime / name).iterdir() if entry.is_dir()]
    assert folders == [str(record.spec.generation)]
    assert generation is None or record.spec.generation == generation
    with Qmp(record.spec.observer_socket) as qmp:
        assert qmp.execute("query-status")["status"] == "running"


def begin(tool, name, *options):
    """Start the tool on a slow migration; return its process, and when it was started, as soon as memory is sent."""
    record = registry.load(name)
    since = time.monotonic()
    process = tool.start("--vm", name, "migrate", *SLOW, *options)
    with Qmp(record.spec.observer_socket) as qmp:

        def is_sending():
            return len(registry.processes(name)) == 2 and migration.query(qmp).status == "active"

        await_true(lambda: process.poll() is not None or is_sending(), seconds=60, what="an active migration")
    assert process.poll() is None, process.communicate()
    return process, since


def let_go(name):
    """Let a slow migration be complete."""
    with Qmp(registry.load(name).spec.observer_socket) as qmp:
        migration.set_limits(qmp, bandwidth=0, downtime_s=0.3)
