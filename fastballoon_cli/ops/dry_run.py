"""What an operation would do, as commands to paste: the plan that it makes when it is run.

Asks a VM that runs, by the monitor of those who only look.
"""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from fastballoon_cli.machine import registry
from fastballoon_cli.machine.base import Machine
from fastballoon_cli.machine.domain import Domain
from fastballoon_cli.machine.local import line
from fastballoon_cli.machine.registry import Record
from fastballoon_cli.machine.session import Session, open_monitor, running
from fastballoon_cli.machine.spec import DEFAULT_MEMORY_BYTES
from fastballoon_cli.ops import balloon
from fastballoon_cli.ops import drop_cache as cache
from fastballoon_cli.ops import reclaim as reclaiming
from fastballoon_cli.ops.host_floor import short, steps
from fastballoon_cli.progress import Silent
from fastballoon_cli.qemu import drop_cache as requests
from fastballoon_cli.qemu.monitor import Monitor
from fastballoon_cli.units import format_duration, format_size

__all__ = ["Vm", "deflate", "drop_cache", "inflate", "looking", "reclaim"]


@dataclass(frozen=True)
class Vm:
    """A VM that runs; or one that would be started first, and of which nothing can be asked yet."""

    name: str
    session: Session | None = None

    @property
    def record(self) -> Machine | None:
        """The VM, if it runs."""
        return self.session.record if self.session else None

    @property
    def qmp(self) -> Monitor | None:
        """Its monitor, if it runs."""
        return self.session.qmp if self.session else None

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
        write = f"echo {cache.MODES[mode]} > /proc/sys/vm/drop_caches"
        if self.record is None or isinstance(self.record, Record):
            return f"fastballoon --vm {self.name} vm ssh -- '{write}'"
        if login := self.record.login:
            return shlex.join([*login.ssh(), write])
        if self.record.qga_socket:
            return f"# by QEMU's guest agent, {self.record.qga_socket}, in the guest: {write}"
        raise cache.no_way(self.record)


def inflate(
    which: str | Domain, target: int, *, method: str = "auto", floor: int | None = None, starts: bool, drop_first: bool
) -> list[str]:
    """Return what an inflation would do.

    :param method, floor: as for :func:`fastballoon_cli.ops.balloon.inflate`.
    :param starts: it starts a VM that does not run.
    :raise UsageError, PreconditionError: as it would.
    """
    with looking(which, starts=starts) as vm:
        first = [vm.drop("pagecache")] if drop_first else []
        if vm.session is None:
            balloon.check_inflate(target, 0, DEFAULT_MEMORY_BYTES)
            return [*vm.commands, *first, vm.tell("balloon", value=DEFAULT_MEMORY_BYTES - target)]
        vm.session.require_running()
        return [
            *first,
            *_approach(vm, vm.session, balloon.plan_inflate(vm.session, target, method=method, floor=floor)),
        ]


def _approach(vm: Vm, session: Session, plan: balloon.Plan) -> list[str]:
    """Return what asks for the target, step by step where a floor is kept; what is said of that looks as in a shell."""
    ram = session.balloon.ram_bytes

    def ask(size: int) -> str:
        return vm.tell("balloon", value=ram - size)

    if not plan.floor:
        return [ask(plan.target)]
    told = session.balloon.stats()
    available = told.values.get("stat-available-memory", told.values.get("stat-free-memory"))
    keeps = f"# in steps, by what the guest says it has available: it keeps {format_size(plan.floor)}"
    if available is None:
        return [f"{keeps}; it has said nothing yet", ask(plan.target)]
    sizes = steps(plan.size, plan.target, available=available, floor=plan.floor)
    reached = sizes[-1] if sizes else plan.size
    left = available - (reached - plan.size)
    ends = [] if reached == plan.target else [f"# no further, if {short(left, plan.floor)}"]
    said = f"{keeps} of {format_size(available)}, as of {format_duration(told.age_s or 0.0)} ago"
    return [said, *map(ask, sizes), *ends]


def deflate(which: str | Domain, target: int) -> list[str]:
    """Return what a deflation would do.

    :raise UsageError, PreconditionError: as it would.
    """
    with looking(which) as vm:
        assert vm.session
        return _approach(vm, vm.session, balloon.plan_deflate(vm.session, target))


def drop_cache(which: str | Domain, mode: str) -> list[str]:
    """Return what would drop a guest's cache.

    :raise PreconditionError: as it would.
    """
    with looking(which) as vm:
        assert vm.record and vm.qmp
        vm.record.require_running(vm.qmp)
        return [vm.drop(mode)]


def reclaim(which: str | Domain, size: int, *, anonymous: bool) -> list[str]:
    """Return what would have a guest reclaim ``size`` bytes.

    :raise PreconditionError, GuestError: as it would.
    """
    with looking(which) as vm:
        assert vm.record and vm.qmp
        vm.record.require_running(vm.qmp)
        if not requests.agreed(vm.qmp):
            raise reclaiming.no_way()
        return [vm.tell("x-balloon-reclaim", size=size, anonymous=anonymous)]


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
        yield Vm(machine.name, Session(machine, qmp, None, Silent(), met=True))
