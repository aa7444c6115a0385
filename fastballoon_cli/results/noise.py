"""Whether a bench's samples agree with each other well enough to be trusted."""

from dataclasses import dataclass

from fastballoon_cli.results.bench import BenchResult
from fastballoon_cli.results.metrics import JUDGED, Metric, metric

__all__ = ["Noise", "noise"]

#: With fewer samples, how far they are apart says nothing.
_MIN_SAMPLES = 3
#: Of the median: samples that are further apart have met something that has nothing to do with the variant.
_SPREAD = 0.5


@dataclass(frozen=True)
class Noise:
    """A variant whose samples are far apart.

    :ivar metric: the one that the variant is judged by.
    :ivar low, high: the extremes of its samples.
    """

    variant: str
    metric: Metric
    low: float
    high: float


def noise(bench: BenchResult) -> list[Noise]:
    """Return the variants whose samples are further apart than half of their median."""
    found = []
    for case in bench.cases:
        name = next((name for name in JUDGED if case.values(name)), None)
        values = case.values(name) if name else []
        middle = case.median(name) if name else None
        if name and middle and len(values) >= _MIN_SAMPLES and max(values) - min(values) > _SPREAD * middle:
            found.append(Noise(case.variant, metric(name), min(values), max(values)))
    return found
