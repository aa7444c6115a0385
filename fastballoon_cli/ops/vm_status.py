"""Look at VMs without disturbing whoever works with them."""

from typing import Any

from fastballoon_cli.errors import VmLostError
from fastballoon_cli.host import drop_cache, free_pages, procfs, vms
from fastballoon_cli.host.balloon import BalloonDevice
from fastballoon_cli.host.qmp import Qmp
from fastballoon_cli.host.vms import Record
from fastballoon_cli.ops.session import running

__all__ = ["names", "status"]


def names() -> list[str]:
    """Return the names of the VMs that run; folders of dead ones that nobody holds are cleared away."""
    return [name for name in vms.all_names() if vms.forget_unless_alive(name)]


def status(name: str) -> dict[str, Any]:
    """Return what can be said of a VM without disturbing whoever works with it.

    :raise PreconditionError: there is none of that name.
    :raise VmLostError: its QEMU has ended.
    """
    record = running(name)
    try:
        return _status(record)
    except VmLostError:
        now = vms.load(name)
        if now is None or now == record:
            raise
        return _status(now)  # its guest has just moved on to another QEMU


def _status(record: Record) -> dict[str, Any]:
    with Qmp(record.spec.observer_socket) as qmp:
        device = BalloonDevice(qmp)
        counters = device.counters()
        balloon = device.size()
        options = device.options()
        drop_method = "balloon" if drop_cache.agreed(qmp) else "agent"
        skip_method = free_pages.method(qmp, device)
    spec = record.spec
    return {
        "schema_version": 1,
        "name": spec.name,
        "state": "running",
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
        "ssh_port": spec.ssh_port,
        "device_options": options,
        "directory": str(spec.directory),
    }
