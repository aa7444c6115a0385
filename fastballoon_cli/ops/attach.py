"""Take up a VM that somebody else has started, and let go of it again."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from fastballoon_cli.errors import FastballoonError, GuestError, PreconditionError, VmLostError
from fastballoon_cli.guest import port, ssh
from fastballoon_cli.guest.agent import AgentClient
from fastballoon_cli.guest.login import Login
from fastballoon_cli.guest.qga import GuestAgent
from fastballoon_cli.machine import attached, registry
from fastballoon_cli.machine.attached import Attached
from fastballoon_cli.machine.session import connect
from fastballoon_cli.machine.statistics import set_back
from fastballoon_cli.progress import Progress
from fastballoon_cli.qemu.balloon import Balloon, BalloonDevice

__all__ = ["LOGIN_SECONDS", "attach", "detach"]

#: For a guest to let somebody log in.
LOGIN_SECONDS = 10.0
_NO_FIGURES = "until it does, the guest's memory is read from the balloon's statistics"


def attach(
    name: str,
    qmp_socket: Path,
    progress: Progress,
    *,
    login: Login | None = None,
    agent_socket: Path | None = None,
    qga_socket: Path | None = None,
    timeout: float = LOGIN_SECONDS,
) -> Attached:
    """Make a running QEMU a VM of this tool. Nothing about it changes.

    :param name: what to call it here.
    :param login: how to log in to its guest; tried.
    :param agent_socket: of the port of the agent in the package ``fastballoon-guest``; as for the other one.
    :param qga_socket: of QEMU's guest agent; tried, but need not be answered.
    :param timeout: seconds for logging in.
    :raise UsageError: the name cannot be one.
    :raise PreconditionError: the name is in use, or no QEMU of this host answers there; or its VM has no balloon; or
        there is no such key, known host or agent's socket.
    :raise GuestError: nobody can log in to it so.
    :raise QmpError: somebody else holds the monitor.
    :raise VmLostError: nobody listens on the socket.
    """
    registry.forget_unless_alive(name)
    progress.step(f"Attaching '{name}'")
    found = replace(
        attached.find(name, qmp_socket),
        login=login,
        agent_socket=agent_socket and agent_socket.absolute(),
        qga_socket=qga_socket and qga_socket.absolute(),
    )
    with found.monitor() as qmp:
        BalloonDevice(qmp)
    if found.login:
        _try_login(found, progress, timeout)
    if found.agent_socket:
        _try(port.open_agent, found.agent_socket, progress)
    if found.qga_socket:
        _try(GuestAgent, found.qga_socket, progress)
    with registry.lock(name, create=True):
        if registry.lives(name):
            raise _taken(name)
        registry.save_attached(found)
    return found


def _taken(name: str) -> PreconditionError:
    """Return the error that there is a VM of a name."""
    other = "choose another name; see: fastballoon vm list"
    if registry.is_attached(name):
        other = f"to attach it anew: fastballoon vm detach {name}; or {other}"
    return PreconditionError(f"there is a VM '{name}' already", hint=other)


def _try_login(machine: Attached, progress: Progress, timeout: float) -> None:
    transport = connect(machine, timeout=timeout)
    try:
        ssh.open_agent(transport).close()
    except GuestError:
        progress.warn(f"fastballoon's agent does not run in the guest; {_NO_FIGURES}")


def _try(open_agent: Callable[[Path], AgentClient | GuestAgent], path: Path, progress: Progress) -> None:
    try:
        open_agent(path).close()
    except GuestError as e:
        progress.warn(f"{e.message}; {_NO_FIGURES}")


def detach(name: str, progress: Progress) -> None:
    """Forget a VM that was attached; it runs on as it is.

    :raise PreconditionError: there is none of that name, it was started here, or somebody works with it.
    """
    with registry.lock(name):
        if not registry.is_attached(name):
            raise PreconditionError(f"VM '{name}' was started here", hint=f"to end it: fastballoon vm stop {name}")
        try:
            with ExitStack() as opened:
                set_back(lambda: _balloon(name, opened), registry.vm_dir(name))
        except VmLostError:
            pass
        except FastballoonError as e:
            progress.warn(f"QEMU may go on asking the guest for statistics every second: {e.message}")
        registry.forget(name)


def _balloon(name: str, opened: ExitStack) -> Balloon:
    found = registry.load(name)
    assert found
    found.require_alive()
    return found.balloon(opened.enter_context(found.monitor()))
