"""The command line in a process of its own, with no VM, no cache and no configuration of the user's."""

import os
import signal
import sys
import time
import traceback
from pathlib import Path
from subprocess import CompletedProcess, TimeoutExpired

import pytest

from fastballoon_cli.__main__ import main

_SECONDS = 60


def _become(arguments: tuple[str, ...], environment: dict[str, str], out: Path, err: Path) -> int:
    """Be the tool, in a process that was forked for it; return its exit code."""
    os.environ.clear()
    os.environ.update(environment)
    for number, path in enumerate((os.devnull, out, err)):
        opened = os.open(path, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(opened, number)
        os.close(opened)
    sys.argv = ["fastballoon", *arguments]
    sys.stdin, sys.stdout, sys.stderr = (os.fdopen(n, "w" if n else "r", closefd=False) for n in range(3))
    try:
        return main()
    except SystemExit as e:  # what completion ends with, by click's doing
        return int(e.code or 0)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


@pytest.fixture
def fastballoon(tmp_path):
    """Run the tool, forked rather than started: of what it does, most would be importing what is here already."""
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("FASTBALLOON")},
        "FASTBALLOON_RUNTIME": str(tmp_path / "run"),
        "FASTBALLOON_CACHE": str(tmp_path / "cache"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
    }
    out, err = tmp_path / "stdout", tmp_path / "stderr"

    def call(*arguments, **more):
        pid = os.fork()
        if pid == 0:
            code = 70  # of an exception that main() let through; its traceback fails the test
            try:
                code = _become(arguments, environment | more, out, err)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        deadline = time.monotonic() + _SECONDS
        while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                raise TimeoutExpired(arguments, _SECONDS)
            time.sleep(0.001)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        return CompletedProcess(arguments, code, out.read_text(), err.read_text())

    return call
