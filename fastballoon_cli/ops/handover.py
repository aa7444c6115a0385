"""Two QEMUs and one guest: whatever becomes of a migration, one of them has it in the end and the other is gone."""

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from types import TracebackType
from typing import Self

from fastballoon_cli.errors import FastballoonError, MigrationError, PreconditionError, QmpError, VmLostError
from fastballoon_cli.host import migration, procfs, vms
from fastballoon_cli.host.qemu import SOCKET_PATH
from fastballoon_cli.host.qmp import Qmp, connect_when_ready
from fastballoon_cli.host.vms import Record
from fastballoon_cli.ops.session import Session
from fastballoon_cli.ops.vm import await_end, free_port, require_host_memory
from fastballoon_cli.process import Guarded
from fastballoon_cli.units import format_size

__all__ = ["Handover", "settle"]

_START_SECONDS = 15.0
#: A migration that was cancelled, or a guest that was handed over, is there in milliseconds.
_SETTLE_SECONDS = 4.0
_POLL_SECONDS = 0.02
_LAST_LINES = 5


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
        self._from = session.record
        spec = self._from.spec
        require_host_memory(spec.memory_bytes, f"a second QEMU with {format_size(spec.memory_bytes)} of memory")
        self._spec = spec.successor(free_port())
        if len(str(self._spec.migration_socket).encode()) >= SOCKET_PATH:
            raise PreconditionError(
                f"{self._spec.migration_socket} is too long for the path of a unix socket",
                hint="start the VM with a shorter name, or with FASTBALLOON_RUNTIME set to a shorter folder",
            )
        vms.save_process(self._from)
        self._spec.process_directory.mkdir(mode=0o700)
        with self._spec.qemu_log.open("wb") as log:
            self._guarded = Guarded(
                self._spec.argv(),
                stdout=log,
                orphaned=[sys.executable, "-m", "fastballoon_cli.rescue", spec.name],
                hold=[session.lock] if session.lock is not None else [],
            )
        started = procfs.start_time(self._guarded.pid) or 0
        self._to = replace(self._from, spec=self._spec, pid=self._guarded.pid, started=started)
        self.source = session.qmp

    def __enter__(self) -> Self:
        try:
            vms.save_process(self._to)
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

    def _leave(self, error: BaseException | None) -> None:
        said = _last_words(self._to)
        with _uninterrupted():
            self.source.close()
            try:
                holder = settle(self._from, self._to)
            except VmLostError:
                self._guarded.kill()
                raise
            if holder is self._to:
                self._guarded.release()
            else:
                self._guarded.kill()
            self._session.move_to(holder)
        if isinstance(error, VmLostError):
            raise _not_lost(holder is self._to, said) from error


def settle(source: Record, target: Record) -> Record:
    """Find out which QEMU has the guest, see to it that the guest runs there, and end the other one.

    A migration that is not complete is cancelled. Can be called again, in another process too, wherever it was
    cut short.

    :returns: the record that has the guest, which is the VM's from now on.
    :raise VmLostError: the guest is gone with its QEMU.
    """
    try:
        holder = _find_holder(source, target)
    except VmLostError:
        procfs.kill(target.pid, target.started)
        await_end(target)
        raise
    vms.save(holder)
    other = source if holder is target else target
    if other.alive:
        if other is source:
            with suppress(QmpError, VmLostError), Qmp(other.spec.qmp_socket) as qmp:
                qmp.execute("quit")
        else:
            procfs.kill(other.pid, other.started)
        await_end(other)
    vms.forget_processes(holder)
    return holder


def _find_holder(source: Record, target: Record) -> Record:
    recorded = vms.load(source.spec.name)
    if recorded and recorded.spec.generation == target.spec.generation and target.alive:
        return target
    try:
        with Qmp(source.spec.qmp_socket) as qmp:
            # With a return path the source is complete only when the destination says that the guest runs there.
            if _end_migration(qmp) == migration.COMPLETED and _runs(target):
                return target
            _let_run(qmp)
            return source
    except VmLostError:
        if _runs(target):
            return target
        source.require_alive()
        raise
    except QmpError:
        # It does not answer. Unless it has handed the guest over, it goes on with it as soon as the other is gone.
        return target if _runs(target) else source


def _end_migration(qmp: Qmp) -> str:
    """Cancel a migration that is under way, and return how the latest one has ended."""
    now = migration.query(qmp)
    if now.status == "none" or now.ended:
        return now.status
    migration.cancel(qmp)
    deadline = time.monotonic() + _SETTLE_SECONDS
    while not (now := migration.query(qmp)).ended:
        if time.monotonic() > deadline:
            raise QmpError(f"QEMU did not cancel its migration within {_SETTLE_SECONDS:g} s")
        time.sleep(_POLL_SECONDS)
    return now.status


def _let_run(qmp: Qmp) -> None:
    # A source whose migration has failed goes on by itself; only one that was complete has to be told.
    deadline = time.monotonic() + _SETTLE_SECONDS / 2
    while (status := qmp.execute("query-status")["status"]) != "running":
        if status == "postmigrate" or time.monotonic() > deadline:
            qmp.execute("cont")
            return
        time.sleep(_POLL_SECONDS)


def _runs(record: Record) -> bool:
    """Return whether a destination has the guest running, by now or in a moment."""
    deadline = time.monotonic() + _SETTLE_SECONDS
    try:
        with Qmp(record.spec.qmp_socket) as qmp:
            while qmp.execute("query-status")["status"] != "running":
                if migration.query(qmp).status in {"none", "failed"} or time.monotonic() > deadline:
                    return False
                time.sleep(_POLL_SECONDS)
            return True
    except FastballoonError:
        return False


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
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
