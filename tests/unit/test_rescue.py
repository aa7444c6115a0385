"""What brings a migration to an end whose tool was killed, in the process that the guardian becomes."""

import subprocess
import sys
from pathlib import Path

import pytest

import fastballoon_cli
from fastballoon_cli.machine import registry, switchover
from tests.conftest import await_true
from tests.unit.made import record

pytestmark = pytest.mark.usefixtures("runtime")

_HOST = Path(fastballoon_cli.__file__).parent / "host"


def rescue(name, cwd):
    return subprocess.run(
        switchover.rescue_command(name), cwd=cwd, capture_output=True, text=True, timeout=30, check=False
    )


@pytest.mark.parametrize("where", ["modules of the same names", "host"])
def test_it_runs_wherever_the_user_is(tmp_path, where):
    """As often as not the user's folder has a module whose name is one of ours, or of the standard library's."""
    folder = _HOST if where == "host" else tmp_path / "work"
    if where != "host":
        folder.mkdir()
        for module in ("json", "signal", "contextlib", "fastballoon_cli"):
            (folder / f"{module}.py").write_text("raise SystemExit(77)\n")
    made = record("v")
    left = made.spec.directory / "1"
    left.mkdir()
    ended = rescue("v", folder)
    assert ended.returncode == 0, ended.stderr
    assert registry.load("v") == made
    assert not left.exists()


def test_it_kills_nobody_whom_it_knows_too_little_about(tmp_path):
    """A destination that may have the guest stays; who works with the VM next settles it."""
    child = tmp_path / "child"
    record("v")
    (registry.vm_dir("v") / "vm.json").write_text("{}")
    line = (
        "import subprocess, sys; "
        f"open({str(child)!r}, 'w').write(str(subprocess.Popen(['sleep', '1000'], stdout=-3, stderr=-3).pid)); "
        "from fastballoon_cli import rescue; sys.exit(rescue.main('v'))"
    )
    ended = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, timeout=30, check=False)
    pid = int(child.read_text())
    try:
        assert ended.returncode == 1
        assert "cannot be read" in ended.stderr
        assert registry.procfs.start_time(pid)
    finally:
        registry.procfs.kill(pid, registry.procfs.start_time(pid))
        await_true(lambda: registry.procfs.start_time(pid) is None)


def test_a_vm_that_was_not_to_outlive_the_tool_does_not(tmp_path):
    """Becoming that program, as the guardian does; the destination is its child."""
    child = tmp_path / "child"
    record("v")
    line = (
        "import os, subprocess, sys; "
        f"open({str(child)!r}, 'w').write(str(subprocess.Popen(['sleep', '1000'], stdout=-3, stderr=-3).pid)); "
        f"os.execv(sys.executable, {switchover.rescue_command('v', ends=True)!r})"
    )
    ended = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 0, ended.stderr
    await_true(lambda: registry.procfs.start_time(int(child.read_text())) is None)
    assert not registry.vm_dir("v").exists()
