"""A report: what a set of Result files says, section by section. Reads only results, never a VM."""

from collections.abc import Sequence

from fastballoon_cli.results.bench import BenchResult
from fastballoon_cli.results.files import ResultFile
from fastballoon_cli.results.page.model import Page
from fastballoon_cli.results.report.bench import bench_section
from fastballoon_cli.results.report.phases import phases_section
from fastballoon_cli.results.report.provenance import provenance_section
from fastballoon_cli.results.report.single import single_section
from fastballoon_cli.results.report.summary import summary_section

__all__ = ["report"]

#: The states that a guest may be in, those that most people ask for first.
_STATES = ("touched", "warm", "idle", "movable", "fragmented", "cached", "cached-large", "churning")


def report(files: Sequence[ResultFile]) -> Page:
    """Return the report on these files; a topic that none of them is about has no section.

    Its order does not depend on theirs.
    """
    files = sorted(files, key=lambda file: _place(file.bench) if file.bench else (len(_STATES) + 1,))
    benches = [file.bench for file in files if file.bench]
    sections = [
        summary_section(files),
        *(
            section(scenario, benches)
            for scenario in ("inflate", "deflate")
            for section in (bench_section, phases_section)
        ),
        *(bench_section(scenario, benches) for scenario in ("drop-cache", "migrate")),
        *(single_section(file.result, file.name) for file in files if not isinstance(file.result, BenchResult)),
        provenance_section(files),
    ]
    return Page("fastballoon: results", [section for section in sections if section])


def _place(bench: BenchResult) -> tuple[int, ...]:
    """Return where a bench belongs among others: the state, what is special, then the one that compares the most."""
    state = _STATES.index(bench.guest_state) if bench.guest_state in _STATES else len(_STATES)
    special = (int(bench.init_on_alloc), bench.balloon_bytes)
    return (state, *special, -len(bench.cases), bench.memory_bytes, bench.bandwidth_bytes_per_s or 0)
