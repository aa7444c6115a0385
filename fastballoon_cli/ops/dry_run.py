"""What an operation would do, as commands to paste. Asks a VM that runs, by the monitor of those who only look."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from fastballoon_cli.machine import registry
from fastballoon_cli.machine.base import Machine
from fastballoon_cli.machine.domain import Domain
from fastballoon_cli.machine.local import line
from fastballoon_cli.machine.session import open_monitor, running
from fastballoon_cli.machine.spec import DEFAULT_MEMORY_BYTES
from fastballoon_cli.ops import balloon
from fastballoon_cli.ops import drop_cache as cache
from fastballoon_cli.qemu import drop_cache as requests
from fastballoon_cli.qemu.monitor import Monitor

__all__ = ["Vm", "deflate", "drop_cache", "inflate", "looking"]


@dataclass(frozen=True)
class Vm:
    """A VM that runs; or one that would be started first, and of which nothing can be asked yet."""

    name: str
    record: Machine | None = None
    qmp: Monitor | None = None

    @property
    def commands(self) -> list[str]:
        """What comes first."""
        return [] if self.record else [f"fastballoon vm start --name {self.name}"]

    def tell(self, command: str, **arguments: object) -> str:
        """Return a command to the QEMU that has the guest."""
        if self.record:
            return self.record.tell(command, arguments)
        return line(registry.vm_dir(self.name) / "0" / "qmp.sock", command, arguments)

    def drop(self, mode: str) -> str:
        """Return what drops the guest's cache, by the way that would be taken."""
        if self.qmp is None or requests.agreed(self.qmp):
            return self.tell("x-balloon-drop-cache", mode=mode)
        if self.record and not self.record.login:
            raise cache.no_way(self.record)
        return f"fastballoon --vm {self.name} vm ssh -- 'echo {cache.MODES[mode]} > /proc/sys/vm/drop_caches'"


def inflate(which: str | Domain, target: int, *, starts: bool, drop_first: bool) -> list[str]:
    """Return what an inflation would do.

    :param starts: it starts a VM that does not run.
    :raise UsageError, PreconditionError: as it would.
    """
    with looking(which, starts=starts) as vm:
        size, ram = 0, DEFAULT_MEMORY_BYTES
        if vm.record and vm.qmp:
            vm.record.require_running(vm.qmp)
            device = vm.record.balloon(vm.qmp)
            size, ram = device.size(), device.ram_bytes
        balloon.check_inflate(target, size, ram)
        first = [vm.drop("pagecache")] if drop_first else []
        return [*vm.commands, *first, vm.tell("balloon", value=ram - target)]


def deflate(which: str | Domain, target: int) -> list[str]:
    """Return what a deflation would do.

    :raise UsageError, PreconditionError: as it would.
    """
    with looking(which) as vm:
        assert vm.record and vm.qmp
        device = vm.record.balloon(vm.qmp)
        balloon.check_deflate(target, device.size())
        return [vm.tell("balloon", value=device.ram_bytes - target)]


def drop_cache(which: str | Domain, mode: str) -> list[str]:
    """Return what would drop a guest's cache.

    :raise PreconditionError: as it would.
    """
    with looking(which) as vm:
        assert vm.record and vm.qmp
        vm.record.require_running(vm.qmp)
        return [vm.drop(mode)]


@contextmanager
def looking(which: str | Domain, *, starts: bool = False) -> Iterator[Vm]:
    """Look at a VM that runs, or would be started first.

    :param starts: the operation starts a VM that does not run.
    :raise PreconditionError: it does not run, and nothing would start it.
    :raise VmLostError: its QEMU has ended.
    """
    if isinstance(which, str) and starts and not ((record := registry.load(which)) and record.alive):
        yield Vm(which)
        return
    machine = running(which)
    with open_monitor(machine, looking=True) as qmp:
        yield Vm(machine.name, machine, qmp)
