"""Look at VMs without disturbing whoever works with them."""

from typing import Any

from fastballoon_cli.errors import VmLostError
from fastballoon_cli.host import procfs
from fastballoon_cli.machine import registry
from fastballoon_cli.machine.registry import Record
from fastballoon_cli.machine.session import open_monitor, require_running, running
from fastballoon_cli.qemu import drop_cache, free_pages
from fastballoon_cli.qemu.balloon import BalloonDevice

__all__ = ["names", "running_guest", "status"]


def names() -> list[str]:
    """Return the names of the VMs that run; folders of dead ones that nobody holds are cleared away."""
    return [name for name in registry.all_names() if registry.forget_unless_alive(name)]


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
    record = running(name)
    with open_monitor(record, record.spec.observer_socket) as qmp:
        require_running(qmp)
    return record


def _status(record: Record) -> dict[str, Any]:
    with open_monitor(record, record.spec.observer_socket) as qmp:
        state = qmp.execute("query-status")["status"]
        device = BalloonDevice(qmp)
        stats = device.stats()
        counters = device.counters()
        balloon = device.size()
        options = device.options()
        drop_method = "balloon" if drop_cache.agreed(qmp) else "agent"
        skip_method = free_pages.method(qmp, device)
    spec = record.spec
    return {
        "schema_version": 1,
        "name": spec.name,
        "state": state,
        "pid": record.pid,
        "accel": spec.accel,
        "memory_bytes": spec.memory_bytes,
        "cpus": spec.cpus,
        "kernel_variant": record.kernel,
        "qemu_variant": record.qemu,
        "method": "page-bitmap" if counters and counters.page_bitmap else "pfn",
        "drop_cache_method": drop_method,
        "skip_free_method": skip_method,
        "balloon_bytes": balloon,
        "host_rss_bytes": procfs.rss_bytes(record.pid),
        "guest_stats": {"interval_s": stats.interval_s, "age_s": stats.age_s, "values": dict(stats.values)},
        "ssh_port": spec.ssh_port,
        "device_options": options,
        "directory": str(spec.directory),
    }
