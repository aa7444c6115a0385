"""Two benches, or two variants of one, side by side: by what factor they differ, and whether that can be chance."""

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from fastballoon_cli.results.bench import BenchResult, Case, Ratio
from fastballoon_cli.results.metrics import JUDGED, Metric, headline
from fastballoon_cli.results.model import SCHEMA_VERSION
from fastballoon_cli.results.settings import Difference, builds, differences

__all__ = ["MIN_SAMPLES", "Comparison", "Line", "Pair", "Verdict", "compare"]

#: With fewer the bootstrap has nothing to draw from: one sample a side makes an interval of no width.
MIN_SAMPLES = 3


class Verdict(StrEnum):
    """What can be said of a metric."""

    FASTER = "faster"
    SLOWER = "slower"
    LESS = "less"
    MORE = "more"
    SAME = "no difference"
    TOO_FEW = "too few samples"


@dataclass(frozen=True)
class Line:
    """One metric on both sides.

    :ivar ratio: b over a; None where a is 0.
    """

    metric: Metric
    a: float
    b: float
    ratio: Ratio | None
    verdict: Verdict

    def exceeds(self, allowed: float) -> bool:
        """Say whether b is worse by more than a share, and not by chance."""
        if self.ratio is None or self.verdict in (Verdict.SAME, Verdict.TOO_FEW):
            return False
        worse = 1 / self.ratio.value if self.metric.more_is_better and self.ratio.value else self.ratio.value
        return worse > 1 + allowed


@dataclass(frozen=True)
class Pair:
    """One case on both sides.

    :ivar builds: which builds differ: what the comparison is about.
    """

    a: Case
    b: Case
    lines: list[Line]
    builds: list[Difference]

    @property
    def name(self) -> str:
        """What to call it."""
        return self.a.variant if self.a.variant == self.b.variant else f"{self.a.variant} -> {self.b.variant}"

    @property
    def judged(self) -> Line | None:
        """The metric that the pair is judged by."""
        return next((line for line in self.lines if line.metric.name in JUDGED), None)


@dataclass(frozen=True)
class Comparison:
    """Two benches side by side.

    :ivar differences: settings that are not the same; unless empty, the ratios say little.
    :ivar only_a, only_b: variants that only one side has samples of.
    :ivar lost: those of ``only_a`` that the other side tried and failed to measure.
    """

    pairs: list[Pair]
    differences: list[Difference]
    only_a: list[str] = field(default_factory=list)
    only_b: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    def too_few(self) -> list[str]:
        """Return the pairs that cannot be judged for want of samples."""
        return [pair.name for pair in self.pairs if pair.judged is None or pair.judged.verdict is Verdict.TOO_FEW]

    def regressions(self, allowed: float) -> list[str]:
        """Return what is slower than allowed, one sentence each.

        :param allowed: a share, such as 0.1 for 10 %.
        """
        found = [f"{name}: not one sample could be taken any more" for name in self.lost]
        for pair in self.pairs:
            line = pair.judged
            if line and line.ratio and line.exceeds(allowed):
                found.append(f"{pair.name}: {line.metric.label} is {line.ratio.value - 1:.1%} longer")
        return found

    def document(self) -> dict[str, Any]:
        """Return the comparison as it is printed with ``--json``."""
        return {
            "schema_version": SCHEMA_VERSION,
            "operation": "compare",
            "differences": [asdict(one) for one in self.differences],
            "cases": [_pair_document(pair) for pair in self.pairs],
            "only_a": self.only_a,
            "only_b": self.only_b,
            "lost": self.lost,
        }


def compare(a: BenchResult, b: BenchResult, variants: tuple[str, str] | None = None) -> Comparison:
    """Compare ``b`` with ``a``, case by case.

    :param variants: compare this variant of ``a`` with that one of ``b`` rather than each with its like.
    """
    if variants:
        one, other = a.case(variants[0]), b.case(variants[1])
        cases = [(one, other)] if one and other else []
        only_a, only_b, lost = [], [], []
    else:
        ours = [case.variant for case in a.cases if case.samples]
        theirs = [case.variant for case in b.cases if case.samples]
        both = ((a.case(name), b.case(name)) for name in ours if name in theirs)
        cases = [(one, other) for one, other in both if one and other]
        only_a = [name for name in ours if name not in theirs]
        only_b = [name for name in theirs if name not in ours]
        lost = [case.variant for case in b.cases if case.variant in only_a]
    return Comparison(
        [Pair(one, other, _lines(one, other), builds(one, other)) for one, other in cases],
        differences(a, b, cases),
        only_a,
        only_b,
        lost,
    )


def _lines(a: Case, b: Case) -> list[Line]:
    names = dict.fromkeys(name for sample in a.samples for name in sample if b.values(name))
    lines = []
    for metric in headline(list(names)):
        one, other = a.median(metric.name), b.median(metric.name)
        if metric.compared and one is not None and other is not None:
            ratio = b.ratio(a, metric.name)
            lines.append(Line(metric, one, other, ratio, _verdict(a, b, metric, ratio)))
    return lines


def _verdict(a: Case, b: Case, metric: Metric, ratio: Ratio | None) -> Verdict:
    ours, theirs = a.values(metric.name), b.values(metric.name)
    if set(ours) == set(theirs) and len(set(ours)) == 1:
        return Verdict.SAME  # a count that is what it was needs no statistics
    if min(len(ours), len(theirs)) < MIN_SAMPLES:
        return Verdict.TOO_FEW
    if ratio is None:
        # Some of the first side are 0, and there is no ratio to that: only sides that do not touch can differ.
        low, high = min(theirs) > max(ours), max(theirs) < min(ours)
    else:
        low, high = ratio.low > 1, ratio.high < 1
    if not low and not high:
        return Verdict.SAME
    if metric.unit == "s":
        return Verdict.SLOWER if low else Verdict.FASTER
    return Verdict.MORE if low else Verdict.LESS


def _pair_document(pair: Pair) -> dict[str, Any]:
    return {
        "a": pair.a.variant,
        "b": pair.b.variant,
        "builds": [asdict(one) for one in pair.builds],
        "metrics": {
            line.metric.name: {
                "a": line.a,
                "b": line.b,
                "ratio": line.ratio.value if line.ratio else None,
                "interval_95": [line.ratio.low, line.ratio.high] if line.ratio else None,
                "verdict": line.verdict.value,
            }
            for line in pair.lines
        },
    }
