"""A bench of migrations for people: rich tables. Reads only results, never a VM."""

from rich import box
from rich.console import RenderableType
from rich.table import Table

from fastballoon_cli.results.bench import BenchResult, Case
from fastballoon_cli.results.metrics import metric
from fastballoon_cli.results.report_names import conditions

__all__ = ["migrate_tables"]

_UNKNOWN = "-"
#: Metric -> the column's title; what a reader asks first.
_FIRST = {
    "total_s": "whole migration",
    "transferred_bytes": "transferred",
    "passes": "passes",
    "downtime_s": "downtime",
    "guest_paused_s": "guest paused",
    "guest_cpu_s": "guest CPU",
}
_COMPARED = {"total_s": "time", "transferred_bytes": "bytes"}
#: And what it did to the guest, and what was left out.
_SECOND = {
    "guest_free_bytes_before": "guest free before",
    "guest_min_free_bytes": "least meanwhile",
    "told_free_bytes": "told to be free",
    "answer_s": "in",
    "skipped_free_bytes": "skipped, free",
    "skipped_balloon_bytes": "in the balloon",
    "drop_s": "dropping the cache",
    "verified_pages": "pages checked",
}


def migrate_tables(result: BenchResult) -> list[RenderableType]:
    """Return a table of times and bytes by variant, and one of what it did to the guest."""
    return [
        _table(result, _FIRST, f"migrate, {conditions(result)}; medians", compared=True),
        _table(result, _SECOND, "what it did to the guest; medians"),
    ]


def _table(result: BenchResult, columns: dict[str, str], title: str, *, compared: bool = False) -> Table:
    there = [name for name in columns if any(case.values(name) for case in result.cases)]
    table = Table(title=title, title_justify="left", box=box.SIMPLE, pad_edge=False)
    table.add_column("variant", style="bold")
    table.add_column("samples", justify="right")
    for name in there:
        table.add_column(columns[name], justify="right")
    ratios = _COMPARED if compared and result.case("fast") else {}
    for what in ratios.values():
        table.add_column(f"{what} against fast (95 %)", justify="right")
    for case in result.cases:
        cells = [*(_value(case, name) for name in there), *(_against_fast(result, case, name) for name in ratios)]
        table.add_row(case.variant, f"{len(case.samples)}", *cells)
    return table


def _value(case: Case, name: str) -> str:
    value = case.median(name)
    return _UNKNOWN if value is None else metric(name).format(value)


def _against_fast(result: BenchResult, case: Case, name: str) -> str:
    fast = result.case("fast")
    if fast is None or fast is case:
        return ""
    ratio = case.ratio(fast, name)
    return _UNKNOWN if ratio is None else f"{ratio.value:.3g}x ({ratio.low:.3g} .. {ratio.high:.3g})"
