"""The section on a single result, in a report and when it has just been taken: names, figures and remarks."""

from fastballoon_cli.results.metrics import PHASES
from fastballoon_cli.results.migration import MigrateResult
from fastballoon_cli.results.model import Change, DropCacheResult, MoveResult, Phases, ReclaimResult
from fastballoon_cli.results.page.model import Cell, Grid, Row, Section, Tone
from fastballoon_cli.units import PAGE_BYTES, format_duration, format_size

__all__ = ["single_section"]

#: A nanosecond: what takes less has no speed.
_SHORTEST = 1e-9


def single_section(result: MoveResult | DropCacheResult | ReclaimResult | MigrateResult, file: str = "") -> Section:
    """Return what a single result says.

    :param file: the name of the file that it was read from, if it was.
    """
    match result:
        case MoveResult():
            operation, rows = result.operation, _move(result)
        case DropCacheResult():
            operation, rows = "drop-cache", [_row("mode", result.mode), *_freed(result)]
        case ReclaimResult():
            wanted = "caches and anonymous memory" if result.anonymous else "caches"
            requested = _row("requested", format_size(result.requested_bytes), wanted)
            operation, rows = "reclaim", [requested, *_freed(result)]
        case MigrateResult():
            operation, rows = "migrate", _migrate(result)
    origin = f"{file}: " if file else ""
    title = f"{origin}{operation} '{result.vm}' ({result.method}, {result.provenance.get('accel', '?')})"
    return Section(title, [Grid((), rows, words={2})])


def _move(result: MoveResult) -> list[Row]:
    """Return an inflation or deflation: requested, reached, duration, phases, memory."""
    counts = result.counts
    named = (("kicks", counts.kicks), ("messages", counts.messages), ("discards", counts.discards))
    return [
        _row("balloon before", _size(result.balloon_bytes.before)),
        _row("balloon requested", format_size(result.target_bytes)),
        _row("balloon reached", _size(result.balloon_bytes.after), _bytes(result.balloon_bytes.after)),
        _row("duration", format_duration(result.duration_s), _speed(result)),
        *_phases(result.phases_s, result.duration_s),
        *(_row(f"  {name}", f"{count}") for name, count in named if count is not None),
        *_memory("host memory (RSS of QEMU)", result.host_rss_bytes),
        *_memory(_told(result, "guest free memory"), result.guest_free_bytes),
    ]


def _told(result: MoveResult | DropCacheResult | ReclaimResult, what: str) -> str:
    """Return what to call a figure of the guest: the balloon's statistics may be a second older than the rest."""
    return f"{what} (statistics)" if result.provenance.get("guest_memory_from") == "statistics" else what


def _freed(result: DropCacheResult | ReclaimResult) -> list[Row]:
    """Return how long it took to free memory in the guest, and how much it was."""
    return [
        _row("duration", format_duration(result.duration_s)),
        _row("freed", format_size(result.freed_bytes), _bytes(result.freed_bytes)),
        *_memory(_told(result, "guest cache"), result.guest_cached_bytes),
        *_memory(_told(result, "guest free memory"), result.guest_free_bytes),
        *_memory("host memory (RSS of QEMU)", result.host_rss_bytes),
    ]


def _migrate(result: MigrateResult) -> list[Row]:
    """Return a migration: how long, how much, what was left out, what the guest had of it."""
    ram, verified = result.ram, result.verified
    rows = [
        _row("whole migration", format_duration(result.total_s), _rate(result)),
        _row("  setup", format_duration(result.setup_s)),
        _row("downtime (QEMU's)", format_duration(result.downtime_s)),
        *_time("guest paused", result.guest_paused_s, "STOP to RESUME"),
        _row("transferred", format_size(ram.transferred_bytes), f"{ram.transferred_bytes} bytes"),
        _row("  passes", f"{ram.passes}"),
        *_pages("  sent whole", ram.normal_pages),
        *_pages("  zero", ram.zero_pages),
        *_pages("  skipped, free", ram.skipped_free_pages),
        *_pages("  skipped, in the balloon", result.skipped_balloon_pages),
    ]
    if result.answer_s is not None:
        told = format_size(result.told_free_bytes or 0)
        rows.append(_row("guest told of", told, f"in {format_duration(result.answer_s)}"))
    rows.append(_row("guest CPU meanwhile", format_duration(result.guest_cpu_s)))
    rows += _memory("guest free memory", result.guest_free_bytes)
    if result.guest_min_free_bytes is not None:
        rows.append(_row("guest free memory, least", format_size(result.guest_min_free_bytes)))
    if verified is not None:
        rows.append(_row("pages checked", f"{verified.pages}", f"{verified.mismatches} mismatches"))
    return rows


def _row(name: str, figure: str, remark: str = "") -> Row:
    return name, figure, Cell(remark, Tone.QUIET)


def _phases(phases: Phases, duration: float) -> list[Row]:
    known = {name: value for name in PHASES if (value := getattr(phases, name)) is not None}
    if not known:
        return [_row("  phases", "unknown", "neither the guest's kernel nor QEMU counts them")]
    shares = {name: f"{value / duration:.0%}" if duration else "" for name, value in known.items()}
    return [_row(f"  {PHASES[name]}", format_duration(value), shares[name]) for name, value in known.items()]


def _memory(name: str, change: Change) -> list[Row]:
    """Return a size before and after."""
    delta = "" if change.delta is None else f"{'+' if change.delta >= 0 else ''}{format_size(change.delta)}"
    return [_row(f"{name}, before", _size(change.before)), _row(f"{name}, after", _size(change.after), delta)]


def _time(name: str, seconds: float | None, remark: str) -> list[Row]:
    return [] if seconds is None else [_row(name, format_duration(seconds), remark)]


def _pages(name: str, pages: int | None) -> list[Row]:
    return [] if pages is None else [_row(name, format_size(pages * PAGE_BYTES), f"{pages} pages")]


def _size(size: int | None) -> str:
    return "unknown" if size is None else format_size(size)


def _bytes(size: int | None) -> str:
    return "" if size is None else f"{size} bytes"


def _speed(result: MoveResult) -> str:
    moved = result.balloon_bytes.delta
    if not moved or result.duration_s < _SHORTEST:
        return ""
    return f"{format_size(int(abs(moved) / result.duration_s))}/s"


def _rate(result: MigrateResult) -> str:
    return f"{format_size(int(result.ram.transferred_bytes / result.total_s))}/s" if result.total_s >= _SHORTEST else ""
