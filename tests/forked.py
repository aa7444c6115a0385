"""The tool in a process of its own, forked rather than started: of a start, most is importing what is here already."""

import os
import select
import signal
import sys
import tempfile
import traceback
from collections.abc import Mapping
from pathlib import Path
from subprocess import CompletedProcess, TimeoutExpired

from fastballoon_cli.__main__ import main


def run(arguments: tuple[str, ...], environment: Mapping[str, str], *, timeout: float) -> CompletedProcess[str]:
    """Run ``fastballoon ARGUMENTS`` with an environment of its own and return how it ended.

    :raise TimeoutExpired: it did not within ``timeout`` seconds, and was killed.
    """
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "stdout"), Path(folder, "stderr")
        pid = os.fork()
        if pid == 0:
            code = 70  # of an exception that main() let through; its traceback fails the test
            try:
                code = _become(arguments, environment, out, err)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        watched = os.pidfd_open(pid)
        try:
            ended = bool(select.select([watched], [], [], timeout)[0])
        finally:
            # Also when the test is given up.
            os.close(watched)
            os.kill(pid, signal.SIGKILL)
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if not ended:
            raise TimeoutExpired(arguments, timeout)
        return CompletedProcess(arguments, code, out.read_text(), err.read_text())


def _become(arguments: tuple[str, ...], environment: Mapping[str, str], out: Path, err: Path) -> int:
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
