"""A VM held for one operation: its lock, its monitor, and its agent if that answers."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import paramiko

from fastballoon_cli.errors import GuestError, PreconditionError, QmpError
from fastballoon_cli.guest import ssh
from fastballoon_cli.guest.agent import AgentClient
from fastballoon_cli.host import procfs
from fastballoon_cli.machine import registry
from fastballoon_cli.machine.base import Machine, Process
from fastballoon_cli.machine.domain import Domain
from fastballoon_cli.machine.facts import Facts
from fastballoon_cli.machine.local import LocalQemu
from fastballoon_cli.machine.registry import Record, Recorded
from fastballoon_cli.machine.settle import settle
from fastballoon_cli.machine.statistics import Statistics, polled
from fastballoon_cli.process import Guarded
from fastballoon_cli.progress import Progress
from fastballoon_cli.qemu.balloon import Balloon
from fastballoon_cli.qemu.monitor import Monitor

__all__ = ["Session", "connect", "connect_agent", "hold", "open_monitor", "running"]

_AGENT_PATIENCE = 5.0


@dataclass
class Session:
    """What an operation works with.

    :ivar agent: None when the guest does not answer, or nobody has asked it yet.
    :ivar lock: the descriptor that holds the VM, see :func:`fastballoon_cli.machine.registry.lock`.
    :ivar met: whether the agent was tried.
    :ivar statistics: where the guest's memory is read for want of an agent; None for a VM that was started here.
    :ivar guardian: who ends the VM if the tool dies; None for a VM that outlives it.
    """

    record: Machine
    qmp: Monitor
    agent: AgentClient | None
    progress: Progress
    lock: int | None = None
    met: bool = False
    guardian: Guarded | None = None
    statistics: Statistics | None = None

    @cached_property
    def facts(self) -> Facts:
        """What the VM is like; asked once per QEMU, as none of it changes meanwhile."""
        return self.record.facts(self.qmp)

    @cached_property
    def balloon(self) -> Balloon:
        """The balloon of the QEMU that has the guest now.

        :raise PreconditionError: it has none.
        """
        return self.record.balloon(self.qmp)

    @cached_property
    def process(self) -> Process:
        """What the host counts of the QEMU that has the guest now."""
        return self.record.process(self.qmp)

    def require_running(self) -> None:
        """Check that the guest is not paused.

        :raise PreconditionError: it is, or does not run for another reason.
        """
        self.record.require_running(self.qmp)

    @property
    def guest_memory_from(self) -> str | None:
        """Where the guest's memory is read: ``statistics``, ``agent``, or nowhere."""
        if self.statistics:
            return "statistics"
        return "agent" if self.agent else None

    @property
    def started(self) -> Record:
        """The record of a VM that was started here.

        :raise PreconditionError: it was not.
        """
        return registry.require_started(self.record)

    def move_to(self, record: Machine) -> None:
        """Go on with the QEMU that has the guest now.

        :raise VmLostError: it has ended.
        """
        self.drop_agent()
        self.qmp.close()
        self.record, self.qmp = record, record.monitor()
        for asked in ("facts", "balloon", "process"):
            self.__dict__.pop(asked, None)

    def meet_agent(self, *, patience: float = _AGENT_PATIENCE, needed: bool = False) -> None:
        """Connect to the agent, unless that was tried before; a guest that is paused is not waited for.

        :param patience: seconds for its first answer.
        :param needed: fail when it does not answer, instead of going on without it.
        :raise PreconditionError: it is needed, and the guest is paused.
        :raise GuestError: it is needed and does not answer.
        :raise VmLostError: QEMU has ended.
        """
        if self.met or self.agent:
            return
        self.met = True
        if not self.record.login:
            if needed:
                raise self.record.not_ours()
            return
        try:
            self.require_running()
            self.agent = connect_agent(self.record, timeout=patience)
        except (GuestError, PreconditionError) as e:
            if needed:
                raise
            self.progress.warn(f"going on without the guest's side of the figures: {e.message}")

    def need_agent(self) -> AgentClient:
        """Return the agent.

        :raise GuestError: it does not answer, or does not any more.
        """
        if self.agent is None:
            raise GuestError("the agent in the guest does not answer", hint="see: fastballoon doctor")
        return self.agent

    def drop_agent(self) -> None:
        """Go on without the agent."""
        if self.agent:
            self.agent.close()
            self.agent = None

    def ask(self, verb: str, *, timeout: float = _AGENT_PATIENCE, **arguments: Any) -> Any:
        """Return the agent's answer, or None: what the guest says of itself is welcome, but no reason to fail.

        A guest that its balloon has left without memory may answer nothing, and must still be given some back.
        """
        if self.agent is None:
            return None
        try:
            return self.agent.call(verb, timeout=timeout, **arguments)
        except GuestError as e:
            self.progress.warn(f"going on without the guest's side of the figures: {e.message}")
            self.drop_agent()
            return None

    def guest_memory(self, *, wait: bool = True) -> Mapping[str, int] | None:
        """Return what of /proc/meminfo the guest tells, in bytes: by its agent, or else by the balloon's statistics.

        :param wait: for statistics that are no older than this call.
        """
        if self.statistics:
            return self.statistics.memory(wait=wait)
        memory: Mapping[str, int] | None = self.ask("memory")
        return memory


def running(which: str | Domain) -> Machine:
    """Return a VM that runs.

    :param which: the name of one that has a record here, or a domain.

    :raise PreconditionError: there is none of that name, or it is still being started.
    :raise VmLostError: its QEMU has ended.
    """
    if isinstance(which, Domain):
        which.require_alive()
        return which
    return _recorded(which)


def _recorded(name: str) -> Recorded:
    record = registry.load(name)
    if record is None:
        raise registry.no_such(name)
    if not record.alive:
        # Its guest may just have moved on to another QEMU: that one is recorded before the old one ends.
        record = registry.load(name) or record
    record.require_alive()
    if isinstance(record, Record) and not record.ready:
        raise PreconditionError(f"VM '{name}' is still being started", hint="wait until 'vm list' says running")
    return record


def connect(machine: Machine, *, timeout: float) -> paramiko.Transport:
    """Log in to a guest, trying for ``timeout`` seconds.

    :raise GuestError: it did not answer, or nobody has said how.
    :raise VmLostError: QEMU ended meanwhile.
    """
    if machine.login is None:
        raise GuestError(
            "nobody has said how to log in to the guest", hint="of a domain of libvirt: --ssh and --identity"
        )
    return ssh.connect(machine.login, timeout=timeout, alive=machine.require_alive)


def connect_agent(machine: Machine, *, timeout: float) -> AgentClient:
    """Connect to a guest's agent, trying for ``timeout`` seconds.

    :raise GuestError: it did not answer, or nobody has said how to log in to the guest.
    :raise VmLostError: QEMU ended meanwhile.
    """
    return AgentClient(connect(machine, timeout=timeout))


def _recovered(name: str) -> Recorded:
    """Return the record of a VM that runs, after what a migration that was cut short has left is in order."""
    pair = registry.processes(name)
    if len(pair) == 2 and any(record.alive for record in pair):
        return settle(*pair)  # nobody else has lived to do it
    record = _recorded(name)
    # A tool that was killed before its destination had a guardian has left the folder that was made for that.
    if isinstance(record, Record):
        registry.forget_processes(record)
    return record


def open_monitor(record: Machine, *, looking: bool = False) -> Monitor:
    """Connect to a monitor of a VM that runs.

    :param looking: without disturbing whoever works with it, where it has a monitor for that.
    :raise QmpError: it does not answer; the hint says so if that is because QEMU was stopped.
    :raise VmLostError: QEMU has ended.
    """
    try:
        return record.observer() if looking else record.monitor()
    except QmpError as e:
        if isinstance(record, LocalQemu) and procfs.is_stopped(record.pid):
            raise QmpError(
                f"QEMU (pid {record.pid}) was stopped and answers nobody", hint=f"let it go on: kill -CONT {record.pid}"
            ) from e
        raise


@contextmanager
def _held(which: str | Domain, progress: Progress) -> Iterator[tuple[Machine, int]]:
    """Lock a VM that runs."""
    if isinstance(which, Domain):
        with which.lock() as lock:
            machine = running(which)
            if said := which.taint():
                progress.warn(said)
            yield machine, lock
    else:
        with registry.lock(which) as lock:
            yield _recovered(which), lock


@contextmanager
def hold(
    which: str | Domain,
    progress: Progress,
    *,
    need_agent: bool = False,
    meet_agent: bool = True,
    patience: float = _AGENT_PATIENCE,
) -> Iterator[Session]:
    """Hold a running VM for one operation.

    :param which: the name of one that has a record here, or a domain.
    :param need_agent: fail when the agent does not answer, instead of going on without it.
    :param meet_agent: connect to the agent before anything else; otherwise the operation does, when it has time for it.
    :param patience: seconds for the agent's first answer.
    :raise PreconditionError: no such VM, somebody else holds it, or the agent is needed and the guest is paused.
    :raise VmLostError: its QEMU has ended.
    :raise GuestError: the agent is needed and does not answer.
    """
    with _held(which, progress) as (record, lock):
        session = Session(record, open_monitor(record), None, progress, lock)
        try:
            with nullcontext() if record.login else polled(lambda: session.balloon) as session.statistics:
                if meet_agent:
                    session.meet_agent(patience=patience, needed=need_agent)
                yield session
        finally:
            # By then another QEMU may have the guest.
            session.drop_agent()
            session.qmp.close()
