"""Take a guest's memory by virtio-mem, as a balloon would: the merged rival, to be compared with."""

from fastballoon_cli.host import procfs
from fastballoon_cli.host.vcpus import VcpuClock
from fastballoon_cli.host.virtio_mem import VirtioMemDevice
from fastballoon_cli.ops.moving import drive, guest_free
from fastballoon_cli.ops.provenance import provenance
from fastballoon_cli.ops.session import Session
from fastballoon_cli.progress import Progress
from fastballoon_cli.results.model import Change, Counts, MoveResult, Phases

__all__ = ["move"]


def move(session: Session, target: int, *, timeout: float, progress: Progress) -> MoveResult:
    """Unplug or plug until ``target`` bytes are unplugged; the result speaks of those as of a balloon's.

    :raise TargetNotReachedError: the guest could not move that much.
    """
    record = session.record
    device = VirtioMemDevice(session.qmp, record.spec.pluggable_bytes)
    before, rss, free = device.size(), procfs.rss_bytes(record.pid), guest_free(session)
    operation = "inflate" if target > before else "deflate"
    progress.step(f"{'Unplugging from' if target > before else 'Plugging into'} '{record.spec.name}'")
    vcpus = VcpuClock(session.qmp, record.pid)
    cpu = vcpus.seconds()
    duration = drive(session, device, target, timeout=timeout, progress=progress)
    cpu = vcpus.seconds() - cpu
    return MoveResult(
        operation=operation,
        vm=record.spec.name,
        method="virtio-mem",
        target_bytes=target,
        balloon_bytes=Change(before, device.size()),
        duration_s=duration,
        guest_cpu_s=cpu,
        phases_s=Phases(),
        counts=Counts(),
        host_rss_bytes=Change(rss, procfs.rss_bytes(record.pid)),
        guest_free_bytes=Change(free, guest_free(session)),
        provenance=provenance(record, session.ask("hello"), {}, "poll"),
    )
