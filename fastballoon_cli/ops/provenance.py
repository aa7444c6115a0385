"""Under what conditions a result came about."""

from datetime import UTC, datetime
from typing import Any

from fastballoon_cli import __version__
from fastballoon_cli.host import procfs
from fastballoon_cli.machine.session import Session

__all__ = ["provenance"]


def provenance(session: Session, guest: dict[str, Any] | None, device: dict[str, Any], clock: str) -> dict[str, Any]:
    """Return what a reader needs to judge or repeat a result.

    :param guest: the agent's ``hello``, or None if it did not answer.
    :param device: properties of the balloon device.
    :param clock: where the duration comes from.
    """
    facts = session.facts
    return {
        "tool_version": __version__,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        **(_this_host() if facts.host is None else {"host": facts.host}),
        "accel": facts.accel,
        "memory_bytes": facts.memory_bytes,
        "cpus": facts.cpus,
        "kernel_variant": facts.kernel,
        "qemu_variant": facts.qemu,
        **facts.built,
        "guest_kernel": guest["kernel"] if guest else None,
        "guest_thp": guest["thp"] if guest else None,
        "init_on_alloc": guest["init_on_alloc"] if guest else None,
        "guest_memory_from": session.guest_memory_from,
        "guest_memory_age_s": session.guest_memory_age_s,
        "device_options": device,
        "clock": clock,
    }


def _this_host() -> dict[str, Any]:
    return {
        "host_cpu": procfs.cpu_model(),
        "host_kernel": procfs.kernel_release(),
        "host_thp": procfs.thp_setting(),
    }
