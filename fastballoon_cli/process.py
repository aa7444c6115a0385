"""Start commands that end with the tool, and say how they failed."""

import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from fastballoon_cli import guardian
from fastballoon_cli.errors import BuildError, FastballoonError, PreconditionError

__all__ = ["Guarded", "paste", "run"]

_TAIL_LINES = 15


def paste(argv: Sequence[str | Path]) -> str:
    """Return ``argv`` as a line that can be pasted into a shell."""
    return shlex.join(map(str, argv))


class Guarded:
    """A command under a guardian: killed with all its descendants if the tool dies or :meth:`kill` is called.

    :param cleanup: a folder that the guardian removes when the tool is gone.
    :param orphaned: a command that decides, if the tool dies, what becomes of this one, instead of having it killed.
    :param hold: descriptors that stay open until the command and all its descendants are gone, even if the tool is
        killed before: locks on what the command writes to.
    :raise PreconditionError: the command could not be started.
    """

    def __init__(
        self,
        argv: Sequence[str | Path],
        *,
        stdout: int | IO[bytes],
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        cleanup: Path | None = None,
        orphaned: Sequence[str] = (),
        hold: Collection[int] = (),
    ) -> None:
        status_read, status_write = os.pipe()
        try:
            self._guardian = subprocess.Popen(
                [
                    # By its path and isolated: starts faster, and no module in the command's folder gets in its way.
                    *(sys.executable, "-I", "-S", guardian.__file__),
                    *(str(status_write), str(cleanup or "-")),
                    *(str(len(orphaned)), *orphaned, "--"),
                    *map(str, argv),
                ],
                stdin=subprocess.PIPE,
                stdout=stdout,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env=env,
                pass_fds=[status_write, *hold],
                start_new_session=True,
            )
        except BaseException:
            os.close(status_read)
            raise
        finally:
            os.close(status_write)
        with open(status_read, "rb") as status:
            answer = status.read()
        if not answer or answer.startswith(b"!"):
            self.kill()
            reason = answer[1:].decode() or "its guardian died"
            raise PreconditionError(f"cannot start '{argv[0]}': {reason}")
        #: pid of the command itself
        self.pid = int(answer)

    @property
    def stdout(self) -> IO[bytes]:
        """The command's output, when it was started with ``stdout=subprocess.PIPE``."""
        assert self._guardian.stdout is not None
        return self._guardian.stdout

    def poll(self) -> int | None:
        """Return the exit status, 128 + N for signal N, or None while it runs."""
        return self._guardian.poll()

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status once the command and all its descendants have ended.

        :raise subprocess.TimeoutExpired: after ``timeout`` seconds.
        """
        return self._guardian.wait(timeout)

    def kill(self) -> None:
        """Kill the command and its descendants and wait until they are gone."""
        self._say(b"k")

    def release(self) -> None:
        """Let the command live on without the tool."""
        self._say(b"r")

    def _say(self, word: bytes) -> None:
        assert self._guardian.stdin is not None
        with suppress(BrokenPipeError, ValueError):  # it has ended with the command, or was told before
            self._guardian.stdin.write(word)
            self._guardian.stdin.close()
        self._guardian.wait()


@contextmanager
def _guarded(child: Guarded) -> Iterator[Guarded]:
    try:
        yield child
    finally:
        if child.poll() is None:
            child.kill()


def run(
    argv: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str | None] | None = None,
    hold: Collection[int] = (),
    log: Path | None = None,
    on_line: Callable[[str], None] | None = None,
    error: type[FastballoonError] = BuildError,
    hint: str | None = None,
) -> str:
    """Run a command to its end and return its output (both streams, decoded).

    :param env: added to the present environment; None takes a variable out of it.
    :param hold: see :class:`Guarded`.
    :param log: a file that gets a copy of the output, appended.
    :param on_line: called with each line of output as it comes.
    :param error: raised when the command fails; its message is the command line ready to paste, its details the last
        lines of the output.
    """
    output: list[str] = []
    merged = {name: value for name, value in {**os.environ, **(env or {})}.items() if value is not None}
    child = Guarded(argv, stdout=subprocess.PIPE, cwd=cwd, env=merged, hold=hold)
    with _guarded(child), open(log or os.devnull, "ab") as copy:
        copy.write(f"$ {paste(argv)}\n".encode())
        for raw in child.stdout:
            copy.write(raw)
            line = raw.decode(errors="replace")
            output.append(line)
            if on_line:
                on_line(line.rstrip("\n"))
        status = child.wait()
    if status:
        where = f"  (in {cwd})" if cwd else ""
        tail = "".join(output[-_TAIL_LINES:]).rstrip()
        full = f"\nfull log: {log}" if log else ""
        raise error(f"exit {status} from: {paste(argv)}{where}", hint=hint, details=tail + full)
    return "".join(output)
