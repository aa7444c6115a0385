"""Results for people: rich tables. Reads only results, never a VM."""

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table

from fastballoon_cli.results.metrics import PHASES
from fastballoon_cli.results.model import Change, DropCacheResult, MoveResult, Phases
from fastballoon_cli.units import format_duration, format_size

__all__ = ["add_memory", "drop_cache_table", "move_table", "new_table"]


def move_table(result: MoveResult) -> Table:
    """Return a table of an inflation or deflation: requested, reached, duration, phases, memory."""
    table = new_table(result.operation, result.vm, result.method, result.provenance)
    table.add_row("balloon before", _size(result.balloon_bytes.before), "")
    table.add_row("balloon requested", format_size(result.target_bytes), "")
    table.add_row("balloon reached", _size(result.balloon_bytes.after), _bytes(result.balloon_bytes.after))
    table.add_row("duration", format_duration(result.duration_s), _speed(result))
    _add_phases(table, result.phases_s, result.duration_s)
    counts = result.counts
    for name, count in (("kicks", counts.kicks), ("messages", counts.messages), ("discards", counts.discards)):
        if count is not None:
            table.add_row(f"  {name}", f"{count}", "")
    add_memory(table, "host memory (RSS of QEMU)", result.host_rss_bytes)
    add_memory(table, "guest free memory", result.guest_free_bytes)
    return table


def drop_cache_table(result: DropCacheResult) -> Table:
    """Return a table of a dropped cache: which one, how long it took, what it freed."""
    table = new_table("drop-cache", result.vm, result.method, result.provenance)
    table.add_row("mode", result.mode, "")
    table.add_row("duration", format_duration(result.duration_s), "")
    table.add_row("freed", format_size(result.freed_bytes), _bytes(result.freed_bytes))
    add_memory(table, "guest cache", result.guest_cached_bytes)
    add_memory(table, "guest free memory", result.guest_free_bytes)
    add_memory(table, "host memory (RSS of QEMU)", result.host_rss_bytes)
    return table


def new_table(operation: str, vm: str, method: str, provenance: Mapping[str, Any]) -> Table:
    """Return the empty table of one operation: what, how much, and a remark."""
    title = f"{operation} '{vm}' ({method}, {provenance.get('accel', '?')})"
    table = Table(title=title, title_justify="left", box=box.SIMPLE, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column(style="dim")
    return table


def _add_phases(table: Table, phases: Phases, duration: float) -> None:
    known = {name: value for name in PHASES if (value := getattr(phases, name)) is not None}
    if not known:
        table.add_row("  phases", "unknown", "neither the guest's kernel nor QEMU counts them")
    for name, value in known.items():
        share = f"{value / duration:.0%}" if duration else ""
        table.add_row(f"  {PHASES[name]}", format_duration(value), share)


def add_memory(table: Table, name: str, change: Change) -> None:
    """Add a size before and after to a table."""
    table.add_row(f"{name}, before", _size(change.before), "")
    delta = "" if change.delta is None else f"{'+' if change.delta >= 0 else ''}{format_size(change.delta)}"
    table.add_row(f"{name}, after", _size(change.after), delta)


def _size(size: int | None) -> str:
    return "unknown" if size is None else format_size(size)


def _bytes(size: int | None) -> str:
    return "" if size is None else f"{size} bytes"


def _speed(result: MoveResult) -> str:
    moved = result.balloon_bytes.delta
    if not moved or not result.duration_s:
        return ""
    return f"{format_size(int(abs(moved) / result.duration_s))}/s"
