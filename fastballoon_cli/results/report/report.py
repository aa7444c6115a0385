"""A report: what a set of Result files says, section by section. Reads only results, never a VM."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fastballoon_cli.results.bench import BenchResult
from fastballoon_cli.results.files import ResultFile
from fastballoon_cli.results.page.model import Page, Section, Text
from fastballoon_cli.results.report.bench import cache_section, migration_section, states_section
from fastballoon_cli.results.report.names import conditions, sentence
from fastballoon_cli.results.report.phases import phases_section
from fastballoon_cli.results.report.provenance import provenance_section
from fastballoon_cli.results.report.single import single_section

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
#: The states that a guest may be in, those that most people ask for first.
_STATES = ("touched", "idle", "fragmented", "cached", "cached-large", "churning")


@dataclass(frozen=True)
class _Claim:
    """What is said in one sentence of a bench: how two variants' medians of some metrics compare."""

    doing: str
    over: str
    under: str
    takes: tuple[tuple[str, str], ...] = (("duration_s", "takes {} times as long as {}"),)


_MIGRATED = (("total_s", "takes {} times as long as {}"), ("transferred_bytes", "sends {} times as much as {}"))
#: Scenario -> what is worth a sentence.
_CLAIMS = {
    "inflate": (_Claim("inflating the balloon", "stock", "fast"),),
    "deflate": (_Claim("deflating the balloon", "stock", "fast"),),
    "drop-cache": (_Claim("dropping the cache and inflating the balloon", "stock-drop", "fast-drop"),),
    "migrate": (
        _Claim("migrating", "stock", "fast", _MIGRATED),
        _Claim("migrating", "stock-hint", "fast", _MIGRATED),
    ),
}


def report(files: Sequence[ResultFile]) -> Page:
    """Return the report on these files; a topic that none of them is about has no section.

    Its order does not depend on theirs.
    """
    files = sorted(files, key=lambda file: _place(file.bench) if file.bench else (len(_STATES) + 1,))
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
    said = [Text(line) for scenario in _CLAIMS for bench in _of(benches, scenario) for line in _headlines(bench)]
    if benches:
        said.append(Text(_METHOD))
    if "tcg" in _accelerators(files):
        said.append(Text(_TCG))
    cut = [file.name for file in files if file.bench and file.bench.interrupted]
    if cut:
        said.append(Text(f"Interrupted, so with fewer samples: {', '.join(cut)}."))
    return Section("In short", said or [Text(f"{len(files)} single runs.")])


def _headlines(bench: BenchResult) -> list[str]:
    said = []
    for claim in _CLAIMS.get(bench.scenario, ()):
        over, under = bench.case(claim.over), bench.case(claim.under)
        if not over or not under:
            continue
        found = [(over.ratio(under, metric), words) for metric, words in claim.takes]
        parts = [
            words.format(f"{ratio.value:.3g} ({ratio.low:.3g} .. {ratio.high:.3g})", claim.under)
            for ratio, words in found
            if ratio
        ]
        if parts:
            said.append(sentence(f"{claim.doing}, {conditions(bench)}: {claim.over} {', and '.join(parts)}"))
    return said


def _place(bench: BenchResult) -> tuple[int, ...]:
    """Return where a bench belongs among others: the state, what is special, then the one that compares the most."""
    state = _STATES.index(bench.guest_state) if bench.guest_state in _STATES else len(_STATES)
    special = (int(bench.init_on_alloc), bench.balloon_bytes)
    return (state, *special, -len(bench.cases), bench.memory_bytes, bench.bandwidth_bytes_per_s or 0)


def _accelerators(files: Iterable[ResultFile]) -> set[object]:
    found = set()
    for file in files:
        cases = file.bench.cases if file.bench else []
        found |= {case.provenance.get("accel") for case in cases} or {file.document["provenance"].get("accel")}
    return found


def _of(benches: list[BenchResult], scenario: str) -> list[BenchResult]:
    return [bench for bench in benches if bench.scenario == scenario]
