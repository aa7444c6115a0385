"""How VMs are shown: a line of a list, or all that is known of one."""

from typing import Any

from rich import box
from rich.table import Table

from fastballoon_cli.errors import FastballoonError, PreconditionError
from fastballoon_cli.machine.domain import Domain
from fastballoon_cli.machine.registry import is_attached
from fastballoon_cli.machine.session import StartingError
from fastballoon_cli.qemu.qmp import MonitorBusyError
from fastballoon_cli.units import format_duration, format_size

__all__ = ["list_table", "state_of", "status_table"]

_DROPPERS = {None: "nothing", "balloon": "the balloon", "agent": "the agent", "qga": "QEMU's guest agent"}
_COLUMNS = ("name", "state", "variant", "memory", "balloon", "host RSS", "method", "accel", "pid")


def list_table(statuses: list[dict[str, Any]]) -> Table:
    """Return a line per VM.

    :param statuses: what ``ops.status`` says of each, or name and state of one that cannot be looked at.
    """
    table = Table(box=box.SIMPLE, pad_edge=False)
    for column in _COLUMNS:
        table.add_column(column)
    for status in statuses:
        table.add_row(*_row(status))
    return table


def state_of(which: str | Domain, error: FastballoonError) -> str:
    """Return what to call a VM that cannot be looked at."""
    if isinstance(error, StartingError):
        return "starting"
    if isinstance(error, MonitorBusyError) and isinstance(which, str) and is_attached(which):
        return "busy"
    return "unknown" if isinstance(error, PreconditionError) else "does not answer"


def _row(status: dict[str, Any]) -> list[str]:
    if "pid" not in status:
        return [status["name"], status["state"]]
    return [
        status["name"],
        status["state"],
        _variant(status),
        format_size(status["memory_bytes"]),
        format_size(status["balloon_bytes"]),
        _size(status["host_rss_bytes"]),
        status["method"],
        status["accel"],
        str(status["pid"] or ""),
    ]


def _variant(status: dict[str, Any]) -> str:
    kernel, qemu = status["kernel_variant"], status["qemu_variant"]
    if kernel is None:
        kind = "attached" if status["attached"] else "libvirt"
        return f"{kind}, QEMU {status['qemu_version']}" if status["qemu_version"] else kind
    return str(kernel) if kernel == qemu else f"{kernel} kernel, {qemu} QEMU"


def _stats(stats: dict[str, Any]) -> str:
    interval, age = stats["interval_s"], stats["age_s"]
    asked = f"asked for every {interval} s" if interval else "not asked for"
    return asked if age is None else f"{format_duration(age)} old, {asked}"


def _size(size: int | None) -> str:
    return "unknown" if size is None else format_size(size)


def status_table(status: dict[str, Any]) -> Table:
    """Return all that is known of a VM.

    :param status: what ``ops.status`` says of it.
    """
    table = Table(box=box.SIMPLE, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    where = f"pid {status['pid']}" if status["pid"] else status["uri"]
    table.add_row("VM", f"{status['name']} ({status['state']}, {where})")
    table.add_row("variant", _variant(status))
    table.add_row("memory, CPUs", f"{format_size(status['memory_bytes'])}, {status['cpus']} ({status['accel']})")
    table.add_row("balloon", f"{format_size(status['balloon_bytes'])} ({status['method']})")
    dropper = status["drop_cache_method"]
    table.add_row("cache dropped by", _DROPPERS[dropper])
    table.add_row("free pages skipped by", status["skip_free_method"] or "nothing")
    table.add_row("host memory (RSS)", _size(status["host_rss_bytes"]))
    table.add_row("guest's statistics", _stats(status["guest_stats"]))
    options = ", ".join(f"{k}={'on' if v else 'off'}" for k, v in status["device_options"].items())
    table.add_row("device options", options or "not asked for: its XML names none of fastballoon's")
    if status.get("ssh"):
        table.add_row("guest's login", status["ssh"])
    if status.get("qga_socket"):
        table.add_row("guest agent (QEMU's)", status["qga_socket"])
    if "ssh_port" in status:
        table.add_row("SSH port", f"127.0.0.1:{status['ssh_port']}")
    return table
