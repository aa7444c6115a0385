"""Results as they are written: schema version 1; seconds, bytes, pages. Names stay stable."""

from dataclasses import asdict, dataclass, field
from typing import Any

from fastballoon_cli.results.curve import Curve

__all__ = ["SCHEMA_VERSION", "SEVERAL", "Change", "Counts", "DropCacheResult", "MoveResult", "Phases", "ReclaimResult"]

SCHEMA_VERSION = 1

#: Operations that work on several VMs at once; their document has ``vms`` then.
SEVERAL = ("deflate", "drop-cache", "inflate", "reclaim")


@dataclass(frozen=True)
class Change:
    """A size in bytes before and after; None where it could not be read."""

    before: int | None
    after: int | None

    @property
    def delta(self) -> int | None:
        """Bytes gained (positive) or lost; None where either end is unknown."""
        return None if self.before is None or self.after is None else self.after - self.before


@dataclass(frozen=True)
class Phases:
    """Where a balloon's move spent its time, in seconds; a phase is None where the part that does it has no counters.

    :ivar allocate: the guest took pages from its allocator (inflate).
    :ivar release: the guest gave pages back to its allocator (deflate).
    :ivar send: messages were built and carried over and back, the host's own work on them taken out.
    :ivar translate: the host looked up what guest addresses are in its own memory.
    :ivar discard: the host gave the memory back (inflate) or advised it as needed (deflate).
    :ivar other: the rest: notifying, scheduling, writing the balloon's size.
    """

    allocate: float | None = None
    release: float | None = None
    send: float | None = None
    translate: float | None = None
    discard: float | None = None
    other: float | None = None


@dataclass(frozen=True)
class Counts:
    """What a move cost in numbers that don't depend on the machine; None where nothing counts it."""

    kicks: int | None = None
    messages: int | None = None
    discards: int | None = None


@dataclass(frozen=True, kw_only=True)
class DropCacheResult:
    """A cache that was dropped.

    :ivar mode: ``pagecache``, ``slab`` or ``all``.
    :ivar method: ``balloon``, ``agent`` or ``qga`` (QEMU's guest agent): which way the guest was asked.
    :ivar duration_s: from the request to the guest's answer.
    :ivar freed_bytes: what the guest's kernel says it freed; the agent's way, by how much its cache is smaller.
    :ivar guest_cached_bytes: page cache without shared memory, and slab that can be reclaimed.
    """

    vm: str
    mode: str
    method: str
    duration_s: float
    freed_bytes: int
    guest_cached_bytes: Change
    guest_free_bytes: Change
    host_rss_bytes: Change
    provenance: dict[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Return the result as it is printed and stored."""
        return {"schema_version": SCHEMA_VERSION, "operation": "drop-cache", **asdict(self)}


@dataclass(frozen=True, kw_only=True)
class ReclaimResult:
    """Memory that a guest has reclaimed.

    :ivar method: ``balloon``: the balloon device asked for it.
    :ivar anonymous: memory that the guest can swap was wanted as well.
    :ivar duration_s: from the request to the guest's answer.
    :ivar freed_bytes: what the guest's kernel says it freed; it may be more or less than was requested.
    :ivar guest_cached_bytes: page cache without shared memory, and slab that can be reclaimed.
    """

    vm: str
    method: str
    anonymous: bool
    requested_bytes: int
    duration_s: float
    freed_bytes: int
    guest_cached_bytes: Change
    guest_free_bytes: Change
    host_rss_bytes: Change
    provenance: dict[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Return the result as it is printed and stored."""
        return {"schema_version": SCHEMA_VERSION, "operation": "reclaim", **asdict(self)}


@dataclass(frozen=True, kw_only=True)
class MoveResult:
    """An inflation or deflation.

    :ivar method: ``page-bitmap`` or ``pfn``.
    :ivar duration_s: from the request in QEMU to the guest's last word about the balloon's size.
    :ivar guest_cpu_s: how long the vCPUs ran meanwhile, all together; includes the wait of a tool that polls.
    :ivar guest_memory: what the balloon left to the guest, as it was seen by polling.
    :ivar remarks: sentences on what a reader would not expect, such as a host that gained nothing.
    """

    operation: str
    vm: str
    method: str
    target_bytes: int
    balloon_bytes: Change
    duration_s: float
    guest_cpu_s: float
    phases_s: Phases
    counts: Counts
    host_rss_bytes: Change
    guest_free_bytes: Change
    guest_memory: Curve | None = None
    remarks: list[str] = field(default_factory=list)
    provenance: dict[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Return the result as it is printed and stored."""
        return {"schema_version": SCHEMA_VERSION, **asdict(self)}
