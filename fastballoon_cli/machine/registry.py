"""The registry of running VMs: a private folder per VM, a lock per VM, and a record of its QEMU process.

Those that were attached are in it, too: of these the record is all that the folder has.
"""

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeAlias

from fastballoon_cli.aside import write_whole
from fastballoon_cli.config import runtime_dir
from fastballoon_cli.errors import PreconditionError, UsageError, VmLostError
from fastballoon_cli.guest.login import HOST_ALIAS, Login
from fastballoon_cli.host import procfs
from fastballoon_cli.machine.attached import Attached, not_started_here
from fastballoon_cli.machine.base import Machine
from fastballoon_cli.machine.facts import Facts
from fastballoon_cli.machine.local import LocalQemu, line
from fastballoon_cli.machine.locks import locked
from fastballoon_cli.machine.spec import QemuSpec
from fastballoon_cli.qemu.monitor import Monitor
from fastballoon_cli.qemu.qmp import Qmp

__all__ = [
    "Record",
    "Recorded",
    "UnknownRecordError",
    "all_names",
    "exists",
    "forget",
    "forget_processes",
    "forget_unless_alive",
    "is_attached",
    "lives",
    "load",
    "lock",
    "no_such",
    "processes",
    "require_started",
    "save",
    "save_attached",
    "save_process",
    "started",
    "vm_dir",
]

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_RECORD, _ATTACHED = "vm.json", "attached.json"
#: Of a record. A field may join without a new one: readers leave out what they do not know.
_SCHEMA_VERSION = 1


class UnknownRecordError(PreconditionError):
    """A VM's record that another version of the tool has written, or that is none.

    :ivar process: pid and start time of its QEMU, which each version writes; None if they are not there.
    """

    def __init__(self, name: str, reason: str, process: tuple[int, int] | None) -> None:
        super().__init__(
            f"the record of VM '{name}' cannot be read: {reason}",
            hint=_way_out(name, process is not None),
        )
        self.process = process


def _way_out(name: str, stoppable: bool) -> str:
    if is_attached(name):
        return f"use the fastballoon that attached it, or forget it: fastballoon vm detach {name}"
    if stoppable:
        return f"use the fastballoon that started it, or stop it: fastballoon vm stop {name}"
    return f"end its QEMU and remove {vm_dir(name)}"


@dataclass(frozen=True, kw_only=True)
class Record(LocalQemu):
    """What is kept of a VM that was started here, between two runs of the tool.

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
    def name(self) -> str:
        """The VM's name."""
        return self.spec.name

    @property
    def login(self) -> Login:
        """How to log in to the guest, whose init has started an agent."""
        folder = self.spec.directory
        return Login(
            port=self.spec.ssh_port, key=folder / "ssh_key", known_hosts=folder / "known_hosts", alias=HOST_ALIAS
        )

    @property
    def agent_socket(self) -> None:
        """The guest has one agent, behind SSH."""
        return None

    @property
    def qga_socket(self) -> None:
        """As for the other socket."""
        return None

    def not_ours(self) -> PreconditionError:
        """Never asked of a VM that was started here."""
        raise AssertionError(f"VM '{self.name}' was started here")

    def console(self) -> str:
        """Return how to see what its guest says."""
        return f"look at the guest's console: fastballoon --vm {self.name} vm console --log"

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

    @property
    def qmp_socket(self) -> Path:
        """The monitor of whoever holds the VM's lock."""
        return self.spec.qmp_socket

    def mark_ready(self) -> "Record":
        """Return the record of a VM that has booted."""
        return replace(self, ready=True)

    def monitor(self) -> Qmp:
        """Connect to the monitor of whoever holds the VM's lock."""
        return Qmp(self.spec.qmp_socket)

    def observer(self) -> Qmp:
        """Connect to the monitor of those who only look."""
        return Qmp(self.spec.observer_socket)

    def facts(self, _: Monitor) -> Facts:
        """Return what this VM was started with."""
        spec = self.spec
        return Facts(
            name=spec.name,
            memory_bytes=spec.memory_bytes,
            cpus=spec.cpus,
            accel=spec.accel,
            lent_bytes=spec.pluggable_bytes,
            ballooned_bytes=spec.memory_bytes - spec.pluggable_bytes,
            kernel=self.kernel,
            qemu=self.qemu,
            built=self.built,
        )

    def tell(self, command: str, arguments: Mapping[str, object]) -> str:
        """Return a command to its monitor."""
        return line(self.qmp_socket, command, arguments)


#: A VM that has a record here, whoever has started it.
Recorded: TypeAlias = Record | Attached


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


def load(name: str) -> Recorded | None:
    """Return a VM's record, or None if there is no such VM.

    :raise UnknownRecordError: another version of the tool has written it.
    """
    return _read(name, vm_dir(name) / _RECORD) or _read_attached(name)


def started(name: str) -> Record | None:
    """Return the record of a VM that was started here, or None if there is no such VM.

    :raise PreconditionError: it was attached, or another version of the tool has written its record.
    """
    if is_attached(name):
        raise not_started_here(name)  # whatever its record says: nobody here may end it
    return _read(name, vm_dir(name) / _RECORD)


def require_started(machine: Machine) -> Record:
    """Check that a VM was started here.

    :raise PreconditionError: it was not.
    """
    if not isinstance(machine, Record):
        raise machine.not_ours()
    return machine


def processes(name: str) -> list[Record]:
    """Return the records of all QEMU processes that a VM has: two while it migrates, the source first.

    :raise UnknownRecordError: another version of the tool has written one of them.
    """
    try:
        inner = [entry for entry in vm_dir(name).iterdir() if entry.name.isdigit()]
    except FileNotFoundError:
        return []  # it was never there, or has just been stopped
    found = [record for entry in inner if (record := _read(name, entry / _RECORD))]
    return sorted(found, key=lambda record: record.spec.generation)


def _read(name: str, path: Path) -> Record | None:
    try:
        text = path.read_text()
    except FileNotFoundError:
        return None
    raw: Any = None
    try:
        raw = json.loads(text)
        _check_version(raw)
        spec = {key: value for key, value in raw["spec"].items() if key in _names(QemuSpec)}
        for key in ("binary", "kernel", "rootfs", "directory"):
            spec[key] = Path(spec[key])
        spec["zero_image"] = spec["zero_image"] and Path(spec["zero_image"])
        spec["firmware"] = tuple(map(Path, spec["firmware"]))
        record = {key: value for key, value in raw.items() if key in _names(Record)}
        return Record(**record | {"spec": QemuSpec(**spec)})
    except (ValueError, TypeError, KeyError, AttributeError) as e:
        raise _unknown(name, raw, e) from e


def _read_attached(name: str) -> Attached | None:
    try:
        text = (vm_dir(name) / _ATTACHED).read_text()
    except FileNotFoundError:
        return None
    raw: Any = None
    try:
        raw = json.loads(text)
        _check_version(raw)
        agent, qga, login = (raw.get(name) for name in ("agent_socket", "qga_socket", "login"))
        return Attached(
            name=name,
            qmp_socket=Path(raw["qmp_socket"]),
            pid=int(raw["pid"]),
            started=int(raw["started"]),
            login=login and Login(**login | {name: Path(login[name]) for name in ("key", "known_hosts")}),
            agent_socket=agent and Path(agent),
            qga_socket=qga and Path(qga),
        )
    except (ValueError, TypeError, KeyError, AttributeError) as e:
        raise _unknown(name, raw, e) from e


def exists(name: str) -> bool:
    """Return whether there is a VM of that name here, whatever its record says; False for what can be no name."""
    return bool(_NAME.fullmatch(name)) and (runtime_dir() / name).is_dir()


def is_attached(name: str) -> bool:
    """Return whether something else has started a VM."""
    return (vm_dir(name) / _ATTACHED).exists()


def _names(kind: type[Record] | type[QemuSpec]) -> set[str]:
    return {one.name for one in fields(kind)}


def _check_version(raw: Any) -> None:
    version = raw.get("schema_version", _SCHEMA_VERSION)
    if version != _SCHEMA_VERSION:
        raise ValueError(f"it has version {version}, and this fastballoon reads version {_SCHEMA_VERSION}")


def _unknown(name: str, raw: Any, error: Exception) -> UnknownRecordError:
    pid, started = (raw.get("pid"), raw.get("started")) if isinstance(raw, dict) else (None, None)
    process = (pid, started) if isinstance(pid, int) and isinstance(started, int) else None
    return UnknownRecordError(name, f"it lacks {error}" if isinstance(error, KeyError) else str(error), process)


def save(record: Record) -> None:
    """Write a VM's record; a reader sees the old one or the new one, never half of it."""
    _write(record, record.spec.directory / _RECORD)


def save_attached(record: Attached) -> None:
    """Write the record of a VM that was attached; its folder must be there."""
    document = {"schema_version": _SCHEMA_VERSION, **asdict(record)}
    write_whole(vm_dir(record.name) / _ATTACHED, json.dumps(document, default=str, indent=1))


def save_process(record: Record) -> None:
    """Write the record of one QEMU process, whether it has the VM's guest or waits for it."""
    _write(record, record.spec.process_directory / _RECORD)


def _write(record: Record, path: Path) -> None:
    document = {"schema_version": _SCHEMA_VERSION, **asdict(record)}
    write_whole(path, json.dumps(document, default=str, indent=1))


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
    if lives(name):
        return True
    try:
        with lock(name):
            # Between the first look and the lock its guest may have moved on to another QEMU.
            if lives(name):
                return True
            forget(name)
    except PreconditionError:
        pass  # it is being started, or has just been stopped
    return False


def lives(name: str) -> bool:
    """Return whether any QEMU of a VM is there: after a migration that was cut short, it is not the recorded one."""
    try:
        records: list[Recorded | None] = [*processes(name), load(name)]
    except UnknownRecordError as e:
        # Where nothing can be known of its QEMU, it is not for this tool to say that there is none.
        return e.process is None or procfs.start_time(e.process[0]) == e.process[1]
    return any(record and record.alive for record in records)


@contextmanager
def lock(name: str, *, create: bool = False) -> Iterator[int]:
    """Hold a VM for one command, see :func:`fastballoon_cli.machine.locks.locked`.

    :param create: make the VM's folder if it is missing.
    :raise PreconditionError: another process holds it, or there is no such VM.
    """
    with ExitStack() as held:
        try:
            handle = held.enter_context(locked(vm_dir(name), name, create=create))
        except FileNotFoundError:
            raise no_such(name) from None
        yield handle


def no_such(name: str) -> PreconditionError:
    """Return the error that there is no VM of that name."""
    return PreconditionError(
        f"there is no VM '{name}'",
        hint=f"start it: fastballoon vm start --name {name}; or see: fastballoon vm list",
    )
