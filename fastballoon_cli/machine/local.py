"""A QEMU of this host that is known by its process and its monitor's socket."""

import json
from collections.abc import Mapping
from pathlib import Path

from fastballoon_cli.errors import PreconditionError
from fastballoon_cli.host import procfs
from fastballoon_cli.machine.facts import Facts
from fastballoon_cli.machine.process import Process
from fastballoon_cli.qemu.balloon import BalloonDevice
from fastballoon_cli.qemu.monitor import Monitor

__all__ = ["LocalQemu", "line", "require_running"]


class LocalQemu:
    """What all of them have in common, whoever has started them.

    :ivar pid, started: QEMU's process; the start time keeps a recycled pid from being taken for it.
    """

    pid: int
    started: int

    @property
    def alive(self) -> bool:
        """Whether QEMU is still that process."""
        return procfs.start_time(self.pid) == self.started

    def state(self, monitor: Monitor) -> str:
        """Return QEMU's own word for what the guest does: ``running``, ``paused`` and others."""
        return str(monitor.execute("query-status")["status"])

    def require_running(self, monitor: Monitor) -> None:
        """Check that the guest is not paused.

        :raise PreconditionError: it is, or does not run for another reason; by QEMU's word.
        """
        require_running(monitor)

    def balloon(self, monitor: Monitor, facts: Facts | None = None) -> BalloonDevice:
        """Return its balloon.

        :param facts: what was asked already.
        :raise PreconditionError: it has none.
        """
        return BalloonDevice(monitor, facts.ballooned_bytes if facts else None)

    def process(self, monitor: Monitor) -> Process:
        """Return what the host's kernel counts of it."""
        return Process(monitor, self.pid)


def require_running(monitor: Monitor) -> None:
    """Check that a guest is not paused.

    :raise PreconditionError: it is, or does not run for another reason; by QEMU's word.
    """
    status = monitor.execute("query-status")["status"]
    if status != "running":
        raise PreconditionError(f"the guest does not run: QEMU says '{status}'", hint="let it go on with QMP's 'cont'")


def line(socket: Path, command: str, arguments: Mapping[str, object]) -> str:
    """Return a command to a monitor, as a person would give it."""
    return f"QMP {socket}: {json.dumps({'execute': command, 'arguments': arguments})}"
