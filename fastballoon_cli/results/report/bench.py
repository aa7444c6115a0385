"""The sections on benches: charts, then tables of all guest states, for each scenario."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fastballoon_cli.results.bench import BenchResult, Case
from fastballoon_cli.results.metrics import metric
from fastballoon_cli.results.page.model import Bar, Bars, Block, Grid, Group, Line, Lines, Row, Section, Text
from fastballoon_cli.results.report.names import UNKNOWN, colour_of, titles, variant_cell
from fastballoon_cli.results.stats import median
from fastballoon_cli.units import GIB, PAGE_BYTES, format_duration, format_size

__all__ = ["bench_section", "ratio_text"]

#: What differs by more than this factor is drawn on a logarithmic scale, which hides how much longer a bar is.
_DECADES_APART = 20


@dataclass(frozen=True)
class _Column:
    """A column of a table of variants.

    :ivar cell: what stands in it, None where nothing was measured. A column of nothing else is left out.
    """

    title: str
    cell: Callable[[BenchResult, Case], str | None]


@dataclass(frozen=True)
class _Story:
    """How a scenario is told.

    :ivar drawn: metrics that have a chart: metric -> slug of its picture.
    :ivar over_time: slug and title of the charts of the guest's memory over time.
    :ivar tables: what stands above each table, and its columns.
    """

    title: str
    drawn: dict[str, str]
    over_time: tuple[str, str]
    tables: tuple[tuple[str, tuple[_Column, ...]], ...]
    note: str = ""


def ratio_text(over: Case, under: Case, name: str) -> str | None:
    """Return how many times what another case has of a metric a case has, and the 95 % interval of that."""
    ratio = over.ratio(under, name)
    return f"{ratio.value:.3g} ({ratio.low:.3g} .. {ratio.high:.3g})" if ratio else None


def _value(name: str, title: str = "") -> _Column:
    def cell(_: BenchResult, case: Case) -> str | None:
        value = case.median(name)
        return None if value is None else metric(name).format(value)

    return _Column(title or metric(name).label, cell)


def _against_fast(name: str, title: str = "") -> _Column:
    def cell(bench: BenchResult, case: Case) -> str | None:
        fast = bench.case("fast")
        return "1" if fast is case else ratio_text(case, fast, name) if fast else None

    return _Column(f"{title} against fast (95 %)".lstrip(), cell)


def _range(name: str) -> _Column:
    def cell(_: BenchResult, case: Case) -> str | None:
        values = case.values(name)
        return f"{metric(name).format(min(values))} .. {metric(name).format(max(values))}" if values else None

    return _Column("min .. max", cell)


def _per_gib(name: str) -> _Column:
    def cell(bench: BenchResult, case: Case) -> str | None:
        count = case.median(name)
        if count is None or not bench.target_bytes:
            return None
        value = count / (bench.target_bytes / GIB)
        return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"

    return _Column(f"{name}/GiB", cell)


def _misses(_: BenchResult, case: Case) -> str | None:
    missed, size = case.median("refaulted_pages"), case.median("reread_bytes")
    if missed is None:
        return None
    return f"{missed:.0f} of {size / PAGE_BYTES:.0f} pages" if size else f"{missed:.0f} pages"


def _killed(_: BenchResult, case: Case) -> str | None:
    killed = sum(case.values("oom_kills"))
    return f"{killed:.0f}" if killed else None


def _left(bench: BenchResult, case: Case) -> str | None:
    resident, left = case.median("guest_ram_rss_bytes_after"), bench.memory_bytes - bench.target_bytes
    return None if resident is None or left <= 0 else f"{format_size(round(resident))}, {resident / left:.2f} of it"


_KILLED = _Column("processes killed for want of memory", _killed)
_SAMPLES = _Column("samples", lambda _, case: f"{len(case.samples)}")
_MOVED = (
    *(_SAMPLES, _value("duration_s"), _range("duration_s"), _against_fast("duration_s")),
    *(_value("retouch_s"), _value("guest_cpu_s"), *map(_per_gib, ("kicks", "messages", "discards"))),
    *(_value("host_rss_bytes_after"), _KILLED),
)
_DROPPED = (
    *(_SAMPLES, _value("duration_s"), _range("duration_s"), _against_fast("duration_s")),
    *(_value("drop_s"), _value("inflate_s"), _value("guest_cpu_s")),
)
_AFTER_DROPPING = (
    *(_value("host_rss_bytes_after"), _Column("of what is left to the guest, the host holds", _left)),
    *(_value("guest_used_bytes_after"), _Column("a reader misses", _misses), _value("reread_s"), _KILLED),
)
_MIGRATED = (
    *(_SAMPLES, _value("total_s"), _range("total_s"), _value("transferred_bytes"), _value("passes")),
    *(_value("downtime_s"), _value("guest_paused_s"), _value("guest_cpu_s")),
    *(_against_fast("total_s", "time"), _against_fast("transferred_bytes", "bytes")),
)
_AFTER_MIGRATING = (
    *(_value("guest_free_bytes_before"), _value("guest_min_free_bytes"), _value("told_free_bytes")),
    *(_value("answer_s"), _value("skipped_free_bytes"), _value("skipped_balloon_bytes")),
    *(_value("drop_s"), _value("verified_pages"), _KILLED),
)

_STORIES = {
    "inflate": _Story(
        "Inflating the balloon",
        {"duration_s": "states-inflate"},
        ("memory-inflate", "What the guest has while its balloon inflates"),
        (("", _MOVED),),
        "The bare madvise discards as many bytes of the same kind of memory: no balloon can be faster.",
    ),
    "deflate": _Story(
        "Deflating the balloon",
        {"duration_s": "states-deflate"},
        ("memory-deflate", "What the guest has while its balloon deflates"),
        (("", _MOVED),),
    ),
    "drop-cache": _Story(
        "Dropping the cache first, then inflating",
        {"duration_s": "drop-cache"},
        ("memory-drop-cache", "What the guest has while its balloon inflates"),
        (("", _DROPPED), ("And afterwards:", _AFTER_DROPPING)),
    ),
    "migrate": _Story(
        "Live migration",
        {"total_s": "migrate-total_s", "transferred_bytes": "migrate-transferred_bytes"},
        ("migrate-memory", "The guest's free memory while it is migrated"),
        (("", _MIGRATED), ("What it did to the guest, and what was left out:", _AFTER_MIGRATING)),
    ),
}


def bench_section(scenario: str, benches: Sequence[BenchResult]) -> Section | None:
    """Return what benches of one scenario say, by the guest's state; None without any."""
    chosen = [bench for bench in benches if bench.scenario == scenario]
    if not chosen:
        return None
    story, names = _STORIES[scenario], titles(chosen)
    blocks: list[Block] = []
    for name, slug in story.drawn.items():
        blocks += _compared(chosen, names, name, slug, f"{story.title}: {metric(name).label}")
    for number, (title, bench) in enumerate(zip(names, chosen, strict=True)):
        slug, what = story.over_time
        blocks += _over_time(bench, f"{slug}-{number}", f"{what}: {title}")
    for above, columns in story.tables:
        if grid := _grid(chosen, names, columns):
            blocks += [*([Text(above)] if above else []), grid]
    blocks += [Text(line) for bench in chosen for line in _failures(bench)]
    if story.note and any(bench.floor for bench in chosen):
        blocks.append(Text(story.note))
    return Section(story.title, blocks)


def _compared(benches: Sequence[BenchResult], names: list[str], name: str, slug: str, title: str) -> list[Block]:
    """Return the bars of a metric: a group for each bench, a bar for each variant."""
    groups = []
    for above, bench in zip(names, benches, strict=True):
        values = [(case.variant, value) for case in bench.cases if (value := case.median(name))]
        bars = [Bar(variant, (value,), metric(name).format(value), colour_of(variant)) for variant, value in values]
        groups += [Group(above, bars)] if bars else []
    sizes = [bar.whole for group in groups for bar in group.bars]
    if len(sizes) < 2:
        return []  # one bar would say nothing
    return [Bars(slug, title, groups, metric(name).unit, logarithmic=max(sizes) > _DECADES_APART * min(sizes))]


def _over_time(bench: BenchResult, slug: str, title: str) -> list[Block]:
    """Return the memory of the guest over time, one line per variant, of their last samples."""
    curves = [(case.variant, case.guest_memory) for case in bench.cases if case.guest_memory]
    if not curves:
        return []
    lines = [Line(variant, curve.seconds, curve.bytes, colour_of(variant)) for variant, curve in curves]
    ends = [line.seconds[-1] for line in lines]
    return [Lines(slug, title, lines, logarithmic=min(ends) > 0 and max(ends) > _DECADES_APART * min(ends))]


def _grid(benches: Sequence[BenchResult], names: list[str], columns: Sequence[_Column]) -> Grid | None:
    """Return a table with a row per variant, headed by the conditions; None if it would say nothing."""
    cells = {
        (n, m): [column.cell(bench, case) for column in columns]
        for n, bench in enumerate(benches)
        for m, case in enumerate(bench.cases)
    }
    kept = [k for k in range(len(columns)) if any(row[k] is not None for row in cells.values())]
    if not kept:
        return None
    rows: list[Row] = []
    for n, (title, bench) in enumerate(zip(names, benches, strict=True)):
        floor = f"; the bare madvise takes {format_duration(median(bench.floor))}" if bench.floor else ""
        rows.append((title + floor,))
        for m, case in enumerate(bench.cases):
            rows.append((variant_cell(case.variant), *(cells[n, m][k] or UNKNOWN for k in kept)))
    return Grid(("", *(columns[k].title for k in kept)), rows)


def _failures(bench: BenchResult) -> list[str]:
    return [
        f"{bench.guest_state}, {case.variant}, round {failure.round} failed: {failure.message}."
        for case in bench.cases
        for failure in case.failures
    ]
