"""Processes that outlive the connection which started them, and are found again by name."""

import fcntl
import json
import os
import signal
import time
from collections.abc import Callable, Collection
from pathlib import Path
from types import FrameType
from typing import Any

from guest_agent import worker

#: Gone with the guest, like the jobs.
FOLDER = Path("/run/fastballoon/jobs")
_POLL_SECONDS = 0.02
#: To tell costs a guest without KVM a millisecond, so a job does it no more often than this.
_TELL_SECONDS = 0.25
_LONGEST_SLEEP = 0.5


class Job:
    """What a job's process uses: whether to go on, and where to tell how far it is.

    :param seconds: after so long it stops by itself, as whoever started it may be gone.
    """

    def __init__(self, name: str, seconds: float) -> None:
        self._path = FOLDER / f"{name}.json"
        self._end = time.monotonic() + seconds
        self._told = 0.0
        self._stopped = False
        signal.signal(signal.SIGTERM, self._stop)

    def goes_on(self) -> bool:
        """Return whether nobody has asked it to stop."""
        return not self._stopped and time.monotonic() < self._end

    def sleep(self, seconds: float) -> None:
        """Sleep for so long, or until it is to stop."""
        until = time.monotonic() + seconds
        while self.goes_on() and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, _LONGEST_SLEEP))

    def tell(self, *, done: bool = False, **numbers: int | list[int] | list[float]) -> None:
        """Say how far it is.

        :param done: it has done what there was to do after being asked to stop. One that stops by itself is not done.
        """
        now = time.monotonic()
        if not done and now - self._told < _TELL_SECONDS:
            return
        self._told = now
        aside = self._path.with_suffix(".new")
        aside.write_text(json.dumps({"pid": os.getpid(), "done": done and self._stopped, **numbers}))
        aside.rename(self._path)

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stopped = True


def start(name: str, work: Callable[[Job], None], *, seconds: float) -> None:
    """Start a process that does ``work``; one of the same name that is left over is killed before."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    kill([name])
    # The lock says whether it is alive: the kernel drops it with the process, and no pid has to be trusted.
    lock = os.open(FOLDER / f"{name}.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    if os.fork() == 0:
        try:
            worker.leave_connection()
            worker.when_memory_runs_out(worker.FIRST_TO_GO)
            job = Job(name, seconds)
            job.tell()
            work(job)
        finally:
            os._exit(0)
    os.close(lock)


def alive(name: str) -> bool:
    """Return whether a job's process is there."""
    try:
        lock = os.open(FOLDER / f"{name}.lock", os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def told(name: str) -> dict[str, Any]:
    """Return what a job told last; nothing if it has told nothing yet."""
    try:
        found: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    except FileNotFoundError:
        return {}
    return found


def await_all(names: Collection[str], there: Callable[[str], bool], *, seconds: float) -> list[str]:
    """Wait until each job is where it should be; return those that ended before, or did not get there in time."""
    deadline = time.monotonic() + seconds
    waiting = list(names)
    ended = []
    while waiting and time.monotonic() < deadline:
        # Alive first: what it told before it ended is still looked at.
        live = {name for name in waiting if alive(name)}
        there_now = {name for name in waiting if there(name)}
        ended += [name for name in waiting if name not in live | there_now]
        waiting = [name for name in waiting if name in live - there_now]
        if waiting:
            time.sleep(_POLL_SECONDS)
    return ended + waiting


def finish(names: Collection[str], *, seconds: float) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Ask jobs to stop and wait until they are done; none of them is left.

    :returns: what each told last, and those that died or hung before they were done.
    """
    for name in names:
        _signal(name, signal.SIGTERM)
    failed = await_all(names, lambda name: bool(told(name).get("done")), seconds=seconds)
    last = {name: told(name) for name in names}
    kill(names)
    return last, failed


def kill(names: Collection[str]) -> None:
    """Kill jobs and forget what they told; those that are not there are no matter."""
    for name in names:
        while alive(name):
            _signal(name, signal.SIGKILL)
            time.sleep(_POLL_SECONDS)
        for ending in ("json", "lock"):
            (FOLDER / f"{name}.{ending}").unlink(missing_ok=True)


def _signal(name: str, number: signal.Signals) -> None:
    if not (pid := told(name).get("pid")):
        return
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        # While it is alive the pid is its own; it may end at any moment, be it because it is done.
        if alive(name):
            signal.pidfd_send_signal(process, number)
    except ProcessLookupError:
        pass
    finally:
        os.close(process)
