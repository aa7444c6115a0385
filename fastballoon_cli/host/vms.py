"""The registry of running VMs: a private folder per VM, a lock per VM, and a record of its QEMU process."""

import fcntl
import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from fastballoon_cli.config import runtime_dir
from fastballoon_cli.errors import PreconditionError, UsageError, VmLostError
from fastballoon_cli.host import procfs
from fastballoon_cli.host.qemu import QemuSpec

__all__ = [
    "Record",
    "all_names",
    "forget",
    "forget_processes",
    "forget_unless_alive",
    "load",
    "lock",
    "processes",
    "save",
    "save_process",
    "vm_dir",
]

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_RECORD = "vm.json"
_HOLDER = "holder.json"


@dataclass(frozen=True, kw_only=True)
class Record:
    """What is kept of a VM between two runs of the tool.

    :ivar kernel, qemu: variant of either half, such as ``fast`` or ``stock``.
    :ivar pid, started: QEMU's process; the start time keeps a recycled pid from being taken for it.
    :ivar built: facts about the artifacts, for a result's provenance.
    """

    spec: QemuSpec
    kernel: str
    qemu: str
    pid: int
    started: int
    ready: bool = False
    built: dict[str, Any] = field(default_factory=dict)

    @property
    def alive(self) -> bool:
        """Whether QEMU is still the process that was started."""
        return procfs.start_time(self.pid) == self.started

    def require_alive(self) -> None:
        """Raise :class:`VmLostError`, with QEMU's last words, if QEMU has ended."""
        if not self.alive:
            log = self.spec.qemu_log
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-5:]) if log.exists() else ""
            raise VmLostError(
                f"VM '{self.spec.name}' was lost: its QEMU (pid {self.pid}) has ended",
                hint=f"start it again: fastballoon vm start --name {self.spec.name}",
                details=tail or None,
            )

    def mark_ready(self) -> "Record":
        """Return the record of a VM that has booted."""
        return replace(self, ready=True)


def vm_dir(name: str) -> Path:
    """Return a VM's folder, which need not exist.

    :raise UsageError: the name cannot be one.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"'{name}' cannot be a VM's name",
            hint="use up to 32 of a-z, 0-9, '-' and '_', beginning with a letter or digit",
        )
    return runtime_dir() / name


def all_names() -> list[str]:
    """Return the names of all VMs that have a folder, dead ones too."""
    return sorted(entry.name for entry in runtime_dir().iterdir() if _NAME.fullmatch(entry.name) and entry.is_dir())


def load(name: str) -> Record | None:
    """Return a VM's record, or None if there is no such VM."""
    return _read(vm_dir(name) / _RECORD)


def processes(name: str) -> list[Record]:
    """Return the records of all QEMU processes that a VM has: two while it migrates, the source first."""
    found = [_read(folder / _RECORD) for folder in vm_dir(name).iterdir() if folder.name.isdigit()]
    return sorted((record for record in found if record), key=lambda record: record.spec.generation)


def _read(path: Path) -> Record | None:
    try:
        raw = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    spec = raw.pop("spec")
    for key in ("binary", "kernel", "rootfs", "directory"):
        spec[key] = Path(spec[key])
    spec["zero_image"] = spec["zero_image"] and Path(spec["zero_image"])
    spec["firmware"] = tuple(map(Path, spec["firmware"]))
    return Record(spec=QemuSpec(**spec), **raw)


def save(record: Record) -> None:
    """Write a VM's record; a reader sees the old one or the new one, never half of it."""
    _write(record, record.spec.directory / _RECORD)


def save_process(record: Record) -> None:
    """Write the record of one QEMU process, whether it has the VM's guest or waits for it."""
    _write(record, record.spec.process_directory / _RECORD)


def _write(record: Record, path: Path) -> None:
    aside = path.with_suffix(".new")
    aside.write_text(json.dumps(asdict(record), default=str, indent=1))
    aside.rename(path)


def forget_processes(record: Record) -> None:
    """Remove what other QEMU processes have left in a VM's folder; this one's stays."""
    for entry in record.spec.directory.iterdir():
        if entry.is_dir() and entry.name.isdigit() and entry != record.spec.process_directory:
            shutil.rmtree(entry, ignore_errors=True)


def forget(name: str) -> None:
    """Remove a VM's folder with all that is in it."""
    shutil.rmtree(vm_dir(name), ignore_errors=True)


def forget_unless_alive(name: str) -> bool:
    """Return whether a VM runs; remove the folder of one that does not, unless somebody holds it."""
    if (record := load(name)) and record.alive:
        return True
    try:
        with lock(name):
            # Between the first look and the lock its guest may have moved on to another QEMU.
            if (record := load(name)) and record.alive:
                return True
            forget(name)
    except PreconditionError:
        pass  # it is being started
    return False


@contextmanager
def lock(name: str, *, create: bool = False) -> Iterator[int | None]:
    """Hold a VM for one command. The kernel drops the lock with the process, so that none is ever left behind.

    Yields the descriptor that is locked, for a process that must go on holding the VM should this one be killed.

    :param create: make the VM's folder if it is missing; otherwise nothing is locked then, and None is yielded.
    :raise PreconditionError: another process holds it.
    """
    folder = vm_dir(name)
    handle = _open_locked(folder, create)
    if handle is None:
        yield None
        return
    try:
        (folder / _HOLDER).write_text(
            json.dumps({"pid": os.getpid(), "command": shlex.join(["fastballoon", *sys.argv[1:]])})
        )
        yield handle
    finally:
        (folder / _HOLDER).unlink(missing_ok=True)
        os.close(handle)


def _open_locked(folder: Path, create: bool) -> int | None:
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
            return None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(handle), folder.stat()):
                return handle
        except FileNotFoundError:
            pass
        except BlockingIOError:
            os.close(handle)
            raise PreconditionError(
                f"VM '{folder.name}' is in use{_holder(folder)}",
                hint="wait until it has ended, or use another VM with --vm",
            ) from None
        except BaseException:
            os.close(handle)  # what is interrupted here must not go on holding the VM
            raise
        os.close(handle)


def _holder(folder: Path) -> str:
    try:
        raw = json.loads((folder / _HOLDER).read_text())
        return f" by '{raw['command']}' (pid {raw['pid']})"
    except (OSError, ValueError, KeyError):
        return ""  # it has just begun, or is just ending
