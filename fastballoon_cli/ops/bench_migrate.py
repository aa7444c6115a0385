"""What a bench of migrations does on one guest: bring it into its state, migrate it, and keep what counts."""

from collections.abc import Callable

from fastballoon_cli.guest.agent import AgentClient
from fastballoon_cli.machine.session import Session
from fastballoon_cli.ops import balloon, cache
from fastballoon_cli.ops import migrate as ops
from fastballoon_cli.ops import vm as vm_ops
from fastballoon_cli.ops.variants import Variant
from fastballoon_cli.progress import Progress
from fastballoon_cli.results.bench import Sample
from fastballoon_cli.results.migration import MigrateResult, migrate_sample

__all__ = ["measure", "prepare"]

_MIGRATE_SECONDS = 900.0
_MOVE_SECONDS = 300.0


def prepare(
    state: str, agent: AgentClient, *, dirty: int, every: int, watch: Callable[[int], None], progress: Progress
) -> None:
    """Bring a guest into the state that it is migrated in.

    Memory that was never written to is zero, and a zero page costs a migration nine bytes: but for an idle guest,
    all that this is about has been written to.

    :param dirty: bytes that are written to.
    :param every: of a fragmented guest, one page in so many stays in use.
    """
    match state:
        case "touched" | "churning":
            vm_ops.touch(agent, progress, size=dirty)
        case "fragmented":
            progress.step("Fragmenting the guest's memory", float(dirty))
            agent.call("fragment", every=every, size=dirty, timeout=_MIGRATE_SECONDS, on_progress=watch)
        case "cached":
            # The disk leaves buffers as they are, so what was in a page is what is cached in it.
            vm_ops.touch(agent, progress)
            progress.step("Filling the guest's page cache", float(dirty))
            agent.call("cache", size=dirty, timeout=_MIGRATE_SECONDS, on_progress=watch)


def measure(
    state: str, variant: Variant, session: Session, *, bandwidth: int, inflated: int, progress: Progress
) -> tuple[MigrateResult, Sample]:
    """Migrate a guest and return what it cost.

    :param bandwidth: bytes per second at most; 0 for no limit.
    :param inflated: bytes that are put into its balloon before.
    :raise IntegrityError: a churning guest found a page that is not what was written to it.
    """
    if inflated:
        balloon.inflate(session, inflated, timeout=_MOVE_SECONDS, progress=progress)
    dropped = (
        cache.drop(session, "pagecache", timeout=_MOVE_SECONDS, progress=progress) if variant.drops_cache else None
    )
    options = ops.Options(skip_free=variant.skips_free, bandwidth=bandwidth, verify=state == "churning")
    result = ops.migrate(session, options, timeout=_MIGRATE_SECONDS, progress=progress)
    sample = migrate_sample(result)
    if dropped:
        sample["drop_s"] = dropped.duration_s
    return result, sample
