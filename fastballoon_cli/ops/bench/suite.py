"""The whole story: every bench, one after the other, each to a file of its own; what is finished is not done again."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fastballoon_cli.build.series import load_series
from fastballoon_cli.errors import FastballoonError, UsageError
from fastballoon_cli.host import procfs
from fastballoon_cli.ops.bench import run as running
from fastballoon_cli.ops.bench.plan import Bench
from fastballoon_cli.ops.bench.variants import DEFAULTS
from fastballoon_cli.progress import Progress
from fastballoon_cli.results.bench import BenchResult
from fastballoon_cli.results.files import load, save
from fastballoon_cli.units import GIB, MIB

__all__ = ["Outcome", "Step", "run", "steps"]

_PAIR = ("stock", "fast")
_PHASES = ("stock", "fast-pfn", "fast")
#: The stories that everybody asks for are told of the guest that everybody knows, 3 GiB of 4; the others of a smaller
#: one, as bringing a guest into its state takes most of the time.
_SMALLER = 2 * GIB
#: Bytes per second: about two Gbit/s, as between hosts.
_LINK = 256 * MIB
#: With three samples an interval can still be said, with fewer it cannot.
_QUICK_REPEAT, _QUICK_MEMORY = 3, GIB


@dataclass(frozen=True)
class Step:
    """One bench of the whole.

    :ivar name: of its file, without an ending.
    """

    name: str
    bench: Bench


@dataclass
class Outcome:
    """How the whole went.

    :ivar files: Result files that are there now, in order.
    :ivar resumed: those that an earlier run had finished.
    :ivar failed: name of a step -> why it gave no result.
    """

    files: list[Path] = field(default_factory=list)
    resumed: list[Path] = field(default_factory=list)
    failed: dict[str, FastballoonError] = field(default_factory=dict)
    interrupted: bool = False


def steps(*, quick: bool = False, accel: str = "auto") -> list[Step]:
    """Return the benches in the order in which they are run: what tells most comes first.

    :param quick: fewer benches and samples, of smaller guests; files of other names, so that they never replace
        better ones.
    """
    whole = _quick() if quick else _whole()
    return [Step(step.name, replace(step.bench, accel=accel)) for step in whole]


def _whole() -> list[Step]:
    small = Bench(scenario="inflate", variants=_PAIR, memory_bytes=_SMALLER)
    return [
        Step("inflate-touched", Bench(scenario="inflate", variants=(*_PHASES, "stock-reporting", "virtio-mem"))),
        Step("inflate-idle", Bench(scenario="inflate", guest_state="idle", variants=_PAIR)),
        Step("deflate-touched", Bench(scenario="deflate", variants=_PAIR)),
        Step("inflate-init_on_alloc", replace(small, init_on_alloc=True)),
        Step("inflate-fragmented", replace(small, guest_state="fragmented")),
        Step("inflate-cached", replace(small, guest_state="cached")),
        Step(
            "drop-cache", replace(small, scenario="drop-cache", guest_state="cached", variants=DEFAULTS["drop-cache"])
        ),
        Step(
            "drop-cache-large",
            replace(small, scenario="drop-cache", guest_state="cached-large", variants=DEFAULTS["drop-cache"]),
        ),
        Step("deflate-idle", replace(small, scenario="deflate", guest_state="idle")),
        Step("migrate-touched", Bench(scenario="migrate", variants=DEFAULTS["migrate"], bandwidth=_LINK)),
        Step(
            "migrate-fragmented",
            Bench(scenario="migrate", guest_state="fragmented", variants=("stock-hint", "fast"), bandwidth=_LINK),
        ),
    ]


def _quick() -> list[Step]:
    small = Bench(scenario="inflate", variants=_PAIR, memory_bytes=_QUICK_MEMORY, repeat=_QUICK_REPEAT)
    return [
        Step("quick-inflate-touched", replace(small, variants=_PHASES)),
        Step("quick-inflate-idle", replace(small, guest_state="idle")),
        Step("quick-deflate-touched", replace(small, scenario="deflate")),
        Step("quick-inflate-fragmented", replace(small, guest_state="fragmented")),
        Step("quick-inflate-cached", replace(small, guest_state="cached")),
        Step(
            "quick-migrate-touched", replace(small, scenario="migrate", variants=DEFAULTS["migrate"], bandwidth=_LINK)
        ),
    ]


def run(chosen: list[Step], folder: Path, progress: Progress) -> Outcome:
    """Run the steps that have no finished Result in ``folder``.

    One that fails does not keep the others from being run. Ctrl-C ends it; run again, it goes on where it was.
    """
    outcome = Outcome()
    for number, step in enumerate(chosen, 1):
        path = folder / f"{step.name}.json"
        if _is_done(path, step.bench):
            outcome.files.append(path)
            outcome.resumed.append(path)
            continue
        try:
            result = running.run(step.bench, _Numbered(progress, f"{number} of {len(chosen)}"), _saver(path))
        except KeyboardInterrupt:
            outcome.interrupted = True
            break
        except FastballoonError as e:
            outcome.failed[step.name] = e
            progress.warn(f"{step.name}: {e.message}")
            continue
        save(path, result.document())
        outcome.files.append(path)
        if result.interrupted:
            outcome.interrupted = True
            break
    return outcome


def _saver(path: Path) -> Callable[[BenchResult], None]:
    return lambda result: save(path, result.document())


def _is_done(path: Path, bench: Bench) -> bool:
    """Say whether a file has all that this bench would measure, with the series as they are now."""
    if not path.exists():
        return False
    try:
        result = load(path).bench
    except UsageError:
        return False
    return (
        result is not None
        and not result.interrupted
        and (result.scenario, result.guest_state, result.init_on_alloc)
        == (bench.scenario, bench.guest_state, bench.init_on_alloc)
        and (result.memory_bytes, result.target_bytes, result.repeat)
        == (bench.memory_bytes, bench.target, bench.repeat)
        and (result.balloon_bytes, result.bandwidth_bytes_per_s or 0) == (bench.balloon_bytes, bench.bandwidth)
        and {case.variant for case in result.cases if len(case.samples) == bench.repeat} == set(bench.chosen)
        and all(_is_present(*pair) for pair in _series(result))
        and all(_is_of_this_machine(case.provenance, bench) for case in result.cases)
    )


def _is_of_this_machine(measured: Mapping[str, Any], bench: Bench) -> bool:
    """Say whether a case was measured on this host, as the bench is to be. Which accelerator ``auto`` takes is open."""
    wanted = {"cpus": bench.cpus, "host_cpu": procfs.cpu_model(), "host_kernel": procfs.kernel_release()}
    if bench.accel != "auto":
        wanted["accel"] = bench.accel
    return all(measured.get(name) == value for name, value in wanted.items())


def _series(result: BenchResult) -> Iterator[tuple[str, str]]:
    """Yield the sums of the patches that a result was measured with: product and sum."""
    for case in result.cases:
        for product in ("kernel", "qemu"):
            if measured := case.provenance.get(f"{product}_series_sha256"):
                yield product, measured


def _is_present(product: str, sha256: str) -> bool:
    return load_series("kernel" if product == "kernel" else "qemu").sha256 == sha256


class _Numbered:
    """Says with each step of a bench which bench it is."""

    def __init__(self, outer: Progress, label: str) -> None:
        self._outer, self._label = outer, label

    def step(self, title: str, total: float | None = None) -> None:
        self._outer.step(f"[{self._label}] {title}", total)

    def update(self, done: float, *, total: float | None = None, note: str | None = None) -> None:
        self._outer.update(done, total=total, note=note)

    def warn(self, message: str) -> None:
        self._outer.warn(message)
