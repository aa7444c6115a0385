"""One builder at a time: locks that the kernel of the operating system releases, however their holder ends."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from fastballoon_cli.build.paths import locks_dir
from fastballoon_cli.progress import Progress

__all__ = ["locked"]

_POLL_SECONDS = 0.1


@contextmanager
def locked(name: str, doing: str, progress: Progress) -> Iterator[int]:
    """Hold the lock ``name``; yields its descriptor.

    Waits for another holder as long as it takes and says at once who that is. A lock is a descriptor, not the file's
    existence, so there are no stale ones.

    :param doing: what the holder does, told to those that wait.
    """
    path = locks_dir() / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        _acquire(fd, progress)
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"(pid {os.getpid()}) {doing}".encode(), 0)
        yield fd
    finally:
        os.close(fd)


def _acquire(fd: int, progress: Progress) -> None:
    told = ""
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # Polled, as a blocking flock in a thread could not be interrupted.
            holder = os.pread(fd, 200, 0).decode(errors="replace")
            if holder and holder != told:
                progress.warn(f"waiting for another fastballoon {holder}")
                told = holder
            time.sleep(_POLL_SECONDS)
        else:
            return
