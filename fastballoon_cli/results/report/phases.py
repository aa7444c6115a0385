"""Where the time of a balloon's move goes: the table that the first series began with, and its bars."""

from fastballoon_cli.results.bench import BenchResult, Case
from fastballoon_cli.results.metrics import PHASE_METRICS
from fastballoon_cli.results.page.model import Bar, Bars, Block, Grid, Section, Text
from fastballoon_cli.results.report.names import conditions, sentence, short_names
from fastballoon_cli.units import format_duration

__all__ = ["phases_section"]

_UNKNOWN = "-"
#: "Fast balloon & fast live migration" (Liang Li, 2016), cover letter: milliseconds of 1577, idle guest, page numbers.
_POSTED = {"allocate_s": 0.103, "send_s": 1.077, "translate_s": 0.096, "discard_s": 0.300}
_POSTED_NOTE = (
    "2016: the cover letter of the first series, 3 GB of an idle 4 GB guest, other hardware. It gives sending as "
    "787 ms; 68.3 % of its 1577 ms are 1077 ms, and only with that do its phases add up."
)
_STOCK_NOTE = (
    "An unmodified pair counts no phases: fast-pfn is the patched build with page bitmaps off, "
    "the same path by page numbers."
)

_MOVE = {"inflate": "an inflation", "deflate": "a deflation"}

_Column = dict[str, float | None]


def phases_section(scenario: str, benches: list[BenchResult]) -> Section | None:
    """Return the stacked bars and the tables of the benches whose variants count phases, or None without one."""
    chosen = [bench for bench in benches if bench.scenario == scenario and _counting(bench)]
    if not chosen:
        return None
    bars = [
        Bar(f"{name}: {case.variant}", tuple(_column(case)[metric] or 0.0 for metric in _names(chosen)), _said(case))
        for name, bench in zip(short_names(chosen), chosen, strict=True)
        for case in _counting(bench)
    ]
    labels = tuple(_names(chosen).values())
    blocks: list[Block] = [Bars(f"phases-{scenario}", f"Shares of the phases of {_MOVE[scenario]}", bars, labels)]
    # Beside one table is enough for figures of long ago: the first that has the path which they are of.
    same_path = [bench for bench in chosen if bench.case("fast-pfn")] if scenario == "inflate" else []
    for bench in chosen:
        posted = _POSTED if bench in same_path[:1] else {}
        blocks += [Text(sentence(conditions(bench))), _table(bench, posted)]
        blocks += [Text(_POSTED_NOTE)] if posted else []
    if any(bench.case("stock") and bench.case("fast-pfn") for bench in chosen):
        blocks.append(Text(_STOCK_NOTE))
    return Section(f"Where the time goes: {scenario}", blocks)


def _table(bench: BenchResult, posted: dict[str, float]) -> Grid:
    names = _names([bench])
    columns = {case.variant: _column(case) for case in _counting(bench)}
    if posted:
        columns["2016"] = {name: posted.get(name) for name in names}
    header = ["phase", *(title for variant in columns for title in (variant, "share"))]
    rows = [
        (label, *(cell for column in columns.values() for cell in _cells(column, name)))
        for name, label in names.items()
    ]
    rows.append(("all", *(cell for column in columns.values() for cell in (_ms(_sum(column)), ""))))
    return Grid(tuple(header), rows)


def _counting(bench: BenchResult) -> list[Case]:
    return [case for case in bench.cases if case.values("send_s")]


def _names(benches: list[BenchResult]) -> dict[str, str]:
    """Return the phases that any of the cases has: metric -> label."""
    cases = [case for bench in benches for case in _counting(bench)]
    return {name: label for name, label in PHASE_METRICS.items() if any(case.values(name) for case in cases)}


def _column(case: Case) -> _Column:
    return {name: case.median(name) for name in PHASE_METRICS}


def _said(case: Case) -> str:
    return format_duration(_sum(_column(case)))


def _cells(column: _Column, name: str) -> tuple[str, str]:
    value, whole = column[name], _sum(column)
    if value is None:
        return _UNKNOWN, ""
    return _ms(value), f"{value / whole:.1%}" if whole else ""


def _sum(column: _Column) -> float:
    """Return the sum of the phases' medians, so that the shares sum to 100 %."""
    return sum(value or 0.0 for value in column.values())


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.2f} ms"
