"""What is measured on a guest that is in its state: a move of its balloon there or back, or a migration."""

from collections.abc import Callable

from fastballoon_cli.guest.agent import AgentClient
from fastballoon_cli.host import procfs
from fastballoon_cli.machine.session import Session
from fastballoon_cli.ops import balloon, reclaim, virtio_mem
from fastballoon_cli.ops import drop_cache as cache
from fastballoon_cli.ops import migrate as migrating
from fastballoon_cli.ops.bench.plan import Bench
from fastballoon_cli.ops.bench.variants import Variant
from fastballoon_cli.ops.vm import touch
from fastballoon_cli.progress import Progress
from fastballoon_cli.results.bench import Sample, move_sample
from fastballoon_cli.results.migration import MigrateResult, migrate_sample
from fastballoon_cli.results.model import MoveResult
from fastballoon_cli.units import MIB, PAGE_BYTES

__all__ = ["Measured", "measure", "move"]

Measured = tuple[MoveResult | MigrateResult, Sample]

_MOVE_SECONDS = 300.0
_MIGRATE_SECONDS = 900.0
_READ_SECONDS = 600.0
#: What a reader looks at again when the balloon has been inflated, from the end of what was cached.
_REREAD_BYTES = 256 * MIB


def measure(bench: Bench, variant: Variant, session: Session, progress: Progress) -> Measured:
    """Measure the bench's scenario on a guest that is in its state.

    :returns: the last result, which has the provenance, and all figures of the sample.
    :raise FastballoonError: what was to be measured has failed.
    """
    return _SCENARIOS[bench.scenario](bench, variant, session, progress)


def _inflate(bench: Bench, variant: Variant, session: Session, progress: Progress) -> Measured:
    result = move(variant, session, bench.target, progress)
    return result, move_sample(result)


def _deflate(bench: Bench, variant: Variant, session: Session, progress: Progress) -> Measured:
    move(variant, session, bench.target, progress)
    result = move(variant, session, 0, progress)
    # Memory that comes back slower than it went would be a poor bargain.
    again = touch(session.need_agent(), progress, size=bench.target)
    return result, {**move_sample(result), "retouch_s": again["fill_s"]}


def _drop_cache(bench: Bench, variant: Variant, session: Session, progress: Progress) -> Measured:
    process = session.process
    parts, cpu = {}, process.vcpu_seconds()
    if variant.drops_cache:
        dropped = cache.drop(session, "pagecache", timeout=_MOVE_SECONDS, progress=progress)
        parts["drop_s"] = dropped.duration_s
    if variant.reclaims:
        reclaimed = reclaim.reclaim(session, bench.reclaimed_bytes, timeout=_MOVE_SECONDS, progress=progress)
        parts["drop_s"] = reclaimed.duration_s
    result = move(variant, session, bench.target, progress)
    parts["inflate_s"] = result.duration_s
    whole = {"duration_s": sum(parts.values()), "guest_cpu_s": process.vcpu_seconds() - cpu}
    sample = {**move_sample(result), **parts, **whole}
    return result, {**sample, **_afterwards(bench, session.started.pid, session.need_agent())}


def _afterwards(bench: Bench, pid: int, agent: AgentClient) -> Sample:
    """Return what guest and host hold now, and what somebody pays who reads again what was cached last."""
    resident = procfs.mapping_rss_bytes(pid, bench.memory_bytes)
    memory = agent.call("memory")
    size = min(_REREAD_BYTES, (bench.memory_bytes - bench.target) // 4)
    read = agent.call("read_disk", offset=bench.cached_bytes - size, size=size, timeout=_READ_SECONDS)
    return {
        "guest_ram_rss_bytes_after": resident,
        "guest_used_bytes_after": memory["MemTotal"] - memory["MemFree"],
        "reread_bytes": size,
        "reread_s": read["ns"] / 1e9,
        "refaulted_pages": read["disk_bytes"] // PAGE_BYTES,
    }


def _migrate(bench: Bench, variant: Variant, session: Session, progress: Progress) -> Measured:
    if bench.balloon_bytes:
        balloon.inflate(session, bench.balloon_bytes, timeout=_MOVE_SECONDS, progress=progress)
    dropped = (
        cache.drop(session, "pagecache", timeout=_MOVE_SECONDS, progress=progress) if variant.drops_cache else None
    )
    options = migrating.Options(
        skip_free=variant.skips_free, bandwidth=bench.bandwidth, verify=bench.guest_state == "churning"
    )
    result = migrating.migrate(session, options, timeout=_MIGRATE_SECONDS, progress=progress)
    sample = migrate_sample(result)
    if dropped:
        sample["drop_s"] = dropped.duration_s
    return result, sample


_SCENARIOS: dict[str, Callable[[Bench, Variant, Session, Progress], Measured]] = {
    "inflate": _inflate,
    "deflate": _deflate,
    "drop-cache": _drop_cache,
    "migrate": _migrate,
}


def move(variant: Variant, session: Session, size: int, progress: Progress) -> MoveResult:
    """Take so many bytes from the guest as the variant does it, or give all of them back.

    :raise FastballoonError: it could not be done.
    """
    if variant.pluggable:
        return virtio_mem.move(session, size, timeout=_MOVE_SECONDS, progress=progress)
    if size:
        return balloon.inflate(session, size, method=variant.method, timeout=_MOVE_SECONDS, progress=progress)
    return balloon.deflate(session, timeout=_MOVE_SECONDS, progress=progress)
