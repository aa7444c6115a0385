"""Benches: variants of a balloon, measured in turn on guests of their own."""

import os
from collections.abc import Callable
from dataclasses import dataclass

from fastballoon_cli import build
from fastballoon_cli.errors import FastballoonError, PreconditionError, UsageError
from fastballoon_cli.guest.agent import AgentClient
from fastballoon_cli.host import procfs
from fastballoon_cli.host.floor import discard_seconds
from fastballoon_cli.ops import balloon, virtio_mem
from fastballoon_cli.ops import vm as vm_ops
from fastballoon_cli.ops.session import Session, hold
from fastballoon_cli.progress import Nested, Progress, Silent
from fastballoon_cli.results.bench import BenchResult, Case, Failure, Sample, move_sample
from fastballoon_cli.results.model import MoveResult
from fastballoon_cli.units import GIB, MIB, format_size

__all__ = ["DEFAULT_VARIANTS", "GUEST_STATES", "VARIANTS", "Bench", "run"]

GUEST_STATES = ("idle", "touched", "fragmented", "cached")
DEFAULT_VARIANTS = ("stock", "fast-pfn", "fast")

#: A guest state takes the guest minutes rather than seconds when it is a large one.
_STATE_SECONDS = 600.0
_MOVE_SECONDS = 300.0
_BOOT_SECONDS = 180.0
#: One page in so many stays in a fragmented guest.
_KEPT_EVERY = 64
#: virtio-mem plugs and unplugs in multiples of this, a memory section of x86-64.
_SECTION_BYTES = 128 * MIB


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A way to take a guest's memory.

    :ivar kernel, qemu: which builds.
    :ivar pluggable: the memory is lent by virtio-mem, and a target is reached by unplugging.
    """

    kernel: str
    qemu: str
    balloon_options: str = ""
    pluggable: bool = False


VARIANTS = {
    "fast": Variant(kernel="fast", qemu="fast"),
    "stock": Variant(kernel="stock", qemu="stock"),
    # The PFN path of the instrumented build: it has the phases that an unmodified pair can't tell.
    "fast-pfn": Variant(kernel="fast", qemu="fast", balloon_options="x-page-bitmap=off"),
    "stock-reporting": Variant(kernel="stock", qemu="stock", balloon_options="free-page-reporting=on"),
    "virtio-mem": Variant(kernel="stock", qemu="stock", pluggable=True),
}


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What is to be measured.

    :ivar scenario: ``inflate`` or ``deflate``; the latter inflates first and measures the way back.
    :ivar target_bytes: the balloon's size; by default three quarters of the memory, five eighths when fragmented.
    """

    scenario: str
    variants: tuple[str, ...] = DEFAULT_VARIANTS
    guest_state: str = "touched"
    init_on_alloc: bool = False
    memory_bytes: int = 4 * GIB
    cpus: int = 2
    accel: str = "auto"
    target_bytes: int | None = None
    repeat: int = 5

    @property
    def target(self) -> int:
        """The balloon's size in bytes."""
        if self.target_bytes is not None:
            return self.target_bytes
        eighths = 5 if self.guest_state == "fragmented" else 6
        return self.memory_bytes // 8 * eighths

    def request(self, variant: str) -> vm_ops.Request:
        """Return the VM that one sample of a variant is taken on."""
        chosen = VARIANTS[variant]
        words = [f"init_on_alloc={int(self.init_on_alloc)}"]
        if chosen.pluggable:
            # What can be moved can be unplugged: the setting that virtio-mem's own documentation recommends.
            words.append("memhp_default_state=online_movable")
        return vm_ops.Request(
            name=f"bench-{os.getpid()}",
            memory_bytes=self.memory_bytes,
            cpus=self.cpus,
            accel=self.accel,
            kernel=chosen.kernel,
            qemu=chosen.qemu,
            balloon_options=chosen.balloon_options,
            append=" ".join(words),
            pluggable_bytes=self.target if chosen.pluggable else 0,
            zero_disk_bytes=self.memory_bytes if self.guest_state == "cached" else 0,
        )


def run(bench: Bench, progress: Progress) -> BenchResult:
    """Take the samples: each on a guest that was booted for it, the variants in turn.

    Ctrl-C ends the run early; what was measured by then is returned, and the guest is stopped.

    :raise UsageError: values that cannot be right.
    :raise FastballoonError: not a single sample could be taken; the reason of the last one.
    """
    _check(bench)
    for variant in bench.variants:
        build.qemu(build.Variant(VARIANTS[variant].qemu), progress)
        build.kernel(build.Variant(VARIANTS[variant].kernel), progress)
    build.image(progress)
    cases = {variant: Case(variant) for variant in bench.variants}
    result = BenchResult(
        scenario=bench.scenario,
        guest_state=bench.guest_state,
        init_on_alloc=bench.init_on_alloc,
        memory_bytes=bench.memory_bytes,
        target_bytes=bench.target,
        repeat=bench.repeat,
        cases=list(cases.values()),
    )
    progress.step(f"Measuring {bench.scenario} ({bench.guest_state})", float(bench.repeat * len(cases)))
    failed: FastballoonError | None = None
    done = 0
    try:
        for number in range(1, bench.repeat + 1):
            if bench.scenario == "inflate":
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
    except KeyboardInterrupt:
        result.interrupted = True
        if not any(case.samples for case in result.cases):
            raise
    if failed and not any(case.samples for case in result.cases):
        raise failed
    return result


def _check(bench: Bench) -> None:
    if bench.repeat < 1:
        raise UsageError(f"{bench.repeat} cannot be a number of samples", hint="use 1 or more; 5 for a median to trust")
    if not 0 < bench.target < bench.memory_bytes:
        raise UsageError(
            f"the target {format_size(bench.target)} is not between nothing and the guest's memory, "
            f"{format_size(bench.memory_bytes)}",
            hint="--target is the balloon's size",
        )
    if any(VARIANTS[variant].pluggable for variant in bench.variants) and bench.target % _SECTION_BYTES:
        raise UsageError(
            f"virtio-mem cannot unplug {format_size(bench.target)}",
            hint=f"use a --target that is a multiple of {format_size(_SECTION_BYTES)}",
        )


def _floor(bench: Bench) -> float:
    keep_every = _KEPT_EVERY if bench.guest_state == "fragmented" else None
    needed = bench.target + bench.target // (_KEPT_EVERY - 1)
    if (available := procfs.mem_available()) < needed + 512 * MIB:
        raise PreconditionError(
            f"the host has {format_size(available)} available, too little for a floor of {format_size(needed)}",
            hint="stop other VMs (fastballoon vm list), or use a smaller --memory",
        )
    return discard_seconds(bench.target, touched=bench.guest_state != "idle", keep_every=keep_every)


def _sample(bench: Bench, variant: str, case: Case, progress: Progress) -> None:
    """Take one sample and put it into the case."""
    request = bench.request(variant)
    vm_ops.start(request, progress, timeout=_BOOT_SECONDS)
    try:
        with hold(request.name, progress, need_agent=True) as session:
            assert session.agent
            _prepare(bench, session.agent, progress)
            kills = _oom_kills(session.agent)
            result, sample = _measure(bench, variant, session, progress)
            sample["oom_kills"] = _oom_kills(session.agent) - kills
    finally:
        vm_ops.stop(request.name, Silent())
    case.method, case.provenance = result.method, result.provenance
    case.samples.append(sample)


def _prepare(bench: Bench, agent: AgentClient, progress: Progress) -> None:
    def watch(done: int) -> None:
        progress.update(done, note=format_size(done))

    match bench.guest_state:
        case "touched":
            vm_ops.touch(agent, progress)
        case "fragmented":
            progress.step("Fragmenting the guest's memory", float(bench.memory_bytes))
            agent.call("fragment", every=_KEPT_EVERY, timeout=_STATE_SECONDS, on_progress=watch)
        case "cached":
            progress.step("Filling the guest's page cache", float(bench.memory_bytes))
            agent.call("cache", size=bench.memory_bytes // 8 * 5, timeout=_STATE_SECONDS, on_progress=watch)


def _measure(bench: Bench, variant: str, session: Session, progress: Progress) -> tuple[MoveResult, Sample]:
    move = _mover(variant, session, progress)
    result = move(bench.target)
    if bench.scenario == "inflate":
        return result, move_sample(result)
    result = move(0)
    assert session.agent
    # Memory that comes back slower than it went would be a poor bargain.
    again = vm_ops.touch(session.agent, progress, size=bench.target)
    return result, {**move_sample(result), "retouch_s": again["fill_s"]}


def _mover(variant: str, session: Session, progress: Progress) -> Callable[[int], MoveResult]:
    """Return what moves this variant's memory: the size to be taken from the guest in bytes -> the result."""
    if VARIANTS[variant].pluggable:
        return lambda size: virtio_mem.move(session, size, timeout=_MOVE_SECONDS, progress=progress)
    method = "page-bitmap" if variant == "fast" else "pfn"

    def move(size: int) -> MoveResult:
        if size:
            return balloon.inflate(session, size, method=method, timeout=_MOVE_SECONDS, progress=progress)
        return balloon.deflate(session, timeout=_MOVE_SECONDS, progress=progress)

    return move


def _oom_kills(agent: AgentClient) -> int:
    return int(agent.call("vmstat")["oom_kill"])
