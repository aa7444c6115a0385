"""A bench for people: rich tables. Reads only results, never a VM."""

from rich import box
from rich.console import RenderableType
from rich.table import Table

from fastballoon_cli.results.bench import BenchResult, Case
from fastballoon_cli.results.metrics import PHASES
from fastballoon_cli.results.render_bench_migrate import migrate_tables
from fastballoon_cli.results.stats import median
from fastballoon_cli.units import GIB, PAGE_BYTES, format_duration, format_size

__all__ = ["bench_tables"]

#: Metric of a bench -> what the phase is called.
_PHASES = {f"{field}_s": name for field, name in PHASES.items()}
_UNKNOWN = "-"


def bench_tables(result: BenchResult) -> list[RenderableType]:
    """Return a table of the variants, a table of phases, and what there is to know about them."""
    if result.scenario == "migrate":
        return [*migrate_tables(result), *_notes(result)]
    tables: list[RenderableType] = [_variants(result)]
    if result.scenario == "drop-cache":
        tables.append(_afterwards(result))
    if any(case.values("send_s") for case in result.cases):
        tables.append(_phases(result))
    tables.extend(_notes(result))
    return tables


def _variants(result: BenchResult) -> Table:
    zeroing = ", init_on_alloc=1" if result.init_on_alloc else ""
    way = "from" if result.scenario == "deflate" else "to"
    title = (
        f"{result.scenario.replace('drop-cache', 'drop-cache and inflate')} {way} {format_size(result.target_bytes)}, "
        f"{result.guest_state} guest of {format_size(result.memory_bytes)}{zeroing}; medians"
    )
    table = Table(title=title, title_justify="left", box=box.SIMPLE, pad_edge=False)
    table.add_column("variant", style="bold")
    columns = ["samples", "duration", "min .. max", "against fast (95 %)", "guest CPU", "host RSS after"]
    if result.scenario == "deflate":
        columns.append("filling it again")
    for column in (*columns, "kicks/GiB", "discards/GiB"):
        table.add_column(column, justify="right")
    for case in result.cases:
        durations = case.values("duration_s")
        if not durations:
            table.add_row(case.variant, "0")
            continue
        cells = [
            f"{len(durations)}",
            format_duration(median(durations)),
            f"{format_duration(min(durations))} .. {format_duration(max(durations))}",
            _against_fast(result, case),
            format_duration(case.median("guest_cpu_s") or 0.0),
            format_size(int(case.median("host_rss_bytes_after") or 0)),
        ]
        if result.scenario == "deflate":
            again = case.median("retouch_s")
            cells.append(_UNKNOWN if again is None else format_duration(again))
        table.add_row(case.variant, *cells, *(_per_gib(result, case, name) for name in ("kicks", "discards")))
    return table


def _afterwards(result: BenchResult) -> Table:
    """What dropping the cache costs and leaves: the parts of the duration, the guest's use, a reader's misses."""
    table = Table(title="and afterwards; medians", title_justify="left", box=box.SIMPLE, pad_edge=False)
    table.add_column("variant", style="bold")
    left = result.memory_bytes - result.target_bytes
    for column in ("drop", "inflate", "guest RAM on the host", f"of {format_size(left)} left to it", "the guest uses"):
        table.add_column(column, justify="right")
    table.add_column("a reader's misses (pages)", justify="right")
    table.add_column("and time", justify="right")
    for case in result.cases:
        if not case.values("reread_s"):
            continue
        rss, used = case.median("guest_ram_rss_bytes_after") or 0, case.median("guest_used_bytes_after") or 0
        drop = case.median("drop_s")
        table.add_row(
            case.variant,
            _UNKNOWN if drop is None else format_duration(drop),
            format_duration(case.median("inflate_s") or 0.0),
            format_size(int(rss)),
            f"{rss / left:.2f}",
            format_size(int(used)),
            f"{case.median('refaulted_pages') or 0:.0f} of {int(case.values('reread_bytes')[0]) // PAGE_BYTES}",
            format_duration(case.median("reread_s") or 0.0),
        )
    return table


def _against_fast(result: BenchResult, case: Case) -> str:
    fast = result.case("fast")
    if fast is None or fast is case:
        return ""
    ratio = case.ratio(fast, "duration_s")
    if ratio is None:
        return _UNKNOWN
    return f"{ratio.value:.3g}x ({ratio.low:.3g} .. {ratio.high:.3g})"


def _per_gib(result: BenchResult, case: Case, name: str) -> str:
    count = case.median(name)
    return _UNKNOWN if count is None else f"{count / (result.target_bytes / GIB):.4g}"


def _phases(result: BenchResult) -> Table:
    """The table of the original series: each phase's time and share, side by side."""
    cases = [case for case in result.cases if case.values("send_s")]
    table = Table(title="where the time goes", title_justify="left", box=box.SIMPLE, pad_edge=False)
    table.add_column("phase", style="bold")
    for case in cases:
        table.add_column(case.variant, justify="right")
        table.add_column("", justify="right", style="dim")
    for metric, name in _PHASES.items():
        if not any(case.values(metric) for case in cases):
            continue
        cells = []
        for case in cases:
            value, whole = case.median(metric), _phase_sum(case)
            cells += [_UNKNOWN, ""] if value is None else [_ms(value), f"{value / whole:.1%}" if whole else ""]
        table.add_row(name, *cells)
    table.add_row("all", *(cell for case in cases for cell in (_ms(_phase_sum(case)), "")))
    return table


def _phase_sum(case: Case) -> float:
    """Return the sum of the phases' medians, so that the shares sum to 100 %."""
    return sum(case.median(metric) or 0.0 for metric in _PHASES)


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.2f} ms"


def _notes(result: BenchResult) -> list[str]:
    notes = []
    for above, below in (("stock-drop", "fast-drop"), ("stock-drop", "stock"), ("fast-drop", "fast")):
        over, under = result.case(above), result.case(below)
        if over and under and (ratio := over.ratio(under, "duration_s")):
            interval = f"{ratio.low:.3g} .. {ratio.high:.3g} at 95 %"
            notes.append(f"{over.variant} takes {ratio.value:.3g} times as long as {under.variant} ({interval}).")
    if result.case("stock") and result.case("fast-pfn"):
        notes.append("An unmodified pair counts no phases: stock's are those of fast-pfn, the same page number path.")
    if result.floor:
        floor = format_duration(median(result.floor))
        notes.append(f"Floor, measured in this run: the bare madvise of as many bytes takes {floor}.")
    kills = {case.variant: int(sum(case.values("oom_kills"))) for case in result.cases}
    if any(kills.values()):
        notes.append(f"Processes killed for want of memory: {', '.join(f'{v}: {n}' for v, n in kills.items() if n)}.")
    for case in result.cases:
        notes.extend(f"{case.variant}, round {failure.round} failed: {failure.message}" for failure in case.failures)
    if result.interrupted:
        notes.append("Interrupted: these are the samples of the rounds until then.")
    return notes
