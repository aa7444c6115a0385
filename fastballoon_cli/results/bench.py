"""The result of a bench: samples of several variants, taken in turn in one run."""

from dataclasses import asdict, dataclass, field
from typing import Any

from fastballoon_cli.results.curve import Curve
from fastballoon_cli.results.model import SCHEMA_VERSION, MoveResult
from fastballoon_cli.results.stats import median, ratio_interval

__all__ = ["BenchResult", "Case", "Failure", "Ratio", "Sample", "move_sample"]

#: Metrics that are compared between variants; the others are shown as they are.
_COMPARED = (
    *("duration_s", "total_s", "transferred_bytes", "downtime_s", "guest_paused_s"),
    *("guest_cpu_s", "retouch_s", "drop_s", "reread_s"),
)

#: One sample: metric -> value; seconds, bytes, or a count, as the name says.
Sample = dict[str, float]


def move_sample(result: MoveResult) -> Sample:
    """Return the metrics of an inflation or deflation; those that nothing counts are left out."""
    phases = {f"{name}_s": value for name, value in asdict(result.phases_s).items()}
    values = {
        "duration_s": result.duration_s,
        "guest_cpu_s": result.guest_cpu_s,
        **phases,
        **asdict(result.counts),
        "host_rss_bytes_before": result.host_rss_bytes.before,
        "host_rss_bytes_after": result.host_rss_bytes.after,
    }
    return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True)
class Failure:
    """A sample that could not be taken."""

    round: int
    message: str


@dataclass(frozen=True)
class Ratio:
    """A ratio of two medians, and the 95 % interval that it lies in."""

    value: float
    low: float
    high: float


@dataclass
class Case:
    """All samples of one variant.

    :ivar guest_memory: the guest's memory over time in the last sample.
    """

    variant: str
    method: str | None = None
    samples: list[Sample] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    provenance: dict[str, Any] = field(default_factory=dict)
    guest_memory: Curve | None = None

    def values(self, metric: str) -> list[float]:
        """Return a metric's samples in the order they were taken; empty where nothing measures it."""
        return [sample[metric] for sample in self.samples if metric in sample]

    def median(self, metric: str) -> float | None:
        """Return a metric's median."""
        values = self.values(metric)
        return median(values) if values else None

    def ratio(self, under: "Case", metric: str) -> Ratio | None:
        """Return this case's median of a metric over another's; None where it means nothing."""
        above, below = self.values(metric), under.values(metric)
        if not above or not below or min(below) <= 0:
            return None
        return Ratio(median(above) / median(below), *ratio_interval(above, below))

    def document(self) -> dict[str, Any]:
        """Return the case as it is stored."""
        names = dict.fromkeys(name for sample in self.samples for name in sample)
        return {
            "variant": self.variant,
            "method": self.method,
            "metrics": {name: {"samples": self.values(name), "median": self.median(name)} for name in names},
            "failures": [asdict(failure) for failure in self.failures],
            "guest_memory": asdict(self.guest_memory) if self.guest_memory else None,
            "provenance": self.provenance,
        }


@dataclass(kw_only=True)
class BenchResult:
    """A bench of one scenario in one guest state.

    :ivar scenario: ``inflate``, ``deflate``, ``drop-cache`` or ``migrate``.
    :ivar target_bytes: the balloon's size after inflating; 0 for a migration.
    :ivar balloon_bytes: what is in the balloon when a migration begins.
    :ivar bandwidth_bytes_per_s: of a migration's link at most, 0 for no limit; None for what is no migration.
    :ivar floor: seconds that the bare ``madvise`` of as many bytes took in this run; empty for a deflation.
    :ivar interrupted: the run was ended early; all finished samples are here.
    """

    scenario: str
    guest_state: str
    init_on_alloc: bool
    memory_bytes: int
    target_bytes: int
    repeat: int
    cases: list[Case]
    floor: list[float] = field(default_factory=list)
    interrupted: bool = False
    balloon_bytes: int = 0
    bandwidth_bytes_per_s: int | None = None

    @property
    def measured(self) -> bool:
        """Whether there is a sample at all."""
        return any(case.samples for case in self.cases)

    def case(self, variant: str) -> Case | None:
        """Return a variant's case if it has samples."""
        return next((case for case in self.cases if case.variant == variant and case.samples), None)

    def pairs(self) -> list[tuple[Case, Case]]:
        """Return what is compared: everything with ``fast``, and what differs in one thing only."""
        found = []
        alike = [
            ("fast-pfn", "stock"),
            ("stock-drop", "fast-drop"),
            ("stock-drop", "fast-reclaim"),
            ("stock-drop", "stock"),
        ]
        for over, under in [*((case.variant, "fast") for case in self.cases), *alike]:
            one, other = self.case(over), self.case(under)
            if over != under and one and other:
                found.append((one, other))
        return found

    def document(self) -> dict[str, Any]:
        """Return the result as it is printed and stored."""
        ratios: dict[str, dict[str, float]] = {}
        intervals: dict[str, dict[str, list[float]]] = {}
        for over, under in self.pairs():
            name = f"{over.variant}/{under.variant}"
            for metric in _COMPARED:
                if ratio := over.ratio(under, metric):
                    ratios.setdefault(name, {})[metric] = ratio.value
                    intervals.setdefault(name, {})[metric] = [ratio.low, ratio.high]
        return {
            "schema_version": SCHEMA_VERSION,
            "operation": "bench",
            "scenario": self.scenario,
            "guest_state": self.guest_state,
            "init_on_alloc": self.init_on_alloc,
            "memory_bytes": self.memory_bytes,
            "target_bytes": self.target_bytes,
            "balloon_bytes": self.balloon_bytes,
            "bandwidth_bytes_per_s": self.bandwidth_bytes_per_s,
            "repeat": self.repeat,
            "interrupted": self.interrupted,
            "cases": [case.document() for case in self.cases],
            "ratios": ratios,
            "ratio_intervals_95": intervals,
            "floor": {"discard_s": median(self.floor), "samples": self.floor} if self.floor else {},
        }
