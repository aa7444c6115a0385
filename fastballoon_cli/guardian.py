"""Run a command that must not outlive the tool: ``guardian.py STATUS_FD CLEANUP N WORD... -- ARGV...``.

The tool may be killed at any moment, also with SIGKILL, and then nobody is left to clean up what it started. So it
starts a guardian, and the guardian starts the command. Standard input is the lifeline, a pipe whose other end only the
tool holds:

- end of file: the tool is gone. Kill the command with all its descendants, remove the folder CLEANUP (``-`` for none).
  But if N is not 0, become the program of those N WORDs instead: it has the command as its child, and knows better
  what to do with it.
- ``k``: the tool wants that killing and removing.
- ``r``: the tool lets the command go on by itself (a VM that has booted). Leave without touching it.

The command's pid, or ``!`` and the reason why it could not be started, is written to STATUS_FD. The exit status is the
command's, 128 + N if signal N ended it. Uses the standard library only and imports little: every VM start waits for it.
"""

import contextlib
import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_LIFELINE = 0


def _children() -> list[int]:
    pids: list[int] = []
    for task in Path("/proc/self/task").iterdir():
        pids += map(int, (task / "children").read_text().split())
    return pids


def _kill_descendants() -> None:
    """Kill until nothing is left: as subreaper, orphans of a killed child become children of this process."""
    while pids := _children():
        for pid in pids:
            os.kill(pid, signal.SIGKILL)  # not reaped yet, so the pid cannot have been given to another process
        for _ in pids:
            os.wait()


def _wake_on_child_end() -> int:
    """Return a descriptor that becomes readable when a child ends."""
    readable, writable = os.pipe()
    os.set_blocking(writable, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    return readable


def _ended(pid: int) -> bool:
    """Say whether this child has ended (it is left to be waited for); reap all others that have.

    Others are orphans of the command, which become children of a subreaper. A command may wait until its helper is gone
    (fakeroot does), and that it is only when it was reaped.
    """
    while found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        if found.si_pid == pid:
            return True
        os.waitpid(found.si_pid, 0)
    return False


def _tell(status_fd: int, word: str) -> None:
    # A tool that was killed by now reads nothing; that must not end the guardian before it has looked at the lifeline.
    with contextlib.suppress(BrokenPipeError):
        os.write(status_fd, word.encode())
    os.close(status_fd)


def main(argv: list[str]) -> int:
    """Guard one command; see the module's text."""
    status_fd, cleanup, words = int(argv[0]), argv[1], int(argv[2])
    orphaned, command = argv[3 : 3 + words], argv[4 + words :]
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    wake = _wake_on_child_end()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # the tool may not be meant by it, but the command is
    try:
        # Own session: Ctrl-C on the terminal reaches the tool, which then decides.
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    except OSError as e:
        _tell(status_fd, f"!{e.strerror}")
        return 127
    _tell(status_fd, str(child.pid))

    while not _ended(child.pid):
        ready, _, _ = select.select([_LIFELINE, wake], [], [])
        if _LIFELINE not in ready:
            os.read(wake, 64)
            continue
        word = os.read(_LIFELINE, 1)
        if word == b"r":
            os._exit(0)  # no destructor of Popen, no wait: the command is on its own now
        if not word and orphaned:
            os.execv(orphaned[0], orphaned)
        _kill_descendants()
        if cleanup != "-":
            shutil.rmtree(cleanup, ignore_errors=True)
        return 128 + signal.SIGKILL
    code = child.wait()
    _kill_descendants()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
