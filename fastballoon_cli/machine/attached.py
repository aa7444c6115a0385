"""A QEMU that somebody else has started, reached by its monitor."""

import socket
import struct
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from fastballoon_cli.errors import PreconditionError, VmLostError
from fastballoon_cli.guest.login import Login
from fastballoon_cli.host import procfs
from fastballoon_cli.machine import facts
from fastballoon_cli.machine.facts import Facts
from fastballoon_cli.machine.local import LocalQemu, line
from fastballoon_cli.qemu.monitor import Monitor
from fastballoon_cli.qemu.qmp import Qmp

__all__ = ["Attached", "find", "not_started_here"]

#: A monitor takes one client and lets a second one hang; QEMU greets within milliseconds.
_GREETING_SECONDS = 2.0
_UCRED = struct.Struct("3i")  # pid, uid, gid: unix(7), SO_PEERCRED


@dataclass(frozen=True, kw_only=True)
class Attached(LocalQemu):
    """What is kept of a VM that was attached. All else is asked when it is needed.

    :ivar qmp_socket: its monitor; the only one that is known, so that whoever looks has to wait for whoever works.
    :ivar pid, started: QEMU's process; the start time keeps a recycled pid from being taken for it.
    :ivar login: how to log in to its guest, where our agent is; None if nobody has said it.
    :ivar agent_socket: of the port of the agent in the package ``fastballoon-guest``; None as well.
    :ivar qga_socket: of QEMU's guest agent; None if nobody has said that there is one.
    """

    name: str
    qmp_socket: Path
    pid: int
    started: int
    login: Login | None = None
    agent_socket: Path | None = None
    qga_socket: Path | None = None

    def not_ours(self) -> PreconditionError:
        """Return the error that something is for VMs that were started here."""
        return not_started_here(self.name)

    def console(self) -> str:
        """Return how to see what its guest says: where, only its owner knows."""
        return "look at the guest's console"

    def require_alive(self) -> None:
        """Raise :class:`VmLostError` if QEMU has ended."""
        if not self.alive:
            raise VmLostError(
                f"VM '{self.name}' was lost: its QEMU (pid {self.pid}) has ended",
                hint=f"when it runs again: fastballoon vm attach {self.name} --qmp {self.qmp_socket}",
            )

    def monitor(self) -> Qmp:
        """Connect to its monitor.

        :raise MonitorBusyError: somebody else holds it.
        :raise VmLostError: nobody listens there.
        """
        return Qmp(self.qmp_socket, greeting=_GREETING_SECONDS)

    observer = monitor

    def facts(self, monitor: Monitor) -> Facts:
        """Ask what this VM is like."""
        return facts.ask(self.name, monitor)

    def tell(self, command: str, arguments: Mapping[str, object]) -> str:
        """Return a command to its monitor."""
        return line(self.qmp_socket, command, arguments)


def not_started_here(name: str) -> PreconditionError:
    """Return the error that something is for VMs that were started here, and this one was attached."""
    return PreconditionError(
        f"VM '{name}' was attached: this is for VMs that fastballoon has started",
        hint=f"use what has started it; to forget it here: fastballoon vm detach {name}",
    )


def find(name: str, qmp_socket: Path) -> Attached:
    """Find out which process of this host has a monitor.

    :raise PreconditionError: there is no such socket, it may not be opened, or QEMU is no process of this host.
    :raise MonitorBusyError: somebody else holds the monitor.
    :raise VmLostError: nobody listens there.
    """
    qmp_socket = qmp_socket.absolute()
    listener = _listener(qmp_socket)
    with Qmp(qmp_socket, greeting=_GREETING_SECONDS) as qmp:
        threads = [int(cpu["thread-id"]) for cpu in qmp.execute("query-cpus-fast")]
    # A manager may have made the socket and passed it on, so that the kernel names the manager. Threads are QEMU's own.
    pid = procfs.process_of(threads[0])
    if pid is None or (pid != listener and procfs.is_qemu(listener)):
        raise PreconditionError(
            f"the QEMU that answers on {qmp_socket} is no process that can be seen from here",
            hint="use fastballoon where QEMU runs: on its host, and outside of a container of its own",
        )
    return Attached(name=name, qmp_socket=qmp_socket, pid=pid, started=procfs.start_time(pid) or 0)


def _listener(path: Path) -> int:
    """Return the pid that listens on a unix socket."""
    try:
        with closing(socket.socket(socket.AF_UNIX)) as probe:
            probe.connect(str(path))
            return int(_UCRED.unpack(probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))[0])
    except FileNotFoundError:
        raise PreconditionError(
            f"there is no socket {path}",
            hint="QEMU makes one with: -qmp unix:PATH,server=on,wait=off",
        ) from None
    except PermissionError:
        raise PreconditionError(f"{path} may not be opened by this user", hint="use sudo, or its owner") from None
    except ConnectionRefusedError:
        raise VmLostError(f"no QEMU listens on {path}") from None
    except OSError as e:
        raise PreconditionError(f"{path} is no monitor: {e.strerror or e}") from e
