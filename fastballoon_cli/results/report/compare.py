"""A comparison for people: rich tables."""

from rich import box
from rich.console import RenderableType
from rich.table import Table

from fastballoon_cli.results.compare import Comparison, Line, Pair, Verdict
from fastballoon_cli.results.settings import show

__all__ = ["comparison_tables"]

_STYLES = {Verdict.FASTER: "green", Verdict.SLOWER: "red", Verdict.SAME: "dim", Verdict.TOO_FEW: "yellow"}


def comparison_tables(comparison: Comparison, a: str, b: str) -> list[RenderableType]:
    """Return a table of each pair, and what there is to know about them.

    :param a, b: what to call the two sides.
    """
    shown: list[RenderableType] = [_table(pair, a, b) for pair in comparison.pairs]
    notes = [f"Only in {a}: {name}." for name in comparison.only_a]
    notes += [f"Only in {b}: {name}." for name in comparison.only_b]
    if comparison.differences:
        notes.append("Not the same settings, so this says little about the variants themselves:")
        notes += [f"  {difference}" for difference in comparison.differences]
    return [*shown, *notes]


def _table(pair: Pair, a: str, b: str) -> Table:
    table = Table(title=pair.name, title_justify="left", box=box.SIMPLE, pad_edge=False)
    table.add_column("median", style="bold")
    same = pair.a.variant == pair.b.variant
    table.add_column(f"{a}" if same else pair.a.variant, justify="right")
    table.add_column(f"{b}" if same else pair.b.variant, justify="right")
    table.add_column("ratio (95 %)", justify="right")
    table.add_column("verdict")
    for line in pair.lines:
        style = _STYLES.get(line.verdict, "")
        said = _said(line)
        table.add_row(
            line.metric.label,
            line.metric.format(line.a),
            line.metric.format(line.b),
            _ratio(line),
            f"[{style}]{said}[/]" if style else said,
        )
    told = [f"{_count(pair.a.samples)} against {_count(pair.b.samples)}"]
    if same:  # between two variants the builds are the very difference
        told += [f"{one.setting} {show(one.setting, one.a)} -> {show(one.setting, one.b)}" for one in pair.builds]
    table.caption, table.caption_justify = "; ".join(told), "left"
    return table


def _count(samples: list[dict[str, float]]) -> str:
    return f"{len(samples)} sample{'' if len(samples) == 1 else 's'}"


def _ratio(line: Line) -> str:
    ratio = line.ratio
    return "-" if ratio is None else f"{ratio.value:.3g} ({ratio.low:.3g} .. {ratio.high:.3g})"


def _said(line: Line) -> str:
    """Return the verdict; a factor of two or more is said the way round in which people say it."""
    factor = line.ratio.value if line.ratio else 1.0
    if line.verdict in (Verdict.FASTER, Verdict.LESS) and 0 < factor <= 0.5:
        return f"{line.verdict}, by {1 / factor:.3g}"
    if line.verdict in (Verdict.SLOWER, Verdict.MORE) and factor >= 2:
        return f"{line.verdict}, by {factor:.3g}"
    return line.verdict.value
