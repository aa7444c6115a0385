"""The section that a person in a hurry reads: four figures, what is compared with what, and how far to trust it."""

from collections.abc import Iterable, Sequence

from fastballoon_cli.results.bench import BenchResult, Case
from fastballoon_cli.results.files import ResultFile
from fastballoon_cli.results.metrics import metric
from fastballoon_cli.results.noise import noise
from fastballoon_cli.results.page.model import Block, Figure, Figures, Grid, Row, Section, Text
from fastballoon_cli.results.report.bench import ratio_text
from fastballoon_cli.results.report.names import UNKNOWN, colour_of, conditions, titles

__all__ = ["summary_section"]

_TCG = (
    "Measured under TCG, without hardware virtualization: a kick costs next to nothing and guest code is slow, while "
    "the host's madvise is as fast as ever. Ratios differ from those on KVM; the numbers of kicks, messages and "
    "discards do not."
)
_METHOD = (
    "Every sample was taken on a guest booted for it, the variants in turn; figures are medians of all samples. A "
    "ratio says how many times as long the first takes as the second, or how many times as much it sends; its interval "
    "is the bootstrap's, at 95 % confidence."
)
_QUIETER = "Measure again with nothing else on the host, or take more samples (--repeat)."
_MOST_FIGURES = 4
#: Scenario -> what is compared: a variant over another.
_PAIRS = {
    "inflate": (("stock", "fast"),),
    "deflate": (("stock", "fast"),),
    "drop-cache": (
        ("stock-drop", "fast-reclaim"),
        ("stock-drop", "fast-drop"),
        ("stock-drop", "stock"),
        ("fast-drop", "fast"),
    ),
    "migrate": (("stock", "fast"), ("stock-hint", "fast")),
}
#: Scenario and metric of what matters, that which matters most first, and what it is called.
_FIGURES = (
    ("inflate", "duration_s", "Inflating takes"),
    ("deflate", "duration_s", "Deflating takes"),
    ("migrate", "total_s", "Migrating takes"),
    ("migrate", "transferred_bytes", "Migrating sends"),
    ("drop-cache", "duration_s", "Dropping the cache and inflating takes"),
    ("inflate", "guest_cpu_s", "Inflating takes of the guest's CPUs"),
    ("inflate", "host_rss_bytes_after", "The host holds after inflating"),
    ("inflate", "discards", "Discards while inflating"),
    ("deflate", "retouch_s", "Filling the memory again takes"),
    ("deflate", "guest_cpu_s", "Deflating takes of the guest's CPUs"),
    ("deflate", "host_rss_bytes_after", "The host holds after deflating"),
    ("deflate", "messages", "Messages while deflating"),
    ("migrate", "guest_paused_s", "Migrating pauses the guest for"),
    ("migrate", "guest_min_free_bytes", "The guest has free at least"),
    ("drop-cache", "guest_used_bytes_after", "The guest uses after dropping and inflating"),
    ("drop-cache", "reread_s", "Reading again what was cached takes"),
    ("drop-cache", "host_rss_bytes_after", "The host holds after dropping and inflating"),
)


def summary_section(files: Sequence[ResultFile]) -> Section:
    """Return what stands above all else.

    :param files: those that tell the most first.
    """
    benches = [file.bench for file in files if file.bench]
    figures = [figure for chosen in _FIGURES if (figure := _figure(benches, *chosen))]
    blocks: list[Block] = [Figures(figures[:_MOST_FIGURES])] if figures else []
    if grid := _compared(benches):
        blocks.append(grid)
    if benches:
        blocks.append(Text(_METHOD))
    if "tcg" in _accelerators(files):
        blocks.append(Text(_TCG))
    blocks += [Text(line) for line in _noisy(benches)]
    if cut := [file.name for file in files if file.bench and file.bench.interrupted]:
        blocks.append(Text(f"Interrupted, so with fewer samples: {', '.join(cut)}."))
    return Section("In short", blocks or [Text(f"{len(files)} single {'run' if len(files) == 1 else 'runs'}.")])


def _noisy(benches: Sequence[BenchResult]) -> list[str]:
    """Return what warns of samples that do not agree with each other."""
    found = [
        f"{bench.scenario}, {conditions(bench)}: {one.variant} "
        f"({one.metric.format(one.low)} .. {one.metric.format(one.high)})"
        for bench in benches
        for one in noise(bench)
    ]
    if not found:
        return []
    return [f"Noisy, samples are apart by more than half of their median: {'; '.join(found)}. {_QUIETER}"]


def _figure(benches: Sequence[BenchResult], scenario: str, name: str, label: str) -> Figure | None:
    """Return a metric of the first bench that measured it: of the patched pair if that was."""
    over, under = _PAIRS[scenario][0]
    for bench in benches:
        having = [case for case in bench.cases if case.values(name)] if bench.scenario == scenario else []
        if not having:
            continue
        case = next((one for one in having if one.variant == under), having[0])
        other = next((one for one in having if one.variant == over), None)
        remark = "" if other is None or other is case else f"; {_beside(case, other, name)}"
        value = metric(name).format(case.median(name) or 0.0)
        said = f"{case.variant}, {conditions(bench)}{remark}"
        return Figure(value, label, said, colour_of(case.variant))
    return None


def _beside(case: Case, other: Case, name: str) -> str:
    value, ratio = metric(name).format(other.median(name) or 0.0), ratio_text(other, case, name)
    much = "long" if metric(name).unit == "s" else "much"
    return f"{other.variant}: {value}" + (f", {ratio} times as {much}" if ratio else "")


def _compared(benches: Sequence[BenchResult]) -> Grid | None:
    """Return the ratios of the pairs that tell something, a row for each; None without any."""
    rows: list[Row] = []
    sends = any(bench.scenario == "migrate" for bench in benches)
    for scenario, pairs in _PAIRS.items():
        chosen = [bench for bench in benches if bench.scenario == scenario]
        found: list[Row] = []
        for title, bench in zip(titles(chosen), chosen, strict=True):
            for first, second in pairs:
                over, under = bench.case(first), bench.case(second)
                if over and under:
                    time = ratio_text(over, under, "total_s" if scenario == "migrate" else "duration_s")
                    sent = [ratio_text(over, under, "transferred_bytes") or UNKNOWN] if sends else []
                    found.append((title, f"{first} / {second}", time or UNKNOWN, *sent))
        rows += [(scenario,), *found] if found else []
    header = ("", "compared", "time (95 %)", *(["sent (95 %)"] if sends else []))
    return Grid(header, rows, words={1}) if rows else None


def _accelerators(files: Iterable[ResultFile]) -> set[object]:
    return {provenance.get("accel") for file in files for provenance in file.provenances.values()}
