"""Take the samples of a bench: variants in turn, each on a guest of its own."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from fastballoon_cli import build
from fastballoon_cli.errors import FastballoonError, PreconditionError
from fastballoon_cli.host import procfs
from fastballoon_cli.host.discard import discard_seconds
from fastballoon_cli.machine.session import Session
from fastballoon_cli.ops import vm as vm_ops
from fastballoon_cli.ops.bench.plan import KEPT_EVERY, Bench, check
from fastballoon_cli.ops.bench.scenarios import measure, move
from fastballoon_cli.ops.bench.states import prepare
from fastballoon_cli.ops.bench.variants import VARIANTS
from fastballoon_cli.progress import Nested, Progress
from fastballoon_cli.results.bench import BenchResult, Case, Failure
from fastballoon_cli.units import MIB, format_size

__all__ = ["run"]

_BOOT_SECONDS = 180.0
#: The floor is what discarding takes.
_WITHOUT_FLOOR = ("deflate", "migrate")


def run(bench: Bench, progress: Progress, keep: Callable[[BenchResult], None] = lambda _: None) -> BenchResult:
    """Take the samples: each on a guest that was booted for it, the variants in turn.

    Ctrl-C ends the run early; what was measured by then is returned, and the guest is stopped.

    :param keep: told after each round what was measured so far, as of a run that was interrupted.
    :raise UsageError: values that cannot be right.
    :raise FastballoonError: not a single sample could be taken; the reason of the last one.
    """
    check(bench)
    for variant in bench.chosen:
        build.qemu(build.Variant(VARIANTS[variant].qemu), progress)
        build.guest_kernel(VARIANTS[variant].guest, build.Variant(VARIANTS[variant].kernel), progress)
    build.image(progress)
    _zero_image(bench, progress)
    cases = {variant: Case(variant) for variant in bench.chosen}
    result = BenchResult(
        scenario=bench.scenario,
        guest_state=bench.guest_state,
        init_on_alloc=bench.init_on_alloc,
        memory_bytes=bench.memory_bytes,
        target_bytes=bench.target,
        repeat=bench.repeat,
        balloon_bytes=bench.balloon_bytes,
        bandwidth_bytes_per_s=bench.bandwidth if bench.migrates else None,
        cases=list(cases.values()),
    )
    progress.step(f"Measuring {bench.scenario} ({bench.guest_state})", float(bench.repeat * len(cases)))
    failed: FastballoonError | None = None
    done = 0
    try:
        for number in range(1, bench.repeat + 1):
            if bench.scenario not in _WITHOUT_FLOOR:
                result.floor.append(_floor(bench))
            for variant, case in cases.items():
                label = f"round {number} of {bench.repeat}, {variant}"
                inner = Nested(progress, done, label)
                try:
                    _sample(bench, variant, case, inner)
                except FastballoonError as e:
                    failed = e
                    case.failures.append(Failure(number, e.message))
                    progress.warn(f"{label}: {e.message}")
                done += 1
                progress.update(done)
            if number < bench.repeat and result.measured:
                keep(replace(result, interrupted=True))
    except KeyboardInterrupt:
        result.interrupted = True
        if not result.measured:
            raise
    if failed and not result.measured:
        raise failed
    return result


def _zero_image(bench: Bench, progress: Progress) -> Path | None:
    return build.zeros(bench.cached_bytes, progress) if bench.guest_state == "cached-large" else None


def _floor(bench: Bench) -> float:
    keep_every = KEPT_EVERY if bench.guest_state == "fragmented" else None
    needed = bench.target + bench.target // (KEPT_EVERY - 1)
    if (available := procfs.mem_available()) < needed + 512 * MIB:
        raise PreconditionError(
            f"the host has {format_size(available)} available, too little for a floor of {format_size(needed)}",
            hint="stop other VMs (fastballoon vm list), or use a smaller --memory",
        )
    return discard_seconds(bench.target, touched=bench.guest_state != "idle", keep_every=keep_every)


def _sample(bench: Bench, variant: str, case: Case, progress: Progress) -> None:
    """Take one sample and put it into the case."""
    request = bench.request(variant, _zero_image(bench, progress))
    with vm_ops.borrow(request, progress, timeout=_BOOT_SECONDS) as session:
        prepare(bench, session.need_agent(), lambda size: move(VARIANTS[variant], session, size, progress), progress)
        kills = _oom_kills(session)
        result, sample = measure(bench, VARIANTS[variant], session, progress)
        sample["oom_kills"] = _oom_kills(session) - kills
    case.method, case.provenance, case.guest_memory = result.method, result.provenance, result.guest_memory
    case.samples.append(sample)


def _oom_kills(session: Session) -> int:
    return int(session.need_agent().call("vmstat")["oom_kill"])
