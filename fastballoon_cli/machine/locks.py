"""A lock per machine: whoever works with one holds a folder. The kernel drops the lock with the process."""

import fcntl
import json
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fastballoon_cli.errors import PreconditionError

__all__ = ["HOLDER", "locked"]

#: The file in a folder that says who holds it.
HOLDER = "holder.json"


@contextmanager
def locked(folder: Path, name: str, *, create: bool = False, remove: bool = False) -> Iterator[int]:
    """Hold a machine's folder for one command; no lock is ever left behind.

    Yields the descriptor that is locked, for a process that must go on holding the machine should this one be killed.

    :param name: what the machine is called.
    :param create: make the folder if it is missing.
    :param remove: remove it at the end, unless something was left in it for the next one who holds it.
    :raise PreconditionError: another process holds it.
    :raise FileNotFoundError: it is missing.
    """
    handle = _open_locked(folder, name, create)
    # By way of what is locked: at the folder's path there may be the next VM of that name by the end of this one.
    holder = Path(f"/proc/self/fd/{handle}") / HOLDER
    try:
        holder.write_text(json.dumps({"pid": os.getpid(), "command": shlex.join(["fastballoon", *sys.argv[1:]])}))
        yield handle
    finally:
        holder.unlink(missing_ok=True)
        if remove:
            with suppress(OSError):
                folder.rmdir()
        os.close(handle)


def _open_locked(folder: Path, name: str, create: bool) -> int:
    # The folder itself is locked: a lock file would have to be removed, and whoever removes one races. The folder may
    # be removed as well, between its opening and its locking, so what was locked must still be what is at the path.
    while True:
        if create:
            folder.mkdir(mode=0o700, exist_ok=True)
        try:
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            if create:
                continue
            raise
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(handle), folder.stat()):
                return handle
        except FileNotFoundError:
            pass
        except BlockingIOError:
            os.close(handle)
            raise PreconditionError(
                f"VM '{name}' is in use{_holder(folder)}",
                hint="wait until it has ended, or use another VM with --vm",
            ) from None
        except BaseException:
            os.close(handle)  # what is interrupted here must not go on holding the VM
            raise
        os.close(handle)


def _holder(folder: Path) -> str:
    try:
        raw = json.loads((folder / HOLDER).read_text())
        return f" by '{raw['command']}' (pid {raw['pid']})"
    except (OSError, ValueError, KeyError):
        return ""  # it has just begun, or is just ending
