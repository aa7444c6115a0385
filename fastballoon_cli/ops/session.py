"""A VM held for one operation: its lock, its monitor, and its agent if that answers."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import paramiko

from fastballoon_cli.errors import GuestError, PreconditionError
from fastballoon_cli.guest import ssh
from fastballoon_cli.guest.agent import AgentClient
from fastballoon_cli.host import vms
from fastballoon_cli.host.qmp import Qmp
from fastballoon_cli.host.vms import Record
from fastballoon_cli.ops.settle import settle
from fastballoon_cli.progress import Progress

__all__ = ["Session", "connect", "connect_agent", "hold", "running"]

_AGENT_PATIENCE = 5.0


@dataclass
class Session:
    """What an operation works with.

    :ivar agent: None when the guest does not answer.
    :ivar lock: the descriptor that holds the VM, see :func:`fastballoon_cli.host.vms.lock`.
    """

    record: Record
    qmp: Qmp
    agent: AgentClient | None
    progress: Progress
    lock: int | None = None

    def move_to(self, record: Record) -> None:
        """Go on with the QEMU that has the guest now.

        :raise VmLostError: it has ended.
        """
        if self.agent:
            self.agent.close()
            self.agent = None
        self.qmp.close()
        self.record, self.qmp = record, Qmp(record.spec.qmp_socket)

    def ask(self, verb: str) -> Any:
        """Return the agent's answer, or None: what the guest says of itself is welcome, but no reason to fail.

        A guest that its balloon has left without memory may answer nothing, and must still be given some back.
        """
        if self.agent is None:
            return None
        try:
            return self.agent.call(verb, timeout=_AGENT_PATIENCE)
        except GuestError as e:
            self.progress.warn(f"going on without the guest's side of the figures: {e.message}")
            self.agent.close()
            self.agent = None
            return None


def running(name: str) -> Record:
    """Return the record of a VM that runs.

    :raise PreconditionError: there is none of that name, or it is still being started.
    :raise VmLostError: its QEMU has ended.
    """
    record = vms.load(name)
    if record is None:
        raise vms.no_such(name)
    if not record.alive:
        # Its guest may just have moved on to another QEMU: that one is recorded before the old one ends.
        record = vms.load(name) or record
    record.require_alive()
    if not record.ready:
        raise PreconditionError(f"VM '{name}' is still being started", hint="wait until 'vm list' says running")
    return record


def connect(record: Record, *, timeout: float) -> paramiko.Transport:
    """Log in to a guest, trying for ``timeout`` seconds.

    :raise GuestError: it did not answer.
    :raise VmLostError: QEMU ended meanwhile.
    """
    folder = record.spec.directory
    return ssh.connect(
        record.spec.ssh_port,
        key=folder / "ssh_key",
        known_host=folder / "known_hosts",
        timeout=timeout,
        alive=record.require_alive,
    )


def connect_agent(record: Record, *, timeout: float) -> AgentClient:
    """Connect to a guest's agent, trying for ``timeout`` seconds.

    :raise GuestError: it did not answer.
    :raise VmLostError: QEMU ended meanwhile.
    """
    return AgentClient(connect(record, timeout=timeout))


def _recovered(name: str) -> Record:
    """Return the record of a VM that runs, after what a migration that was cut short has left is in order."""
    pair = vms.processes(name)
    if len(pair) == 2 and any(record.alive for record in pair):
        return settle(*pair)  # nobody else has lived to do it
    record = running(name)
    # A tool that was killed before its destination had a guardian has left the folder that was made for that.
    vms.forget_processes(record)
    return record


@contextmanager
def hold(
    name: str, progress: Progress, *, need_agent: bool = False, patience: float = _AGENT_PATIENCE
) -> Iterator[Session]:
    """Hold a running VM for one operation.

    :param patience: seconds for the agent's first answer.
    :param need_agent: fail when the agent does not answer, instead of going on without it.
    :raise PreconditionError: no such VM, or somebody else holds it.
    :raise VmLostError: its QEMU has ended.
    :raise GuestError: the agent is needed and does not answer.
    """
    with vms.lock(name) as lock:
        record = _recovered(name)
        session = Session(record, Qmp(record.spec.qmp_socket), None, progress, lock)
        try:
            try:
                session.agent = connect_agent(record, timeout=patience)
            except GuestError as e:
                if need_agent:
                    raise
                progress.warn(f"going on without the guest's side of the figures: {e.message}")
            yield session
        finally:
            # By then another QEMU may have the guest.
            if session.agent:
                session.agent.close()
            session.qmp.close()
