"""What a machine is: a QEMU that runs, whoever has started it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from fastballoon_cli.errors import PreconditionError
from fastballoon_cli.guest.login import Login
from fastballoon_cli.machine.facts import Facts
from fastballoon_cli.qemu.balloon import Balloon
from fastballoon_cli.qemu.monitor import Monitor

__all__ = ["Machine", "Process"]


class Process(Protocol):
    """What the host counts of a QEMU."""

    def rss(self) -> int | None:
        """Return its resident memory in bytes; None where nobody can tell.

        :raise VmLostError: QEMU has ended.
        """
        ...

    def vcpu_seconds(self) -> float:
        """Return for how long the virtual CPUs have run so far, all together.

        :raise VmLostError: QEMU has ended.
        """
        ...


class Machine(Protocol):
    """A QEMU that runs. What is known of it is asked when it is needed, by a monitor that was opened here."""

    @property
    def name(self) -> str:
        """What it is called on the command line."""
        ...

    @property
    def login(self) -> Login | None:
        """How to log in to its guest, where an agent is; None if nobody has said it."""
        ...

    @property
    def agent_socket(self) -> Path | None:
        """The socket of the port of the agent in the package ``fastballoon-guest``; None if there is none.

        Of a domain, libvirt is asked each time.
        """
        ...

    @property
    def qga_socket(self) -> Path | None:
        """The socket of QEMU's guest agent; None if nobody has said that there is one."""
        ...

    def require_alive(self) -> None:
        """Raise :class:`VmLostError` if QEMU has ended."""
        ...

    def not_ours(self) -> PreconditionError:
        """Return the error that something is for VMs that fastballoon has started."""
        ...

    def console(self) -> str:
        """Return how to see what its guest says on its console, as a hint."""
        ...

    def monitor(self) -> Monitor:
        """Connect to the monitor of whoever holds it."""
        ...

    def observer(self) -> Monitor:
        """Connect to the monitor of those who only look."""
        ...

    def facts(self, monitor: Monitor, /) -> Facts:
        """Ask what it is like."""
        ...

    def state(self, monitor: Monitor, /) -> str:
        """Return what its guest does: ``running``, ``paused`` and others."""
        ...

    def require_running(self, monitor: Monitor, /) -> None:
        """Check that the guest is not paused.

        :raise PreconditionError: it is, or does not run for another reason.
        """
        ...

    def balloon(self, monitor: Monitor, facts: Facts | None = None, /) -> Balloon:
        """Return its balloon.

        :param facts: what was asked already.
        :raise PreconditionError: it has none.
        """
        ...

    def process(self, monitor: Monitor, /) -> Process:
        """Return what the host counts of it."""
        ...

    def tell(self, command: str, arguments: Mapping[str, object], /) -> str:
        """Return a command to its QEMU, as somebody would give it by hand."""
        ...
