"""What an operation would do, as commands to paste. Asks a VM that runs, by the monitor of those who only look."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fastballoon_cli.machine import registry
from fastballoon_cli.machine.registry import Machine
from fastballoon_cli.machine.session import open_monitor, require_running, running
from fastballoon_cli.machine.spec import DEFAULT_MEMORY_BYTES
from fastballoon_cli.ops import balloon, cache
from fastballoon_cli.qemu import drop_cache as requests
from fastballoon_cli.qemu.balloon import BalloonDevice
from fastballoon_cli.qemu.qmp import Qmp

__all__ = ["Vm", "deflate", "drop_cache", "inflate", "line", "looking"]


@dataclass(frozen=True)
class Vm:
    """A VM that runs; or one that would be started first, and of which nothing can be asked yet."""

    name: str
    record: Machine | None = None
    qmp: Qmp | None = None

    @property
    def commands(self) -> list[str]:
        """What comes first."""
        return [] if self.record else [f"fastballoon vm start --name {self.name}"]

    @property
    def monitor(self) -> Path:
        """The monitor of the QEMU that has the guest."""
        return self.record.qmp_socket if self.record else registry.vm_dir(self.name) / "0" / "qmp.sock"

    def tell(self, command: str, **arguments: object) -> str:
        """Return a command to QEMU's monitor."""
        return line(self.monitor, command, arguments)

    def drop(self, mode: str) -> str:
        """Return what drops the guest's cache, by the way that would be taken."""
        if self.qmp is None or requests.agreed(self.qmp):
            return self.tell("x-balloon-drop-cache", mode=mode)
        return f"fastballoon --vm {self.name} vm ssh -- 'echo {cache.MODES[mode]} > /proc/sys/vm/drop_caches'"


def inflate(name: str, target: int, *, starts: bool, drop_first: bool) -> list[str]:
    """Return what an inflation would do.

    :param starts: it starts a VM that does not run.
    :raise UsageError, PreconditionError: as it would.
    """
    with looking(name, starts=starts) as vm:
        size, ram = 0, DEFAULT_MEMORY_BYTES
        if vm.qmp:
            require_running(vm.qmp)
            device = BalloonDevice(vm.qmp)
            size, ram = device.size(), device.ram_bytes
        balloon.check_inflate(target, size, ram)
        first = [vm.drop("pagecache")] if drop_first else []
        return [*vm.commands, *first, vm.tell("balloon", value=ram - target)]


def deflate(name: str, target: int) -> list[str]:
    """Return what a deflation would do.

    :raise UsageError, PreconditionError: as it would.
    """
    with looking(name) as vm:
        assert vm.qmp
        device = BalloonDevice(vm.qmp)
        balloon.check_deflate(target, device.size())
        return [vm.tell("balloon", value=device.ram_bytes - target)]


def drop_cache(name: str, mode: str) -> list[str]:
    """Return what would drop a guest's cache.

    :raise PreconditionError: as it would.
    """
    with looking(name) as vm:
        assert vm.qmp
        require_running(vm.qmp)
        return [vm.drop(mode)]


@contextmanager
def looking(name: str, *, starts: bool = False) -> Iterator[Vm]:
    """Look at a VM that runs, or would be started first.

    :param starts: the operation starts a VM that does not run.
    :raise PreconditionError: it does not run, and nothing would start it.
    :raise VmLostError: its QEMU has ended.
    """
    record = registry.load(name)
    if starts and not (record and record.alive):
        yield Vm(name)
        return
    record = running(name)
    with open_monitor(record, looking=True) as qmp:
        yield Vm(name, record, qmp)


def line(monitor: Path, command: str, arguments: object) -> str:
    """Return a command to a monitor."""
    return f"QMP {monitor}: {json.dumps({'execute': command, 'arguments': arguments})}"
