"""Look at VMs without disturbing whoever works with them."""

from typing import Any

from fastballoon_cli.errors import VmLostError
from fastballoon_cli.host import procfs
from fastballoon_cli.machine import registry
from fastballoon_cli.machine.attached import Attached
from fastballoon_cli.machine.registry import Machine, Record
from fastballoon_cli.machine.session import open_monitor, require_running, running
from fastballoon_cli.qemu import drop_cache, free_pages
from fastballoon_cli.qemu.balloon import BalloonDevice

__all__ = ["names", "running_guest", "status"]


def names(*, attached: bool = True) -> list[str]:
    """Return the names of the VMs that run; folders of dead ones that nobody holds are cleared away.

    :param attached: those, too, that something else has started.
    """
    there = [name for name in registry.all_names() if registry.forget_unless_alive(name)]
    return there if attached else [name for name in there if not registry.is_attached(name)]


def status(name: str) -> dict[str, Any]:
    """Return what can be said of a VM without disturbing whoever works with it.

    ``state`` is QEMU's own word: ``running``, ``paused`` and others.

    :raise PreconditionError: there is none of that name.
    :raise VmLostError: its QEMU has ended.
    """
    record = running(name)
    try:
        return _status(record)
    except VmLostError:
        now = registry.load(name)
        if now is None or now == record:
            raise
        return _status(now)  # its guest has just moved on to another QEMU


def running_guest(name: str) -> Record:
    """Return the record of a VM whose guest is not paused, for somebody who is about to talk to it.

    :raise PreconditionError: there is none of that name, or its guest is paused.
    :raise VmLostError: its QEMU has ended.
    """
    record = registry.require_started(running(name))
    with open_monitor(record, looking=True) as qmp:
        require_running(qmp)
    return record


def _status(record: Machine) -> dict[str, Any]:
    with open_monitor(record, looking=True) as qmp:
        facts = record.facts(qmp)
        state = qmp.execute("query-status")["status"]
        device = BalloonDevice(qmp)
        stats = device.stats()
        counters = device.counters()
        balloon = device.size()
        options = device.options()
        drop_method = "balloon" if drop_cache.agreed(qmp) else _agent(record)
        skip_method = free_pages.method(qmp, device)
    return {
        "schema_version": 1,
        "name": facts.name,
        "state": state,
        "pid": record.pid,
        "accel": facts.accel,
        "memory_bytes": facts.memory_bytes,
        "cpus": facts.cpus,
        "kernel_variant": facts.kernel,
        "qemu_variant": facts.qemu,
        "qemu_version": facts.built.get("qemu_version"),
        "method": "page-bitmap" if counters and counters.page_bitmap else "pfn",
        "drop_cache_method": drop_method,
        "skip_free_method": skip_method,
        "balloon_bytes": balloon,
        "host_rss_bytes": procfs.rss_bytes(record.pid),
        "guest_stats": {"interval_s": stats.interval_s, "age_s": stats.age_s, "values": dict(stats.values)},
        "qmp_socket": str(record.qmp_socket),
        "device_options": options,
        **_own(record),
    }


def _agent(record: Machine) -> str | None:
    return None if isinstance(record, Attached) else "agent"


def _own(record: Machine) -> dict[str, Any]:
    """Return what only a VM has that was started here."""
    if isinstance(record, Attached):
        return {"attached": True}
    return {"attached": False, "ssh_port": record.spec.ssh_port, "directory": str(record.spec.directory)}
