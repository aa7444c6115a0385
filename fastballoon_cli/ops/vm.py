"""Start and stop VMs, and have a guest use its memory."""

import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastballoon_cli import build
from fastballoon_cli.errors import FastballoonError, GuestError, PreconditionError, QmpError, VmLostError
from fastballoon_cli.guest.agent import AgentClient
from fastballoon_cli.host import procfs
from fastballoon_cli.host.room import require_memory
from fastballoon_cli.machine import registry
from fastballoon_cli.machine.furnish import furnish
from fastballoon_cli.machine.plan import Request, StartPlan, check, missing, plan
from fastballoon_cli.machine.registry import Record
from fastballoon_cli.machine.session import Session, connect_agent
from fastballoon_cli.machine.spec import QemuSpec
from fastballoon_cli.process import Guarded
from fastballoon_cli.progress import Progress
from fastballoon_cli.qemu.qmp import Qmp, connect_when_ready
from fastballoon_cli.units import format_size

__all__ = [
    "Request",
    "StartPlan",
    "borrow",
    "check",
    "missing",
    "plan",
    "require_new",
    "start",
    "stop",
    "touch",
]

#: What the guest's init writes to the console when sshd and the agent listen, and how long that is waited for.
_READY = b"fastballoon: ready"
_SSHD_SECONDS = 20.0
_POLL_SECONDS = 0.02
_TRIES = 5
#: Of a guest that has just answered, and is busy with what comes after its boot.
_AGENT_SECONDS = 30.0
#: Unmodified QEMU under TCG may send an access to the wrong device while the guest sets up its PCI bus on a busy host
#: (the QEMU series says how). The kernel then waits for a timer in vain. A boot takes seconds; after so long without
#: an answer another one is likely to be the quicker way.
_BOOT_PATIENCE = 45.0
#: What QEMU says when it ends for a reason that is unlikely to come twice.
_PASSING = (
    "host forwarding rule",  # between the choice of the port and its use somebody else has taken it
    "iotlb_to_section",  # the same race of TCG, where there is no device at all
)


def require_new(name: str) -> None:
    """Check that no VM of that name runs.

    :raise PreconditionError: one does.
    """
    old = registry.load(name)
    if old and old.alive:
        raise PreconditionError(
            f"VM '{name}' runs already (pid {old.pid})",
            hint=f"stop it: fastballoon vm stop {name}; or choose another --name",
        )


def start(request: Request, progress: Progress, *, timeout: float = 120.0) -> Record:
    """Start a VM and wait until its agent answers.

    Whatever ends this early, a killed tool too, leaves neither a process nor a file.

    :param timeout: seconds for the boot; a guest that stalls meanwhile is booted once more.
    :raise PreconditionError: a VM of that name runs, or the host has too little memory; and see :func:`plan`.
    :raise VmLostError: QEMU ended while the guest booted.
    :raise GuestError: the guest did not come up in time.
    """
    with _booted(request, progress, timeout) as booted:
        booted.guardian.release()
        return booted.record


@contextmanager
def borrow(request: Request, progress: Progress, *, timeout: float = 120.0) -> Iterator[Session]:
    """Start a VM and hold it for as long as the context lasts, its end included: that of a killed tool, too.

    :raise FastballoonError: as :func:`start`.
    """
    with _booted(request, progress, timeout) as booted:
        record = booted.record
        session = Session(record, Qmp(record.spec.qmp_socket), None, progress, booted.lock, guardian=booted.guardian)
        try:
            session.meet_agent(needed=True, patience=_AGENT_SECONDS)
            yield session
        finally:
            session.drop_agent()
            session.qmp.close()
            (session.guardian or booted.guardian).kill()  # of the QEMU that has the guest by now
            registry.forget(request.name)


@dataclass(frozen=True)
class _Booted:
    """A VM that has booted: held, and guarded."""

    record: Record
    guardian: Guarded
    lock: int


@contextmanager
def _booted(request: Request, progress: Progress, timeout: float) -> Iterator[_Booted]:
    check(request)
    left = timeout
    # A kernel that checks itself takes minutes where another one takes seconds.
    patience = _BOOT_PATIENCE if request.kernel in build.COMMON else timeout
    with ExitStack() as held:
        for tries_left in reversed(range(_TRIES)):
            begun = time.monotonic()
            try:
                booted = _attempt(request, progress, min(left, patience) if tries_left else left, held)
                break
            except (GuestError, VmLostError) as e:
                left -= time.monotonic() - begun
                if not tries_left or left <= 0 or not _may_pass(e):
                    raise
                # On a host that is merely busy, another attempt needs more time than this one had, not what is left.
                patience *= 2
                if patience + _BOOT_PATIENCE > left:
                    patience = left
                progress.warn(f"{e.message}; starting '{request.name}' once more")
        yield booted


def _may_pass(error: FastballoonError) -> bool:
    """Return whether another attempt may well succeed."""
    return isinstance(error, GuestError) or any(said in (error.details or "") for said in _PASSING)


def _attempt(request: Request, progress: Progress, timeout: float, held: ExitStack) -> _Booted:
    """Boot a VM; its lock goes into ``held``."""
    try:
        with ExitStack() as here:
            # Each attempt has a folder and a lock of its own: what guards QEMU removes the folder with it.
            lock = here.enter_context(registry.lock(request.name, create=True))
            booted = _attempt_locked(request, progress, timeout, lock)
            held.push(here.pop_all())
            return booted
    except KeyboardInterrupt:
        registry.forget_unless_alive(request.name)  # it may have come between the making of the folder and its locking
        raise


def _attempt_locked(request: Request, progress: Progress, timeout: float, lock: int) -> _Booted:
    require_new(request.name)
    try:
        _clear(registry.vm_dir(request.name))
        return _boot(plan(request, progress), request, progress, timeout, lock)
    except BaseException:
        registry.forget(request.name)
        raise


def _boot(planned: StartPlan, request: Request, progress: Progress, timeout: float, lock: int) -> _Booted:
    spec = planned.spec
    require_memory(spec.memory_bytes, f"a VM of {format_size(spec.memory_bytes)}")
    _furnish(spec)
    progress.step(f"Booting '{spec.name}' ({format_size(spec.memory_bytes)}, {spec.cpus} CPUs, {spec.accel})")
    deadline = time.monotonic() + timeout
    with spec.qemu_log.open("wb") as log:
        # It holds the lock, too: should the tool die, nobody makes the next VM's folder before this one is removed.
        qemu = Guarded(spec.argv(), stdout=log, cleanup=spec.directory, hold=[lock])
    try:
        started = procfs.start_time(qemu.pid) or 0
        record = Record(
            spec=spec, kernel=request.kernel, qemu=request.qemu, pid=qemu.pid, started=started, built=planned.built
        )
        registry.save(record)
        connect_when_ready(spec.qmp_socket, deadline=deadline, alive=record.require_alive).close()
        _await_sshd(record, deadline)
        _await_agent(record, deadline)
        record = record.mark_ready()
        registry.save(record)
        return _Booted(record, qemu, lock)
    except BaseException:
        qemu.kill()
        raise


def _await_sshd(record: Record, deadline: float) -> None:
    """Wait for the guest's init to say that sshd listens, on a console that may be directed elsewhere.

    QEMU's user network accepts a connection at once and tells the guest later: one that is made before the guest has
    a network is tried again after 6 s.
    """
    if record.kernel in build.COMMON:
        deadline = min(deadline, time.monotonic() + _SSHD_SECONDS)
    while time.monotonic() < deadline:
        record.require_alive()
        if _is_ready(record):
            return
        time.sleep(_POLL_SECONDS)


def _await_agent(record: Record, deadline: float) -> None:
    """Wait for the agent's first word; until init has said that all is there, sshd may be there before the agent.

    :raise GuestError: it did not come in time, or it has failed.
    """
    while True:
        last = _is_ready(record) or time.monotonic() >= deadline
        try:
            with connect_agent(record, timeout=max(0.0, deadline - time.monotonic())) as agent:
                agent.call("hello")
            return
        except VmLostError:
            raise
        except FastballoonError as e:
            if last:
                raise _with_console(e, record.spec) from e
        time.sleep(_POLL_SECONDS)


def _is_ready(record: Record) -> bool:
    """Return whether init has said that sshd listens, and the agent unless that has failed."""
    console = record.spec.console_log
    return console.exists() and _READY in console.read_bytes()


def _with_console(error: FastballoonError, spec: QemuSpec) -> FastballoonError:
    tail = spec.console_log.read_text(errors="replace").splitlines()[-8:] if spec.console_log.exists() else []
    said = [error.details] if error.details else []
    return type(error)(error.message, hint=None, details="\n".join([*said, "the guest's console:", *tail]))


def stop(name: str, progress: Progress) -> None:
    """Stop a VM and remove all that belongs to it; also one that another version of the tool has started.

    :raise PreconditionError: there is none of that name, or somebody else holds it.
    """
    with registry.lock(name):
        progress.step(f"Stopping '{name}'")
        try:
            records = [registry.started(name), *registry.processes(name)]
        except registry.UnknownRecordError as e:
            if e.process is None:
                raise
            procfs.kill(*e.process)
            procfs.await_end(*e.process)
            records = []
        for record in records:
            if record and record.alive:
                with suppress(QmpError, VmLostError), Qmp(record.spec.qmp_socket) as qmp:  # else it is killed
                    qmp.execute("quit")
                procfs.await_end(record.pid, record.started)
        registry.forget(name)


def touch(agent: AgentClient, progress: Progress, *, size: int | None = None, verify: bool = False) -> dict[str, Any]:
    """Have the guest fill its free memory with data and free it again, so that the host really holds it.

    :param size: bytes; by default nearly all that is available.
    :param verify: have every page read back.
    :returns: ``bytes``, ``mismatches`` (chunks that did not read back), ``fill_s`` (seconds of the filling alone).
    :raise GuestError: the guest could not.
    """
    total = size or int(agent.call("memory")["MemAvailable"])
    progress.step("Touching the guest's memory", float(total))
    result: dict[str, Any] = agent.call(
        "touch",
        size=size,
        verify=verify,
        timeout=120.0,
        on_progress=lambda done: progress.update(done, note=format_size(done)),
    )
    result["fill_s"] = result.pop("fill_ns") / 1e9
    return result


def _furnish(spec: QemuSpec) -> None:
    """Put into the VM's folder what its command line points to."""
    if spec.scratch_disk_bytes:
        with spec.scratch_disk.open("wb") as disk:
            disk.truncate(spec.scratch_disk_bytes)
    furnish(spec.directory)


def _clear(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name != "holder.json":
            entry.unlink()
