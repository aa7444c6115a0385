"""The states that a guest is brought into before it is measured."""

from collections.abc import Callable

from fastballoon_cli.guest.agent import AgentClient
from fastballoon_cli.ops.bench.plan import KEPT_EVERY, Bench
from fastballoon_cli.ops.vm import touch
from fastballoon_cli.progress import Progress
from fastballoon_cli.units import format_size

__all__ = ["prepare"]

#: A state takes the guest minutes rather than seconds when it is a large one.
_SECONDS = 900.0


def prepare(bench: Bench, agent: AgentClient, move: Callable[[int], object], progress: Progress) -> None:
    """Bring a guest into the state that it is measured in.

    Memory that was never written to is zero, and a zero page costs a migration nine bytes: of a guest that is migrated,
    but for an idle one, all that this is about has been written to.

    :param move: takes so many bytes from the guest, or gives all of them back if it is 0.
    :raise FastballoonError: the guest could not.
    """

    def watch(done: int) -> None:
        progress.update(done, note=format_size(done))

    # A balloon may want all of the memory; a migration is about a part of it.
    size = bench.cached_bytes if bench.migrates else None
    match bench.guest_state:
        case "touched" | "movable" | "churning":
            touch(agent, progress, size=size)
        case "warm":
            touch(agent, progress)
            move(bench.target)
            move(0)
            touch(agent, progress)
        case "fragmented":
            progress.step("Fragmenting the guest's memory", float(size or bench.memory_bytes))
            agent.call("fragment", every=KEPT_EVERY, size=size, timeout=_SECONDS, on_progress=watch)
        case "cached" | "cached-large":
            if bench.migrates:
                # The disk leaves buffers as they are, so what was in a page is what is cached in it.
                touch(agent, progress)
            progress.step("Filling the guest's page cache", float(bench.cached_bytes))
            large = bench.guest_state == "cached-large"
            agent.call("cache", size=bench.cached_bytes, large=large, timeout=_SECONDS, on_progress=watch)
