"""What a migration would do, as commands to paste."""

from fastballoon_cli.host.room import free_port
from fastballoon_cli.machine import registry
from fastballoon_cli.machine.local import line
from fastballoon_cli.ops.dry_run import looking
from fastballoon_cli.ops.migrate import Options, check, wanted_capabilities
from fastballoon_cli.process import paste
from fastballoon_cli.qemu import free_pages, migration

__all__ = ["migrate"]

#: What is on in a QEMU that would be started first.
_FAST = {free_pages.CAPABILITY: True}


def migrate(name: str, options: Options, *, starts: bool, drop_first: bool) -> list[str]:
    """Return what a migration would do.

    :param starts: it starts a VM that does not run.
    :raise PreconditionError: as it would.
    """
    with looking(name, starts=starts) as vm:
        there = _FAST
        if vm.record and vm.qmp:
            origin = registry.require_started(vm.record)
            check(vm.qmp, options)
            there = migration.capabilities(vm.qmp)
            spec = origin.spec.successor(free_port())
            begin = [paste(spec.argv())]
            destination, meeting = spec.qmp_socket, spec.migration_socket
        else:
            folder = registry.vm_dir(name)
            begin, destination, meeting = vm.commands, folder / "1/qmp.sock", folder / "1/migration.sock"
        wanted = wanted_capabilities(there, options)
        states = {"capabilities": [{"capability": one, "state": state} for one, state in wanted.items()]}
        limits = migration.limits(bandwidth=options.bandwidth, downtime_s=options.downtime_s)
        return [
            *begin,
            *([vm.drop("pagecache")] if drop_first else []),
            line(destination, "migrate-set-capabilities", states),
            vm.tell("migrate-set-capabilities", **states),
            vm.tell("migrate-set-parameters", **limits),
            line(destination, "migrate-incoming", {"uri": f"unix:{meeting}"}),
            vm.tell("migrate", uri=f"unix:{meeting}"),
        ]
