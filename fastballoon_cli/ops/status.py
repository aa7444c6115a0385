"""Look at VMs without disturbing whoever works with them."""

from typing import Any

from fastballoon_cli.errors import PreconditionError, VmLostError
from fastballoon_cli.guest.login import Login
from fastballoon_cli.machine import registry
from fastballoon_cli.machine.attached import Attached
from fastballoon_cli.machine.base import Machine
from fastballoon_cli.machine.domain import Domain
from fastballoon_cli.machine.reading import read
from fastballoon_cli.machine.registry import Record
from fastballoon_cli.machine.session import Session, open_monitor, running
from fastballoon_cli.progress import Silent
from fastballoon_cli.qemu import drop_cache, free_pages

__all__ = ["login_of_running", "names", "status"]


def names(*, attached: bool = True, booting: bool = True) -> list[str]:
    """Return the names of the VMs that run; folders of dead ones that nobody holds are cleared away.

    :param attached: those, too, that something else has started.
    :param booting: those, too, whose guest has not booted yet.
    """
    there = [name for name in registry.all_names() if registry.forget_unless_alive(name)]
    if not attached:
        there = [name for name in there if not registry.is_attached(name)]
    return there if booting else [name for name in there if not _boots(name)]


def _boots(name: str) -> bool:
    try:
        record = registry.load(name)
    except registry.UnknownRecordError:
        return False  # and whoever works with it is told what that means
    return isinstance(record, Record) and not record.ready


def status(which: str | Domain) -> dict[str, Any]:
    """Return what can be said of a VM without disturbing whoever works with it.

    ``state`` is QEMU's own word: ``running``, ``paused`` and others.

    :param which: the name of one that has a record here, or a domain.
    :raise PreconditionError: there is none of that name.
    :raise VmLostError: its QEMU has ended.
    """
    record = running(which)
    try:
        return _status(record)
    except VmLostError:
        now = registry.load(which) if isinstance(which, str) else None
        if now is None or now == record:
            raise
        return _status(now)  # its guest has just moved on to another QEMU


def login_of_running(which: str | Domain) -> Login:
    """Return how to log in to a guest that is not paused.

    :raise PreconditionError: there is no VM of that name, its guest is paused, or nobody has said how.
    :raise VmLostError: its QEMU has ended.
    """
    machine = running(which)
    if machine.login is None:
        raise PreconditionError(
            f"nobody has said how to log in to the guest of '{machine.name}'",
            hint="say it with --ssh and --identity: of a domain with each command, of another VM when it is attached",
        )
    with open_monitor(machine, looking=True) as qmp:
        machine.require_running(qmp)
    return machine.login


def _status(record: Machine) -> dict[str, Any]:
    with open_monitor(record, looking=True) as qmp:
        session = Session(record, qmp, None, Silent(), met=True)
        facts, device = session.facts, session.balloon
        state = record.state(qmp)
        now, stats, options = read(session), device.stats(), device.options()
        drop_method = "balloon" if drop_cache.agreed(qmp) else _agent(record)
        skip_method = free_pages.method(qmp, device)
    return {
        "schema_version": 1,
        "name": facts.name,
        "state": state,
        "accel": facts.accel,
        "memory_bytes": facts.memory_bytes,
        "cpus": facts.cpus,
        "kernel_variant": facts.kernel,
        "qemu_variant": facts.qemu,
        "qemu_version": facts.built.get("qemu_version"),
        "method": now.method,
        "drop_cache_method": drop_method,
        "skip_free_method": skip_method,
        "balloon_bytes": now.balloon_bytes,
        "host_rss_bytes": now.rss_bytes,
        "guest_stats": {"interval_s": stats.interval_s, "age_s": stats.age_s, "values": dict(stats.values)},
        "device_options": options,
        **_own(record),
    }


def _agent(record: Machine) -> str | None:
    """Return what there is in the guest to talk to, if it answers."""
    if record.login:
        return "agent"
    return "qga" if record.qga_socket else None


def _own(record: Machine) -> dict[str, Any]:
    """Return what not every kind of machine has."""
    match record:
        case Domain():
            return {"attached": False, "pid": None, "uri": record.uri, "uuid": record.running.uuid}
        case Attached(login=login, agent_socket=agent, qga_socket=qga):
            sockets = {"agent_socket": agent and str(agent), "qga_socket": qga and str(qga)}
            guest = {"ssh": login and str(login), **sockets}
            return {"attached": True, "pid": record.pid, "qmp_socket": str(record.qmp_socket), **guest}
        case Record(spec=spec):
            own = {"ssh_port": spec.ssh_port, "directory": str(spec.directory)}
            return {"attached": False, "pid": record.pid, "qmp_socket": str(record.qmp_socket), **own}
    raise AssertionError("there is no other kind")
