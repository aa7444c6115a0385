"""The section on single runs: what ``fastballoon --json inflate`` and its like have printed."""

from fastballoon_cli.results.bench import BenchResult
from fastballoon_cli.results.files import ResultFile
from fastballoon_cli.results.migration import MigrateResult
from fastballoon_cli.results.model import Change, DropCacheResult, MoveResult
from fastballoon_cli.results.page.model import Grid, Row, Section
from fastballoon_cli.results.report.names import UNKNOWN
from fastballoon_cli.units import format_duration, format_size

__all__ = ["single_section"]


def single_section(files: list[ResultFile]) -> Section | None:
    """Return a table of single runs, or None if there are none."""
    rows = [row for file in files if (row := _row(file))]
    header = ("file", "operation", "method", "duration", "bytes", "host RSS")
    return Section("Single runs", [Grid(header, rows, words={1, 2})]) if rows else None


def _row(file: ResultFile) -> Row | None:
    rss: Change | None = None
    match file.result:
        case BenchResult():
            return None
        case MoveResult() as moved:
            seconds, what, rss = moved.duration_s, f"balloon {_change(moved.balloon_bytes)}", moved.host_rss_bytes
        case DropCacheResult() as dropped:
            seconds, what, rss = dropped.duration_s, f"{format_size(dropped.freed_bytes)} freed", dropped.host_rss_bytes
        case MigrateResult() as migrated:
            seconds, what = migrated.total_s, f"{format_size(migrated.ram.transferred_bytes)} transferred"
    told = (file.name, file.operation, file.result.method, format_duration(seconds), what)
    return (*told, UNKNOWN if rss is None else _change(rss))


def _change(change: Change) -> str:
    return " -> ".join("?" if size is None else format_size(size) for size in (change.before, change.after))
