import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fastballoon_cli import guardian
from fastballoon_cli.errors import BuildError, PreconditionError
from fastballoon_cli.host.procfs import start_time
from fastballoon_cli.process import Guarded, run

# A command with a child and with an orphan in a session of its own, as build tools leave them.
_FAMILY = """
setsid sleep 1000 & echo $! > orphan
sleep 1000 & echo $! > child
echo ready; wait
"""


def family(tmp_path):
    return [int((tmp_path / name).read_text()) for name in ("orphan", "child")]


def await_true(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def test_kill_takes_all_descendants(tmp_path):
    child = Guarded(["bash", "-c", _FAMILY], stdout=subprocess.PIPE, cwd=tmp_path)
    assert child.stdout.readline() == b"ready\n"
    pids = [child.pid, *family(tmp_path)]
    assert all(start_time(pid) for pid in pids)
    child.kill()
    assert not any(start_time(pid) for pid in pids)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_outlives_a_killed_tool(tmp_path, number):
    folder = tmp_path / "vm"
    folder.mkdir()
    tool = subprocess.Popen(
        [sys.executable, "-c", f"""
import subprocess, time
from pathlib import Path
from fastballoon_cli.process import Guarded
here, folder = Path({str(tmp_path)!r}), Path({str(folder)!r})
Guarded(["bash", "-c", {_FAMILY!r}], stdout=subprocess.DEVNULL, cwd=here, cleanup=folder)
time.sleep(1000)
"""],
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    await_true(lambda: (tmp_path / "child").exists() and (tmp_path / "child").read_text())
    pids = family(tmp_path)
    tool.send_signal(number)
    tool.wait(10)
    await_true(lambda: not any(start_time(pid) for pid in pids))
    await_true(lambda: not folder.exists())


def test_a_tool_that_dies_before_the_command_has_started_leaves_nothing(tmp_path):
    status_read, status_write = os.pipe()
    os.close(status_read)  # nobody will ever read the pid
    marker = tmp_path / "pid"
    guardian_process = subprocess.Popen(
        [sys.executable, guardian.__file__, str(status_write), "-", "0", "--",
         "bash", "-c", f"echo $$ > {marker}; sleep 1000"],
        stdin=subprocess.PIPE,
        pass_fds=[status_write],
    )  # fmt: skip
    os.close(status_write)
    await_true(lambda: marker.exists() and marker.read_text())
    guardian_process.stdin.close()
    assert guardian_process.wait(10) == 128 + signal.SIGKILL
    assert not start_time(int(marker.read_text()))


def test_a_released_command_lives_on():
    child = Guarded(["sleep", "1000"], stdout=subprocess.DEVNULL)
    child.release()
    try:
        assert start_time(child.pid)
    finally:
        os.kill(child.pid, signal.SIGKILL)


def test_run_returns_the_output_and_says_how_a_command_failed(tmp_path):
    lines = []
    assert run(["bash", "-c", "echo one; echo two >&2"], on_line=lines.append) == "one\ntwo\n"
    assert lines == ["one", "two"]
    with pytest.raises(BuildError) as failure:
        run(["bash", "-c", "echo so it goes; exit 3"], cwd=tmp_path)
    assert "exit 3" in failure.value.message
    assert "bash -c 'echo so it goes; exit 3'" in failure.value.message
    assert failure.value.details == "so it goes"


def test_a_missing_command_is_named():
    with pytest.raises(PreconditionError, match="no-such-command"):
        Guarded([Path("no-such-command")], stdout=subprocess.DEVNULL)


def test_a_killed_tool_can_leave_the_decision_to_another_command(tmp_path):
    """The rescuer has the command as its child, and the descriptors that were to be held."""
    ran = tmp_path / "ran"
    tool = subprocess.Popen(
        [sys.executable, "-c", f"""
import os, subprocess, sys, time
from fastballoon_cli.process import Guarded
lock = os.open({str(tmp_path)!r}, os.O_RDONLY)
child = Guarded(["sleep", "1000"], stdout=subprocess.DEVNULL, hold=[lock], orphaned=[
    sys.executable, "-c", "import os, sys; open(sys.argv[1] + '.new', 'w').write(f'{{os.readlink(sys.argv[2])}} ' + "
    "open('/proc/self/task/%d/children' % os.getpid()).read()); os.rename(sys.argv[1] + '.new', sys.argv[1])",
    {str(ran)!r}, f"/proc/self/fd/{{lock}}"])
print(child.pid, flush=True)
time.sleep(1000)
"""],
        stdout=subprocess.PIPE,
    )  # fmt: skip
    pid = int(tool.stdout.readline())
    tool.kill()
    await_true(ran.exists)
    try:
        assert ran.read_text().split() == [str(tmp_path), str(pid)]
        assert start_time(pid)  # nobody has killed it
    finally:
        os.kill(pid, signal.SIGKILL)


def test_killing_on_purpose_asks_nobody(tmp_path):
    child = Guarded(["sleep", "1000"], stdout=subprocess.DEVNULL, orphaned=["/bin/touch", str(tmp_path / "asked")])
    child.kill()
    assert not start_time(child.pid)
    assert not (tmp_path / "asked").exists()
    child.kill()  # again is no matter


def test_a_guardian_that_cannot_be_started_leaves_no_descriptor(monkeypatch):
    whole, made = os.pipe, []

    def pipe():
        made.extend(whole())
        return tuple(made)

    def fail(*_, **__):
        raise OSError("no more processes")

    monkeypatch.setattr(os, "pipe", pipe)
    monkeypatch.setattr(subprocess, "Popen", fail)
    with pytest.raises(OSError, match="no more processes"):
        Guarded(["true"], stdout=subprocess.DEVNULL)
    for descriptor in made:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)
