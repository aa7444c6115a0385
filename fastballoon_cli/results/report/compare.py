"""A comparison, pair by pair."""

from fastballoon_cli.results.compare import Comparison, Line, Pair, Verdict
from fastballoon_cli.results.page.model import Block, Cell, Grid, Page, Row, Section, Text, Tone
from fastballoon_cli.results.report.names import UNKNOWN, variant_cell
from fastballoon_cli.results.settings import show

__all__ = ["comparison_page"]

_TONES = {
    Verdict.FASTER: Tone.GOOD,
    Verdict.SLOWER: Tone.BAD,
    Verdict.SAME: Tone.QUIET,
    Verdict.TOO_FEW: Tone.QUIET,
}


def comparison_page(comparison: Comparison, a: str, b: str) -> Page:
    """Return a section for each pair, and one of what there is to know about them all.

    :param a, b: what to call the two sides.
    """
    sections = [_pair(pair, a, b) for pair in comparison.pairs]
    notes = [f"Only in {a}: {name}." for name in comparison.only_a]
    notes += [f"Only in {b}: {name}." for name in comparison.only_b]
    if comparison.differences:
        notes.append("Not the same settings, so this says little about the variants themselves:")
        notes += [str(difference) for difference in comparison.differences]
    if notes:
        sections.append(Section("Beside them", [Text(note) for note in notes]))
    return Page(f"{a} and {b}", sections)


def _pair(pair: Pair, a: str, b: str) -> Section:
    same = pair.a.variant == pair.b.variant
    sides: Row = (a, b) if same else (variant_cell(pair.a.variant), variant_cell(pair.b.variant))
    rows: list[Row] = [
        (line.metric.label, line.metric.format(line.a), line.metric.format(line.b), _ratio(line), _said(line))
        for line in pair.lines
    ]
    blocks: list[Block] = [Grid(("median", *sides, "ratio (95 %)", "verdict"), rows, words={4})]
    told = [f"{_count(pair.a.samples)} against {_count(pair.b.samples)}"]
    if same:  # between two variants the builds are the very difference
        told += [f"{one.setting} {show(one.setting, one.a)} -> {show(one.setting, one.b)}" for one in pair.builds]
    return Section(pair.name, [*blocks, Text("; ".join(told))])


def _count(samples: list[dict[str, float]]) -> str:
    return f"{len(samples)} sample{'' if len(samples) == 1 else 's'}"


def _ratio(line: Line) -> str:
    ratio = line.ratio
    return UNKNOWN if ratio is None else f"{ratio.value:.3g} ({ratio.low:.3g} .. {ratio.high:.3g})"


def _said(line: Line) -> Cell:
    """Return the verdict; a factor of two or more is said the way round in which people say it."""
    factor = line.ratio.value if line.ratio else 1.0
    said = line.verdict.value
    if line.verdict in (Verdict.FASTER, Verdict.LESS) and 0 < factor <= 0.5:
        said += f", by {1 / factor:.3g}"
    if line.verdict in (Verdict.SLOWER, Verdict.MORE) and factor >= 2:
        said += f", by {factor:.3g}"
    return Cell(said, _TONES.get(line.verdict, Tone.PLAIN))
