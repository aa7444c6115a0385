"""Take a guest's memory by virtio-mem, as a balloon would: the merged rival, to be compared with."""

from fastballoon_cli.machine.reading import read
from fastballoon_cli.machine.session import Session
from fastballoon_cli.ops.provenance import provenance
from fastballoon_cli.ops.resize import drive
from fastballoon_cli.progress import Progress
from fastballoon_cli.qemu.virtio_mem import VirtioMemDevice
from fastballoon_cli.results.model import Counts, MoveResult, Phases

__all__ = ["move"]


def move(session: Session, target: int, *, timeout: float, progress: Progress) -> MoveResult:
    """Unplug or plug until ``target`` bytes are unplugged; the result speaks of those as of a balloon's.

    :raise TargetNotReachedError: the guest could not move that much.
    """
    name = session.record.name
    device = VirtioMemDevice(session.qmp, session.facts.lent_bytes)
    unplug = target > device.size()
    progress.step(f"Unplugging from '{name}'" if unplug else f"Plugging into '{name}'")
    hello = session.ask("hello")
    driven = drive(session, device, target, read(session), timeout=timeout, progress=progress)
    return MoveResult(
        operation="inflate" if unplug else "deflate",
        vm=name,
        method="virtio-mem",
        target_bytes=target,
        balloon_bytes=driven.moved,
        duration_s=driven.seconds,
        guest_cpu_s=driven.guest_cpu_s,
        phases_s=Phases(),
        counts=Counts(),
        host_rss_bytes=driven.host_rss,
        guest_free_bytes=driven.guest_free,
        guest_memory=driven.guest_memory,
        provenance=provenance(session, hello, {}, "poll"),
    )
