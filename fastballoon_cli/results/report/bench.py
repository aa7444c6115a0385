"""The sections on benches: durations by guest state, dropped caches, migrations."""

from fastballoon_cli.results.bench import BenchResult, Case
from fastballoon_cli.results.metrics import MIGRATION_COMPARED, MIGRATION_COSTS, MIGRATION_EFFECTS, metric
from fastballoon_cli.results.page.model import Bar, Bars, Block, Grid, Line, Lines, Section, Text
from fastballoon_cli.results.report.names import conditions, short_names
from fastballoon_cli.results.stats import median
from fastballoon_cli.units import GIB, format_duration, format_size

__all__ = ["cache_section", "migration_section", "states_section"]

_UNKNOWN = "-"
#: What dropping a cache costs, and what it leaves.
_SHOWN_OF_DROPS = [
    *("duration_s", "drop_s", "inflate_s", "host_rss_bytes_after", "guest_used_bytes_after"),
    *("refaulted_pages", "reread_s", "oom_kills"),
]
#: What a reader of a migration asks first: as pictures, not only in the table.
_DRAWN_OF_MIGRATION = ("transferred_bytes", "total_s")


def states_section(scenario: str, benches: list[BenchResult]) -> Section | None:
    """Return durations by guest state, or None without a bench of the scenario."""
    chosen = [bench for bench in benches if bench.scenario == scenario and any(case.samples for case in bench.cases)]
    if not chosen:
        return None
    variants = list(dict.fromkeys(case.variant for bench in chosen for case in bench.cases if case.samples))
    floors = scenario == "inflate"
    header = ("guest", *variants, "stock/fast (95 %)", *(("bare madvise",) if floors else ()))
    rows = [
        (
            conditions(bench),
            *(_value(bench.case(variant), "duration_s") for variant in variants),
            _over_fast(bench, bench.case("stock"), "duration_s"),
            *((format_duration(median(bench.floor)) if bench.floor else _UNKNOWN,) if floors else ()),
        )
        for bench in chosen
    ]
    names = short_names(chosen)
    bars = [
        Bar(f"{name}: {case.variant}", (value,), format_duration(value))
        for name, bench in zip(names, chosen, strict=True)
        for case in bench.cases
        if (value := case.median("duration_s"))
    ]
    doing = {"inflate": "Inflating", "deflate": "Deflating"}[scenario]
    blocks: list[Block] = [Grid(header, rows)]
    if bars:
        blocks.append(Bars(f"states-{scenario}", f"{doing}, by the guest's state; duration", bars, logarithmic=True))
    for number, (name, bench) in enumerate(zip(names, chosen, strict=True)):
        moving = {"inflate": "inflates", "deflate": "deflates"}[scenario]
        title = f"What a guest has while its balloon {moving}: {name}"
        blocks += _over_time(bench, f"memory-{scenario}-{number}", title)
    blocks.append(Grid(*_counts(chosen, names)))
    blocks += [Text(line) for bench in chosen for line in _failures(bench)]
    if floors:
        blocks.append(
            Text("The bare madvise discards as many bytes of the same kind of memory: no balloon can be faster.")
        )
    return Section(f"{doing}, by the guest's state", blocks)


def cache_section(bench: BenchResult, number: int) -> Section:
    """Return what dropping the cache before inflating costs, and what it leaves."""
    blocks: list[Block] = [_grid(bench, _SHOWN_OF_DROPS, ("duration_s",))]
    blocks.append(_drawn(bench, "duration_s", f"drop-cache-{number}", "Dropping the cache and inflating; duration"))
    return Section(f"Dropping the cache first: {conditions(bench)}", [*blocks, *map(Text, _failures(bench))])


def migration_section(bench: BenchResult, number: int) -> Section:
    """Return what migrations cost and did to the guest, by variant."""
    blocks: list[Block] = [
        _grid(bench, [*MIGRATION_COSTS], tuple(MIGRATION_COMPARED)),
        Text("What it did to the guest, and what was left out:"),
        _grid(bench, [*MIGRATION_EFFECTS]),
    ]
    # One bar would say nothing.
    drawn = _DRAWN_OF_MIGRATION if len(bench.cases) > 1 else ()
    for name in drawn:
        if any(case.values(name) for case in bench.cases):
            label = metric(name).label
            blocks.append(_drawn(bench, name, f"migrate-{name}-{number}", f"Live migration; {label}"))
    blocks += _over_time(bench, f"migrate-memory-{number}", "The guest's free memory while it is migrated")
    return Section(f"Live migration: {conditions(bench)}", [*blocks, *map(Text, _failures(bench))])


def _over_time(bench: BenchResult, slug: str, title: str) -> list[Lines]:
    """Return the memory of the guest over time, one line per variant, of their last samples."""
    curves = [(case.variant, case.guest_memory) for case in bench.cases if case.guest_memory]
    lines = [Line(variant, curve.seconds, curve.bytes) for variant, curve in curves]
    return [Lines(slug, title, lines)] if lines else []


def _grid(bench: BenchResult, names: list[str], compared: tuple[str, ...] = ()) -> Grid:
    """Return a table with a row per variant and a column per metric that any of them has.

    :param compared: metrics for which there is one more column: how many times what fast has.
    """
    there = [name for name in names if any(case.values(name) for case in bench.cases)]
    metrics = [metric(name) for name in there]
    ratios = [name for name in compared if bench.case("fast") and len(bench.cases) > 1]
    rows = [
        (
            case.variant,
            f"{len(case.samples)}",
            *(_value(case, one.name) for one in metrics),
            *(_over_fast(bench, case, name) for name in ratios),
        )
        for case in bench.cases
    ]
    against = [f"{metric(name).label}, against fast (95 %)" for name in ratios]
    return Grid(("variant", "samples", *(one.label for one in metrics), *against), rows)


def _drawn(bench: BenchResult, name: str, slug: str, title: str) -> Bars:
    values = [(case.variant, value) for case in bench.cases if (value := case.median(name))]
    bars = [Bar(variant, (value,), metric(name).format(value)) for variant, value in values]
    sizes = [value for _, value in values]
    # Only what is decades apart needs a scale that hides how much longer a bar is.
    return Bars(slug, title, bars, logarithmic=bool(sizes) and max(sizes) > 20 * min(sizes))


def _counts(benches: list[BenchResult], names: list[str]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return what does not depend on the machine: header and rows."""
    rows = []
    for title, bench in zip(names, benches, strict=True):
        for case in bench.cases:
            if not case.samples:
                continue
            counts = [case.median(name) for name in ("kicks", "messages", "discards")]
            rss = case.median("host_rss_bytes_after")
            per_gib = [_UNKNOWN if n is None else _count(n / (bench.target_bytes / GIB)) for n in counts]
            shown = (
                f"{len(case.samples)}",
                _range(case),
                *per_gib,
                _UNKNOWN if rss is None else format_size(round(rss)),
            )
            rows.append((f"{title}: {case.variant}", *shown))
    header = ("guest: variant", "samples", "min .. max", "kicks/GiB", "messages/GiB", "discards/GiB", "host RSS after")
    return header, rows


def _count(value: float) -> str:
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"


def _range(case: Case) -> str:
    values = case.values("duration_s")
    return f"{format_duration(min(values))} .. {format_duration(max(values))}" if values else _UNKNOWN


def _value(case: Case | None, name: str) -> str:
    value = case.median(name) if case else None
    return _UNKNOWN if value is None else metric(name).format(value)


def _over_fast(bench: BenchResult, case: Case | None, name: str) -> str:
    fast = bench.case("fast")
    ratio = case.ratio(fast, name) if case and fast and case is not fast else None
    return f"{ratio.value:.3g} ({ratio.low:.3g} .. {ratio.high:.3g})" if ratio else _UNKNOWN


def _failures(bench: BenchResult) -> list[str]:
    return [
        f"{bench.guest_state}, {case.variant}, round {failure.round} failed: {failure.message}."
        for case in bench.cases
        for failure in case.failures
    ]
