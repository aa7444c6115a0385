"""A bench of migrations for people: rich tables. Reads only results, never a VM."""

from rich import box
from rich.console import RenderableType
from rich.table import Table

from fastballoon_cli.results.bench import BenchResult, Case
from fastballoon_cli.results.metrics import MIGRATION_COMPARED, MIGRATION_COSTS, MIGRATION_EFFECTS, metric
from fastballoon_cli.results.report.names import conditions

__all__ = ["migrate_tables"]

_UNKNOWN = "-"


def migrate_tables(result: BenchResult) -> list[RenderableType]:
    """Return a table of times and bytes by variant, and one of what it did to the guest."""
    return [
        _table(result, MIGRATION_COSTS, f"migrate, {conditions(result)}; medians", compared=True),
        _table(result, MIGRATION_EFFECTS, "what it did to the guest; medians"),
    ]


def _table(result: BenchResult, columns: dict[str, str], title: str, *, compared: bool = False) -> Table:
    there = [name for name in columns if any(case.values(name) for case in result.cases)]
    table = Table(title=title, title_justify="left", box=box.SIMPLE, pad_edge=False)
    table.add_column("variant", style="bold")
    table.add_column("samples", justify="right")
    for name in there:
        table.add_column(columns[name], justify="right")
    ratios = MIGRATION_COMPARED if compared and result.case("fast") else {}
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
