"""Under what conditions a result came about."""

from datetime import UTC, datetime
from typing import Any

from fastballoon_cli import __version__
from fastballoon_cli.host import procfs
from fastballoon_cli.machine.registry import Record

__all__ = ["provenance"]


def provenance(record: Record, guest: dict[str, Any] | None, device: dict[str, Any], clock: str) -> dict[str, Any]:
    """Return what a reader needs to judge or repeat a result.

    :param guest: the agent's ``hello``, or None if it did not answer.
    :param device: properties of the balloon device.
    :param clock: where the duration comes from.
    """
    spec = record.spec
    return {
        "tool_version": __version__,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "host_cpu": procfs.cpu_model(),
        "host_kernel": procfs.kernel_release(),
        "host_thp": procfs.thp_setting(),
        "accel": spec.accel,
        "memory_bytes": spec.memory_bytes,
        "cpus": spec.cpus,
        "kernel_variant": record.kernel,
        "qemu_variant": record.qemu,
        **record.built,
        "guest_kernel": guest["kernel"] if guest else None,
        "guest_thp": guest["thp"] if guest else None,
        "init_on_alloc": guest["init_on_alloc"] if guest else None,
        "device_options": device,
        "clock": clock,
    }
