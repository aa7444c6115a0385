"""Guests that live no longer than the tool, a bench's say, wherever they have moved in the meantime."""

import subprocess
import sys

import pytest

from fastballoon_cli.ops import migrate, vm
from fastballoon_cli.progress import Silent
from tests.conftest import await_true, qemus_below
from tests.guest.migrating import MIB, one_qemu_has_the_guest

pytestmark = pytest.mark.guest

_REQUEST = dict(memory_bytes=512 * MIB, kernel="stock", qemu="stock")


@pytest.mark.long
def test_it_can_be_migrated_and_ends_with_its_context(tool):
    """Each bench of migrations has that, too."""
    with vm.borrow(vm.Request(name="lent", **_REQUEST), Silent()) as session:
        migrate.migrate(session, migrate.Options(), progress=Silent())
        one_qemu_has_the_guest(tool, "lent", generation=1)
        assert "is in use" in tool.refused(3, "--vm", "lent", "deflate")["message"]
    assert "lent" not in tool.folders()
    assert not qemus_below(tool.runtime / "lent")


def test_it_ends_with_a_killed_tool_after_a_migration_too(tool):
    code = f"""
import time
from fastballoon_cli.ops import migrate, vm
from fastballoon_cli.progress import Silent

with vm.borrow(vm.Request(name="lent", **{_REQUEST!r}), Silent()) as session:
    migrate.migrate(session, migrate.Options(), progress=Silent())
    print("moved", flush=True)
    time.sleep(1000)
"""
    process = subprocess.Popen([sys.executable, "-c", code], env=tool.environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "moved\n"
        assert len(qemus_below(tool.runtime / "lent")) == 1
    finally:
        process.kill()
        process.wait()
    await_true(lambda: not qemus_below(tool.runtime / "lent") and "lent" not in tool.folders(), what="its end")
