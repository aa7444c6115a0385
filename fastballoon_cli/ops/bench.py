"""Benches: variants of a balloon or a migration, measured in turn on guests of their own."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from fastballoon_cli import build
from fastballoon_cli.errors import FastballoonError, GuestError, PreconditionError, UsageError
from fastballoon_cli.guest.agent import AgentClient
from fastballoon_cli.host import procfs
from fastballoon_cli.host.discard import discard_seconds
from fastballoon_cli.machine.session import Session
from fastballoon_cli.ops import balloon, bench_migrate, cache, virtio_mem
from fastballoon_cli.ops import vm as vm_ops
from fastballoon_cli.ops.variants import DEFAULTS, VARIANTS
from fastballoon_cli.progress import Nested, Progress
from fastballoon_cli.results.bench import BenchResult, Case, Failure, Sample, move_sample
from fastballoon_cli.results.migration import MigrateResult
from fastballoon_cli.results.model import MoveResult
from fastballoon_cli.units import GIB, MIB, PAGE_BYTES, format_size

__all__ = ["GUEST_STATES", "MIGRATE_STATES", "Bench", "run"]

GUEST_STATES = ("idle", "touched", "fragmented", "cached", "cached-large")
MIGRATE_STATES = ("idle", "touched", "fragmented", "cached", "churning")

#: A guest state takes the guest minutes rather than seconds when it is a large one.
_STATE_SECONDS = 600.0
_MOVE_SECONDS = 300.0
_BOOT_SECONDS = 180.0
#: One page in so many stays in a fragmented guest.
_KEPT_EVERY = 64
#: The floor is what discarding takes.
_WITHOUT_FLOOR = ("deflate", "migrate")
#: What a reader looks at again when the balloon has been inflated, from the end of what was cached.
_REREAD_BYTES = 256 * MIB
#: virtio-mem plugs and unplugs in multiples of this, a memory section of x86-64.
_SECTION_BYTES = 128 * MIB


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What is to be measured.

    :ivar scenario: a key of :data:`fastballoon_cli.ops.variants.DEFAULTS`; ``deflate`` inflates first and measures the
        way back, ``drop-cache`` takes a cached guest's memory.
    :ivar variants: keys of :data:`fastballoon_cli.ops.variants.VARIANTS`; none: the scenario's own.
    :ivar target_bytes: the balloon's size; by default three quarters of the memory, five eighths when fragmented.
        A migration has none.
    :ivar balloon_bytes: what is in the balloon when a migration begins.
    :ivar bandwidth: bytes per second of a migration's link at most; 0 for no limit.
    """

    scenario: str
    variants: tuple[str, ...] = ()
    guest_state: str = "touched"
    init_on_alloc: bool = False
    memory_bytes: int = 4 * GIB
    cpus: int = 2
    accel: str = "auto"
    target_bytes: int | None = None
    repeat: int = 5
    balloon_bytes: int = 0
    bandwidth: int = 0

    @property
    def migrates(self) -> bool:
        """Whether guests are migrated, rather than their balloons moved."""
        return self.scenario == "migrate"

    @property
    def target(self) -> int:
        """The balloon's size in bytes."""
        if self.migrates:
            return 0
        if self.target_bytes is not None:
            return self.target_bytes
        eighths = 5 if self.guest_state == "fragmented" else 6
        return self.memory_bytes // 8 * eighths

    @property
    def chosen(self) -> tuple[str, ...]:
        """The variants, each once."""
        return tuple(dict.fromkeys(self.variants or DEFAULTS[self.scenario]))

    @property
    def cached_bytes(self) -> int:
        """What a cached guest has in its page cache; of a guest that is migrated, also what else was written to."""
        return self.memory_bytes // 8 // MIB * 5 * MIB

    def request(self, variant: str, zero_image: Path | None = None) -> vm_ops.Request:
        """Return the VM that one sample of a variant is taken on.

        :param zero_image: what a guest reads to cache it in large folios.
        """
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
            zero_image=zero_image,
            zero_disk_leaves_buffers=self.migrates,
        )


def run(bench: Bench, progress: Progress, keep: Callable[[BenchResult], None] = lambda _: None) -> BenchResult:
    """Take the samples: each on a guest that was booted for it, the variants in turn.

    Ctrl-C ends the run early; what was measured by then is returned, and the guest is stopped.

    :param keep: told after each round what was measured so far, as of a run that was interrupted.
    :raise UsageError: values that cannot be right.
    :raise FastballoonError: not a single sample could be taken; the reason of the last one.
    """
    _check(bench)
    for variant in bench.chosen:
        build.qemu(build.Variant(VARIANTS[variant].qemu), progress)
        build.kernel(build.Variant(VARIANTS[variant].kernel), progress)
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


def _check(bench: Bench) -> None:
    if bench.repeat < 1:
        raise UsageError(f"{bench.repeat} cannot be a number of samples", hint="use 1 or more; 5 for a median to trust")
    if bench.migrates:
        if bench.balloon_bytes >= bench.memory_bytes // 8 * 7:
            raise UsageError(
                f"a balloon of {format_size(bench.balloon_bytes)} leaves nothing of {format_size(bench.memory_bytes)}",
                hint="--balloon is the balloon's size; leave the guest an eighth of its memory",
            )
        return
    if not 0 < bench.target < bench.memory_bytes:
        raise UsageError(
            f"the target {format_size(bench.target)} is not between nothing and the guest's memory, "
            f"{format_size(bench.memory_bytes)}",
            hint="--target is the balloon's size",
        )
    if any(VARIANTS[variant].pluggable for variant in bench.chosen) and bench.target % _SECTION_BYTES:
        raise UsageError(
            f"virtio-mem cannot unplug {format_size(bench.target)}",
            hint=f"use a --target that is a multiple of {format_size(_SECTION_BYTES)}",
        )


def _zero_image(bench: Bench, progress: Progress) -> Path | None:
    return build.zeros(bench.cached_bytes, progress) if bench.guest_state == "cached-large" else None


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
    request = bench.request(variant, _zero_image(bench, progress))
    with vm_ops.borrow(request, progress, timeout=_BOOT_SECONDS) as session:
        assert session.agent
        _prepare(bench, session.agent, progress)
        kills = _oom_kills(session.agent)
        result, sample = _measure(bench, variant, session, progress)
        if session.agent is None:
            raise GuestError("the agent does not answer any more")
        sample["oom_kills"] = _oom_kills(session.agent) - kills
    case.method, case.provenance, case.guest_memory = result.method, result.provenance, result.guest_memory
    case.samples.append(sample)


def _prepare(bench: Bench, agent: AgentClient, progress: Progress) -> None:
    def watch(done: int) -> None:
        progress.update(done, note=format_size(done))

    if bench.migrates:
        bench_migrate.prepare(
            bench.guest_state, agent, dirty=bench.cached_bytes, every=_KEPT_EVERY, watch=watch, progress=progress
        )
        return
    match bench.guest_state:
        case "touched":
            vm_ops.touch(agent, progress)
        case "fragmented":
            progress.step("Fragmenting the guest's memory", float(bench.memory_bytes))
            agent.call("fragment", every=_KEPT_EVERY, timeout=_STATE_SECONDS, on_progress=watch)
        case "cached" | "cached-large":
            progress.step("Filling the guest's page cache", float(bench.memory_bytes))
            large = bench.guest_state == "cached-large"
            agent.call("cache", size=bench.cached_bytes, large=large, timeout=_STATE_SECONDS, on_progress=watch)


def _measure(
    bench: Bench, variant: str, session: Session, progress: Progress
) -> tuple[MoveResult | MigrateResult, Sample]:
    if bench.migrates:
        return bench_migrate.measure(
            bench.guest_state,
            VARIANTS[variant],
            session,
            bandwidth=bench.bandwidth,
            inflated=bench.balloon_bytes,
            progress=progress,
        )
    move = _mover(variant, session, progress)
    assert session.agent
    match bench.scenario:
        case "drop-cache":
            process = session.process
            parts, cpu = {}, process.vcpu_seconds()
            if VARIANTS[variant].drops_cache:
                dropped = cache.drop(session, "pagecache", timeout=_MOVE_SECONDS, progress=progress)
                parts["drop_s"] = dropped.duration_s
            result = move(bench.target)
            parts["inflate_s"] = result.duration_s
            whole = {"duration_s": sum(parts.values()), "guest_cpu_s": process.vcpu_seconds() - cpu}
            sample = {**move_sample(result), **parts, **whole}
            return result, {**sample, **_afterwards(bench, session.started.pid, session.agent)}
        case "deflate":
            move(bench.target)
            result = move(0)
            # Memory that comes back slower than it went would be a poor bargain.
            again = vm_ops.touch(session.agent, progress, size=bench.target)
            return result, {**move_sample(result), "retouch_s": again["fill_s"]}
        case _:
            result = move(bench.target)
            return result, move_sample(result)


def _afterwards(bench: Bench, pid: int, agent: AgentClient) -> Sample:
    """Return what guest and host hold now, and what somebody pays who reads again what was cached last."""
    resident = procfs.mapping_rss_bytes(pid, bench.memory_bytes)
    memory = agent.call("memory")
    size = min(_REREAD_BYTES, (bench.memory_bytes - bench.target) // 4)
    read = agent.call("read_disk", offset=bench.cached_bytes - size, size=size, timeout=_STATE_SECONDS)
    return {
        "guest_ram_rss_bytes_after": resident,
        "guest_used_bytes_after": memory["MemTotal"] - memory["MemFree"],
        "reread_bytes": size,
        "reread_s": read["ns"] / 1e9,
        "refaulted_pages": read["disk_bytes"] // PAGE_BYTES,
    }


def _mover(variant: str, session: Session, progress: Progress) -> Callable[[int], MoveResult]:
    """Return what moves this variant's memory: the size to be taken from the guest in bytes -> the result."""
    chosen = VARIANTS[variant]
    if chosen.pluggable:
        return lambda size: virtio_mem.move(session, size, timeout=_MOVE_SECONDS, progress=progress)

    def move(size: int) -> MoveResult:
        if size:
            return balloon.inflate(session, size, method=chosen.method, timeout=_MOVE_SECONDS, progress=progress)
        return balloon.deflate(session, timeout=_MOVE_SECONDS, progress=progress)

    return move


def _oom_kills(agent: AgentClient) -> int:
    return int(agent.call("vmstat")["oom_kill"])
