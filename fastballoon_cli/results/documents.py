"""What a Result file of a bench holds, as types; a single result's type is what holds it.

What is read is checked against them, and the published JSON Schema is made of them. What came later than the first
version has a default, so that old files are read.
"""

from dataclasses import dataclass, field
from typing import Any

from fastballoon_cli.results.bench import BenchResult, Case, Failure
from fastballoon_cli.results.curve import Curve
from fastballoon_cli.results.migration import MigrateResult
from fastballoon_cli.results.model import Change, DropCacheResult, MoveResult, ReclaimResult

__all__ = [
    "DOCUMENTS",
    "BenchDocument",
    "CaseDocument",
    "ErrorDocument",
    "FloorDocument",
    "ManyDocument",
    "MetricDocument",
    "VmFailure",
]


@dataclass(frozen=True)
class MetricDocument:
    """What was measured of one metric.

    :ivar samples: in the order in which they were taken; seconds, bytes or a count, as the metric's name says.
    """

    samples: list[float]
    median: float | None = None


@dataclass(frozen=True)
class FloorDocument:
    """The bare ``madvise`` of as many bytes of the same kind of memory, in seconds.

    :ivar discard_s: the median.
    """

    discard_s: float | None = None
    samples: list[float] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class CaseDocument:
    """All samples of one variant.

    :ivar metrics: name of a metric -> what was measured of it.
    :ivar guest_memory: the guest's memory over time in the last sample.
    """

    variant: str
    metrics: dict[str, MetricDocument]
    method: str | None = None
    failures: list[Failure] | None = None
    guest_memory: Curve | None = None
    provenance: dict[str, Any] | None = None

    def case(self) -> Case:
        """Return the case that was stored so."""
        longest = max((len(metric.samples) for metric in self.metrics.values()), default=0)
        samples = [
            {name: metric.samples[n] for name, metric in self.metrics.items() if n < len(metric.samples)}
            for n in range(longest)
        ]
        return Case(self.variant, self.method, samples, self.failures or [], self.provenance or {}, self.guest_memory)


@dataclass(frozen=True, kw_only=True)
class BenchDocument:
    """Samples of several variants, taken in turn in one run.

    :ivar scenario: ``inflate``, ``deflate``, ``drop-cache`` or ``migrate``.
    :ivar target_bytes: the balloon's size after inflating; 0 for a migration.
    :ivar balloon_bytes: what is in the balloon when a migration begins.
    :ivar bandwidth_bytes_per_s: of a migration's link at most, 0 for no limit; null for what is no migration.
    :ivar interrupted: the run was ended early; all finished samples are here.
    :ivar ratios: two variants, such as ``stock/fast`` -> metric -> ratio of the medians.
    :ivar ratio_intervals_95: the same -> the interval that the ratio lies in with 95 % confidence.
    """

    scenario: str
    guest_state: str
    init_on_alloc: bool
    memory_bytes: int
    repeat: int
    cases: list[CaseDocument]
    target_bytes: int | None = None
    balloon_bytes: int | None = None
    bandwidth_bytes_per_s: int | None = None
    interrupted: bool | None = None
    floor: FloorDocument | None = None
    ratios: dict[str, dict[str, float]] = field(default_factory=dict)
    ratio_intervals_95: dict[str, dict[str, tuple[float, float]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [case.variant for case in self.cases]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"it has two cases '{twice.pop()}'")

    def result(self) -> BenchResult:
        """Return the bench that was stored so."""
        return BenchResult(
            scenario=self.scenario,
            guest_state=self.guest_state,
            init_on_alloc=self.init_on_alloc,
            memory_bytes=self.memory_bytes,
            target_bytes=self.target_bytes or 0,
            repeat=self.repeat,
            cases=[case.case() for case in self.cases],
            floor=self.floor.samples if self.floor else [],
            interrupted=bool(self.interrupted),
            balloon_bytes=self.balloon_bytes or 0,
            bandwidth_bytes_per_s=self.bandwidth_bytes_per_s,
        )


@dataclass(frozen=True)
class ErrorDocument:
    """Why something failed.

    :ivar exit_code: what the tool ends with where nothing else was asked of it.
    :ivar kind: the error's class.
    :ivar message: one sentence.
    :ivar hint: what can be done about it.
    :ivar details: further lines, such as the end of a log.
    """

    exit_code: int
    kind: str
    message: str
    hint: str | None = None
    details: str | None = None


@dataclass(frozen=True)
class VmFailure:
    """One of several VMs that an operation failed with."""

    vm: str
    error: ErrorDocument


@dataclass(frozen=True, kw_only=True)
class ManyDocument:
    """One operation on several VMs at once.

    :ivar vms: for each VM its own Result, or why there is none; in the order in which they were named, with --all by
        name.
    :ivar duration_s: from the beginning to the end of all of it, in seconds.
    :ivar failed: how many VMs it failed with.
    :ivar balloon_bytes: the sizes of all balloons that were moved; null if none was.
    :ivar freed_bytes: what the guests have freed; null if none was asked to.
    :ivar host_rss_bytes: what the host holds for those QEMUs of which that is known; null if of none.
    """

    vms: list[Any]
    duration_s: float
    failed: int
    balloon_bytes: Change | None = None
    freed_bytes: int | None = None
    host_rss_bytes: Change | None = None


#: Operation -> what its document is, beside ``schema_version`` and ``operation``.
DOCUMENTS: dict[str, type[Any]] = {
    "bench": BenchDocument,
    "inflate": MoveResult,
    "deflate": MoveResult,
    "drop-cache": DropCacheResult,
    "migrate": MigrateResult,
    "reclaim": ReclaimResult,
}
