"""Two QEMUs and one guest: whatever becomes of a migration, one of them has it in the end and the other is gone."""

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self, cast

import fastballoon_cli
from fastballoon_cli.errors import MigrationError, PreconditionError, VmLostError
from fastballoon_cli.host import procfs
from fastballoon_cli.host.room import free_port, require_memory
from fastballoon_cli.machine import registry
from fastballoon_cli.machine.registry import Record
from fastballoon_cli.machine.session import Session
from fastballoon_cli.machine.settle import settle
from fastballoon_cli.machine.spec import SOCKET_PATH
from fastballoon_cli.process import Guarded
from fastballoon_cli.qemu.qmp import Qmp, connect_when_ready
from fastballoon_cli.units import format_size

__all__ = ["Handover", "rescue_command"]

_START_SECONDS = 15.0
_PACKAGE = Path(fastballoon_cli.__file__).parent
_LAST_LINES = 5
_WORDS_SECONDS = 1.0
_POLL_SECONDS = 0.02
#: Isolated from the folder that the user happens to be in, any module of which could be taken for one of ours.
_RESCUE = (
    "import sys; sys.path.append(sys.argv[1]); from fastballoon_cli.rescue import main; sys.exit(main(*sys.argv[2:]))"
)


class Handover:
    """A second QEMU that waits for the guest of a session; a context manager.

    Leaving it, by an error or by Ctrl-C too, ends whichever QEMU does not have the guest, and the session goes on
    with the other one. If the tool is killed meanwhile, the destination's guardian has ``fastballoon_cli.rescue``
    do that; the guardian also holds the VM's lock until it is done.

    :ivar source, destination: the monitors.
    :raise PreconditionError: the host has too little memory, or the VM's folder has too long a path.
    :raise MigrationError: the destination does not come up.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._from = session.started
        spec = self._from.spec
        require_memory(spec.memory_bytes, f"a second QEMU with {format_size(spec.memory_bytes)} of memory")
        self._spec = spec.successor(free_port())
        if len(str(self._spec.migration_socket).encode()) >= SOCKET_PATH:
            raise PreconditionError(
                f"{self._spec.migration_socket} is too long for the path of a unix socket",
                hint="start the VM with a shorter name, or with FASTBALLOON_RUNTIME set to a shorter folder",
            )
        registry.save_process(self._from)
        self._spec.process_directory.mkdir(mode=0o700)
        with self._spec.qemu_log.open("wb") as log:
            self._guarded = Guarded(
                self._spec.argv(),
                stdout=log,
                orphaned=rescue_command(spec.name, ends=session.guardian is not None),
                hold=[] if session.lock is None else [session.lock],
            )
        started = procfs.start_time(self._guarded.pid) or 0
        self._to = replace(self._from, spec=self._spec, pid=self._guarded.pid, started=started)
        self.source = cast(Qmp, session.qmp)  # a VM that was started here has no other

    def __enter__(self) -> Self:
        try:
            registry.save_process(self._to)
            deadline = time.monotonic() + _START_SECONDS
            self.destination = connect_when_ready(
                self._spec.qmp_socket, deadline=deadline, alive=self._to.require_alive
            )
        except BaseException as e:
            self._leave(e)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.destination.close()
        self._leave(value)

    @property
    def origin(self) -> Record:
        """The source's record."""
        return self._from

    @property
    def target(self) -> Record:
        """The destination's record."""
        return self._to

    def last_words(self) -> str | None:
        """Return what a destination that could not take the guest says of it, in its log; None if it says nothing."""
        deadline = time.monotonic() + _WORDS_SECONDS
        while self._to.alive and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)  # the source knows first, and the other one ends when it has said why
        return _last_words(self._to)

    def _leave(self, error: BaseException | None) -> None:
        said = _last_words(self._to)
        with _uninterrupted():
            self.source.close()
            try:
                holder = settle(self._from, self._to)
            except VmLostError:
                self._guarded.kill()
                raise
            lifelong = self._session.guardian
            if holder is not self._to:
                self._guarded.kill()
            elif lifelong is None:
                self._guarded.release()
            else:
                lifelong.wait()  # it ends with the source
                self._session.guardian = self._guarded
            self._session.move_to(holder)
        if isinstance(error, VmLostError):
            raise _not_lost(holder is self._to, said) from error


def rescue_command(name: str, *, ends: bool = False) -> list[str]:
    """Return what settles the migration of a VM whose tool is gone; see :mod:`fastballoon_cli.rescue`.

    :param ends: the VM was not to outlive the tool.
    """
    return [sys.executable, "-P", "-c", _RESCUE, str(_PACKAGE.parent), name, *(["ends"] if ends else [])]


def _last_words(record: Record) -> str | None:
    try:
        lines = record.spec.qemu_log.read_text(errors="replace").splitlines()
    except OSError:
        return None
    return "\n".join(lines[-_LAST_LINES:]) or None


def _not_lost(handed_over: bool, said: str | None) -> MigrationError:
    if handed_over:
        return MigrationError("the source's QEMU ended before it told how it went; the guest runs at the destination")
    return MigrationError("the destination's QEMU ended; the guest runs on where it was", details=said)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let Ctrl-C wait: who is impatient still has SIGKILL, and that leads to the same end."""
    if threading.current_thread() is not threading.main_thread():
        yield  # no signal handler interrupts another thread
        return
    interrupting = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in interrupting}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
