"""What both sides say of a VM at one moment: what an operation has before it, and what it has after it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fastballoon_cli.machine.session import Session
from fastballoon_cli.qemu.balloon import DeviceCounters, agreed_on

__all__ = ["GuestMemory", "Reading", "read"]


@dataclass(frozen=True, kw_only=True)
class GuestMemory:
    """The guest's memory, as far as it tells.

    :ivar values: bytes, under the names of /proc/meminfo.
    :ivar source: who has told it: ``agent``, ``qga`` or ``statistics``; None where nobody could be asked.
    :ivar age_s: how old it was when it was read, in seconds; None where it is as old as the reading, or nothing was
        told.
    """

    values: Mapping[str, int] = field(default_factory=dict)
    source: str | None = None
    age_s: float | None = None

    @property
    def free(self) -> int | None:
        """MemFree."""
        return self.values.get("MemFree")

    @property
    def droppable(self) -> int | None:
        """What of the cache could be dropped: shared memory counts as page cache, but stays."""
        if "SReclaimable" not in self.values:
            return self.values.get("Cached")  # of statistics, which know of no more
        return self.values["Cached"] - self.values["Shmem"] + self.values["Buffers"] + self.values["SReclaimable"]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A VM at one moment.

    :ivar balloon_bytes: the balloon's size, as the guest last wrote it.
    :ivar device: the balloon's counters in QEMU; None where that is unmodified.
    :ivar driver: the counters of the guest's driver; None where that is unmodified, or no agent of ours answers.
    :ivar rss_bytes: what the host holds for QEMU; None where nobody can tell.
    :ivar vcpu_s: for how long the virtual CPUs have run so far, all together.
    """

    balloon_bytes: int
    device: DeviceCounters | None
    driver: Mapping[str, int] | None
    rss_bytes: int | None
    vcpu_s: float
    guest: GuestMemory

    @property
    def method(self) -> str:
        """What guest and QEMU have agreed on: ``page-bitmap`` or ``pfn``."""
        return agreed_on(self.device)


def read(session: Session, *, after: bool = False, wait: bool = True) -> Reading:
    """Read what there is to know of a VM before an operation, and again after it.

    A guest's answers cost time of its CPUs, which is no part of the operation's: those are read last before it, and
    first after it. Counters are read after all that the host holds has settled.

    :param after: the operation is over; an agent that was not asked yet, for a guest in need of memory, is asked now,
        unless others are worked with at the same time.
    :param wait: for statistics of the guest's memory that are no older than this call.
    :raise PreconditionError: the VM has no balloon.
    :raise QmpError: its QEMU does not answer.
    :raise VmLostError: it has ended.
    """
    process = session.process
    vcpu_s = process.vcpu_seconds() if after else None
    if after and not session.hurry:
        session.meet_agent()
    size, rss = session.balloon.size(), process.rss()
    memory = session.guest_memory(wait=wait)
    guest = GuestMemory(values=memory or {}, source=session.guest_memory_from, age_s=session.guest_memory_age_s)
    device, driver = session.balloon.counters(), session.ask("balloon")
    return Reading(
        balloon_bytes=size,
        device=device,
        driver=driver,
        rss_bytes=rss,
        vcpu_s=process.vcpu_seconds() if vcpu_s is None else vcpu_s,
        guest=guest,
    )
