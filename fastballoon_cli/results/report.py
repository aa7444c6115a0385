"""A report: what a set of Result files says, section by section. Reads only results, never a VM."""

from collections.abc import Iterable, Sequence

from fastballoon_cli.results.bench import BenchResult
from fastballoon_cli.results.files import ResultFile
from fastballoon_cli.results.page import Page, Section, Text
from fastballoon_cli.results.report_bench import cache_section, migration_section, states_section
from fastballoon_cli.results.report_names import sentence
from fastballoon_cli.results.report_phases import phases_section
from fastballoon_cli.results.report_provenance import provenance_section
from fastballoon_cli.results.report_single import single_section

__all__ = ["report"]

_TCG = (
    "Measured under TCG, without hardware virtualization: a kick costs next to nothing and guest code is slow, while "
    "the host's madvise is as fast as ever. Ratios differ from those on KVM; the numbers of kicks, messages and "
    "discards do not."
)
_METHOD = (
    "Every sample was taken on a guest booted for it, the variants in turn; figures are medians of all samples. An "
    "interval is the bootstrap's, at 95 % confidence."
)


def report(files: Sequence[ResultFile]) -> Page:
    """Return the report on these files; a topic that none of them is about has no section."""
    benches = [file.bench for file in files if file.bench]
    sections = [
        _summary(files, benches),
        *(
            section(scenario, benches)
            for scenario in ("inflate", "deflate")
            for section in (states_section, phases_section)
        ),
        *(cache_section(bench, number) for number, bench in enumerate(_of(benches, "drop-cache"))),
        *(migration_section(bench, number) for number, bench in enumerate(_of(benches, "migrate"))),
        single_section([file for file in files if not file.bench]),
        provenance_section(files),
    ]
    return Page("fastballoon: results", [section for section in sections if section])


def _summary(files: Sequence[ResultFile], benches: list[BenchResult]) -> Section:
    said = [Text(line) for bench in benches if (line := _headline(bench))]
    if benches:
        said.append(Text(_METHOD))
    if "tcg" in _accelerators(files):
        said.append(Text(_TCG))
    cut = [file.name for file in files if file.bench and file.bench.interrupted]
    if cut:
        said.append(Text(f"Interrupted, so with fewer samples: {', '.join(cut)}."))
    return Section("In short", said or [Text(f"{len(files)} single runs.")])


def _headline(bench: BenchResult) -> str | None:
    stock, fast = bench.case("stock"), bench.case("fast")
    name = "total_s" if bench.scenario == "migrate" else "duration_s"
    ratio = stock.ratio(fast, name) if stock and fast else None
    if ratio is None:
        return None
    what = {"inflate": "inflating the balloon of", "deflate": "deflating the balloon of", "migrate": "migrating"}
    zeroing = " with init_on_alloc=1" if bench.init_on_alloc else ""
    doing = what.get(bench.scenario, f"{bench.scenario} and inflating the balloon of")
    times = f"{ratio.value:.3g} times as long as fast ({ratio.low:.3g} .. {ratio.high:.3g})"
    return sentence(f"{doing} a guest that is {bench.guest_state}{zeroing}: stock takes {times}")


def _accelerators(files: Iterable[ResultFile]) -> set[object]:
    found = set()
    for file in files:
        cases = file.bench.cases if file.bench else []
        found |= {case.provenance.get("accel") for case in cases} or {file.document["provenance"].get("accel")}
    return found


def _of(benches: list[BenchResult], scenario: str) -> list[BenchResult]:
    return [bench for bench in benches if bench.scenario == scenario]
