"""A VM held for one operation: its lock, its monitor, and an agent in its guest if one answers."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from fastballoon_cli.errors import FastballoonError, GuestError, PreconditionError, QmpError
from fastballoon_cli.guest import port
from fastballoon_cli.guest.agent import AgentClient
from fastballoon_cli.guest.qga import GuestAgent
from fastballoon_cli.host import procfs
from fastballoon_cli.machine import registry
from fastballoon_cli.machine.base import Machine, Process
from fastballoon_cli.machine.domain import Domain
from fastballoon_cli.machine.facts import Facts
from fastballoon_cli.machine.local import LocalQemu
from fastballoon_cli.machine.registry import Record, Recorded
from fastballoon_cli.machine.settle import settle
from fastballoon_cli.machine.statistics import Statistics, polled, set_back
from fastballoon_cli.process import Guarded
from fastballoon_cli.progress import Progress
from fastballoon_cli.qemu.balloon import Balloon
from fastballoon_cli.qemu.monitor import Monitor

if TYPE_CHECKING:
    # A quarter of the time that a command takes to start, and not every one logs in.
    import paramiko

__all__ = [
    "Session",
    "StartingError",
    "connect",
    "connect_agent",
    "hold",
    "open_monitor",
    "running",
]

_A = TypeVar("_A")

#: For an answer of an agent. In a guest that was not started here nothing depends on it, unless a command needs it.
_SECONDS = 5.0
_IN_PASSING_SECONDS = 2.0


class StartingError(PreconditionError):
    """A VM whose guest has not booted yet."""


@dataclass
class Session:
    """What an operation works with.

    :ivar agent: None when the guest does not answer, or nobody has asked it yet.
    :ivar viewer: our agent by a port of its own, where it tells what there is to see and does nothing; None as well.
    :ivar qga: QEMU's guest agent, where ours does not answer; None as well.
    :ivar lock: the descriptor that holds the VM, see :func:`fastballoon_cli.machine.registry.lock`.
    :ivar met: whether the agents were tried.
    :ivar statistics: where the guest's memory is read for want of any agent; None for a VM that was started here.
    :ivar hurry: others are worked with at the same time, so that no agent is met for its figures alone: a login takes
        as much CPU time as all the rest.
    :ivar guardian: who ends the VM if the tool dies; None for a VM that outlives it.
    :ivar ends: what is to be set back at the end.
    """

    record: Machine
    qmp: Monitor
    agent: AgentClient | None
    progress: Progress
    lock: int | None = None
    met: bool = False
    hurry: bool = False
    guardian: Guarded | None = None
    statistics: Statistics | None = None
    viewer: AgentClient | None = None
    qga: GuestAgent | None = None
    ends: ExitStack = field(default_factory=ExitStack)

    @cached_property
    def facts(self) -> Facts:
        """What the VM is like; asked once per QEMU, as none of it changes meanwhile."""
        return self.record.facts(self.qmp)

    @cached_property
    def balloon(self) -> Balloon:
        """The balloon of the QEMU that has the guest now.

        :raise PreconditionError: it has none.
        """
        return self.record.balloon(self.qmp, self.facts)

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
    def ours(self) -> bool:
        """Whether the VM was started here."""
        return isinstance(self.record, Record)

    @property
    def _patience(self) -> float:
        """Seconds for an answer that is welcome, but that nothing depends on."""
        return _SECONDS if self.ours else _IN_PASSING_SECONDS

    @property
    def guest_memory_from(self) -> str | None:
        """Where the guest's memory is read: ``agent``, ``qga``, ``statistics``, or nowhere."""
        if self.agent or self.viewer:
            return "agent"
        if self.qga:
            return "qga"
        return "statistics" if self.statistics else None

    @property
    def guest_memory_age_s(self) -> float | None:
        """How old what was read last is, in seconds; None if nothing was, or an agent has told it when it was asked."""
        return self.statistics.age_s if self.statistics and self.guest_memory_from == "statistics" else None

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

    def meet_agent(self, *, patience: float | None = None, needed: bool = False) -> None:
        """Connect to an agent in the guest, unless that was tried before; a guest that is paused is not waited for.

        :param patience: seconds for its first word, instead of 5, if it is needed; else no more than these, of 5 or, in
            a guest that was not started here, 2.
        :param needed: fail when ours does not answer, instead of going on without it.
        :raise PreconditionError: it is needed, and the guest is paused.
        :raise GuestError: it is needed and does not answer.
        :raise VmLostError: QEMU has ended.
        """
        if self.met or self.agent:
            return
        self.met = True
        if needed and not self.record.login:
            raise self.record.not_ours()
        if self.record.login:
            try:
                self.require_running()
                usual = self._patience
                seconds = patience or _SECONDS if needed else min(usual, patience or usual)
                self.agent = connect_agent(self.record, timeout=seconds)
                return
            except (GuestError, PreconditionError) as e:
                if needed:
                    raise
                self._warn(e)
        self._meet_others()

    def _meet_others(self) -> None:
        """Have somebody else tell the guest's memory than an agent of ours that one has logged in for."""
        if not self.viewer and (socket := self.record.agent_socket):
            self.viewer = self._try(port.open_agent, socket)
        if self.record.qga_socket and not self.qga:
            self.qga = self._try(GuestAgent, self.record.qga_socket)
        if not (self.viewer or self.qga or self.ours):
            self.poll_statistics()

    def _try(self, open_agent: Callable[..., _A], socket: Path) -> _A | None:
        try:
            self.require_running()
            return open_agent(socket, patience=_IN_PASSING_SECONDS)
        except (GuestError, PreconditionError) as e:
            self._warn(e)
            return None

    def poll_statistics(self) -> None:
        """Have the guest asked for statistics until the session ends."""
        if self.statistics is None and self.lock is not None:
            self.statistics = self.ends.enter_context(polled(lambda: self.balloon, _folder(self.lock)))

    def need_agent(self) -> AgentClient:
        """Return the agent.

        :raise GuestError: it does not answer, or does not any more.
        """
        if self.agent is None:
            raise GuestError("the agent in the guest does not answer", hint="see: fastballoon doctor")
        return self.agent

    def drop_agent(self) -> None:
        """Go on without an agent."""
        for one in (self.agent, self.viewer, self.qga):
            if one:
                one.close()
        self.agent = self.viewer = self.qga = None

    def ask(self, verb: str, *, timeout: float | None = None, **arguments: Any) -> Any:
        """Return the agent's answer, or None: what the guest says of itself is welcome, but no reason to fail.

        A guest that its balloon has left without memory may answer nothing, and must still be given some back.

        :param timeout: seconds; by default 5, or 2 of a guest that was not started here.
        """
        agent = self.agent or self.viewer
        if agent is None:
            return None
        try:
            return agent.call(verb, timeout=timeout or self._patience, **arguments)
        except GuestError as e:
            self._warn(e)
            agent.close()
            if agent is self.agent:
                self.agent = None
                self._meet_others()
            else:
                self.viewer = None
                if not self.qga:
                    self.poll_statistics()
            return None

    def guest_memory(self, *, wait: bool = True) -> Mapping[str, int] | None:
        """Return what of /proc/meminfo the guest tells, in bytes: by an agent, or else by the balloon's statistics.

        :param wait: for statistics that are no older than this call.
        """
        memory: Mapping[str, int] | None = self.ask("memory")
        if memory is None and self.qga:
            try:
                return self.qga.memory()
            except GuestError as e:
                self._warn(e)
                self.drop_agent()
                self.poll_statistics()
        if memory is None and self.statistics:
            return self.statistics.memory(wait=wait)
        return memory

    def _warn(self, error: FastballoonError) -> None:
        self.progress.warn(f"going on without the guest's side of the figures: {error.message}")


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
        raise StartingError(f"VM '{name}' is still being started", hint="wait until 'vm list' says running")
    return record


def connect(machine: Machine, *, timeout: float) -> "paramiko.Transport":
    """Log in to a guest, trying for ``timeout`` seconds.

    :raise GuestError: it did not answer, or nobody has said how.
    :raise VmLostError: QEMU ended meanwhile.
    """
    if machine.login is None:
        raise GuestError(
            "nobody has said how to log in to the guest",
            hint="of a domain of libvirt, and to vm attach: --ssh and --identity",
        )
    from fastballoon_cli.guest import ssh  # noqa: PLC0415

    return ssh.connect(machine.login, timeout=timeout, alive=machine.require_alive, hint=machine.console())


def connect_agent(machine: Machine, *, timeout: float) -> AgentClient:
    """Connect to a guest's agent, trying for ``timeout`` seconds.

    :raise GuestError: it did not answer, or nobody has said how to log in to the guest.
    :raise VmLostError: QEMU ended meanwhile.
    """
    from fastballoon_cli.guest.ssh import open_agent  # noqa: PLC0415

    return open_agent(connect(machine, timeout=timeout), patience=timeout, hint=machine.console())


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
    patience: float | None = None,
    hurry: bool = False,
) -> Iterator[Session]:
    """Hold a running VM for one operation.

    :param which: the name of one that has a record here, or a domain.
    :param need_agent: fail when the agent does not answer, instead of going on without it.
    :param meet_agent: connect to the agent before anything else; otherwise the operation does, when it has time for it.
    :param patience: as for :meth:`Session.meet_agent`.
    :param hurry: meet nobody in the guest for figures alone; an operation that cannot do without does it.
    :raise PreconditionError: no such VM, somebody else holds it, or the agent is needed and the guest is paused.
    :raise VmLostError: its QEMU has ended.
    :raise GuestError: the agent is needed and does not answer.
    """
    with _held(which, progress) as (record, lock):
        session = Session(record, open_monitor(record), None, progress, lock, hurry=hurry)
        try:
            if not session.ours:
                set_back(lambda: session.balloon, _folder(lock))
                if not (hurry or record.login or record.qga_socket or record.agent_socket):
                    session.poll_statistics()
            if meet_agent and not hurry:
                session.meet_agent(patience=patience, needed=need_agent)
            yield session
        finally:
            # By then another QEMU may have the guest.
            session.drop_agent()
            try:
                session.ends.close()
            finally:
                session.qmp.close()


def _folder(lock: int) -> Path:
    """Return the folder of a machine that is held."""
    return Path(f"/proc/self/fd/{lock}")
