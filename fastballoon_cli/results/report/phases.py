"""Where the time of a balloon's move goes: the table that the first series began with, and its bars."""

from fastballoon_cli.results.bench import BenchResult, Case
from fastballoon_cli.results.metrics import PHASE_METRICS
from fastballoon_cli.results.page.model import Bar, Bars, Block, Colour, Grid, Group, Part, Row, Section, Text
from fastballoon_cli.results.report.names import UNKNOWN, colour_of, titles, variant_cell
from fastballoon_cli.units import format_duration

__all__ = ["phases_section"]

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
#: A move has one of the first two.
_COLOURS = {
    "allocate_s": Colour.TINT_1,
    "release_s": Colour.TINT_1,
    "send_s": Colour.TINT_2,
    "translate_s": Colour.TINT_3,
    "discard_s": Colour.TINT_4,
    "other_s": Colour.TINT_5,
}

_Column = dict[str, float | None]


def phases_section(scenario: str, benches: list[BenchResult]) -> Section | None:
    """Return the stacked bars and the tables of the benches whose variants count phases, or None without one."""
    chosen = [bench for bench in benches if bench.scenario == scenario and _counting(bench)]
    if not chosen:
        return None
    names = _names(chosen)
    groups = [
        Group(title, [_bar(case, names) for case in _counting(bench)])
        for title, bench in zip(titles(chosen), chosen, strict=True)
    ]
    parts = tuple(Part(label, _COLOURS[name]) for name, label in names.items())
    blocks: list[Block] = [Bars(f"phases-{scenario}", f"Phases of {_MOVE[scenario]}, shares", groups, parts=parts)]
    blocks.append(_table(chosen, names, scenario))
    if _with_posted(chosen, scenario):
        blocks.append(Text(_POSTED_NOTE))
    if any(bench.case("stock") and bench.case("fast-pfn") for bench in chosen):
        blocks.append(Text(_STOCK_NOTE))
    return Section(f"Where the time goes: {scenario}", blocks)


def _bar(case: Case, names: dict[str, str]) -> Bar:
    column = _column(case)
    sizes = tuple(max(column[name] or 0.0, 0.0) for name in names)
    return Bar(case.variant, sizes, format_duration(_sum(column)), colour_of(case.variant))


def _table(benches: list[BenchResult], names: dict[str, str], scenario: str) -> Grid:
    rows: list[Row] = []
    for title, bench in zip(titles(benches), benches, strict=True):
        rows.append((title,))
        rows += [(variant_cell(case.variant), *_cells(_column(case), names)) for case in _counting(bench)]
        if bench is _with_posted(benches, scenario):
            rows.append(("2016", *_cells({name: _POSTED.get(name) for name in names}, names)))
    return Grid(("", *names.values(), "all"), rows)


def _with_posted(benches: list[BenchResult], scenario: str) -> BenchResult | None:
    """Return the bench that figures of long ago stand beside: the first that has the path which they are of."""
    return next((bench for bench in benches if bench.case("fast-pfn")), None) if scenario == "inflate" else None


def _counting(bench: BenchResult) -> list[Case]:
    return [case for case in bench.cases if case.values("send_s")]


def _names(benches: list[BenchResult]) -> dict[str, str]:
    """Return the phases that any of the cases has: metric -> label."""
    cases = [case for bench in benches for case in _counting(bench)]
    return {name: label for name, label in PHASE_METRICS.items() if any(case.values(name) for case in cases)}


def _column(case: Case) -> _Column:
    return {name: case.median(name) for name in PHASE_METRICS}


def _cells(column: _Column, names: dict[str, str]) -> list[str]:
    whole = _sum(column)
    values = [column[name] for name in names]
    shares = [f" ({value / whole:.1%})" if value is not None and whole else "" for value in values]
    cells = [UNKNOWN if value is None else _ms(value) + share for value, share in zip(values, shares, strict=True)]
    return [*cells, _ms(whole)]


def _sum(column: _Column) -> float:
    """Return the sum of the phases' medians, so that the shares sum to 100 %."""
    return sum(value or 0.0 for value in column.values())


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.2f} ms"
