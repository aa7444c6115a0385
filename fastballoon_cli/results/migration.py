"""The result of a live migration, as it is written: seconds, bytes, pages. Names stay stable."""

from dataclasses import asdict, dataclass, field
from typing import Any

from fastballoon_cli.results.bench import Sample
from fastballoon_cli.results.curve import Curve
from fastballoon_cli.results.model import SCHEMA_VERSION, Change
from fastballoon_cli.units import PAGE_BYTES

__all__ = ["MigrateResult", "RamCounts", "Verified", "migrate_sample"]


@dataclass(frozen=True, kw_only=True)
class RamCounts:
    """What it took to bring the guest's memory over.

    :ivar total_bytes: of guest memory, as QEMU counts it: with the video and firmware memory.
    :ivar transferred_bytes: all that went over the connection.
    :ivar normal_pages, zero_pages: pages that were sent whole, and those of which only that was sent.
    :ivar skipped_free_pages: dirty, but not sent, as the guest had told them to be free; None where nothing counts it.
    :ivar passes: how often the dirty bitmap was taken over.
    """

    total_bytes: int
    transferred_bytes: int
    normal_pages: int
    zero_pages: int
    skipped_free_pages: int | None
    passes: int


@dataclass(frozen=True)
class Verified:
    """What became of the memory that the guest worked on meanwhile.

    :ivar pages: that were checked, each time before they were freed or written anew, and all of them at the end.
    :ivar mismatches: those that were not as they had been written.
    """

    pages: int
    mismatches: int


@dataclass(frozen=True, kw_only=True)
class MigrateResult:
    """A live migration (precopy) that was completed.

    :ivar method: how free pages were left out: ``free-pages`` (told in bitmaps), ``free-page-hint``, or ``precopy``:
        none was.
    :ivar skip_free: whether that was asked for.
    :ivar total_s, setup_s, downtime_s: QEMU's own measures.
    :ivar guest_paused_s: from the source's STOP to the destination's RESUME, by their own timestamps.
    :ivar guest_cpu_s: how long the vCPUs ran meanwhile, on both sides together.
    :ivar guest_min_free_bytes: the least MemFree that was seen in the guest, every 10 ms.
    :ivar skipped_balloon_pages: in the balloon, so neither sent nor looked at; None where nothing counts it.
    :ivar told_free_bytes: free memory that the guest told of in its latest answer.
    :ivar answer_s: from asking the guest to its first answer's end.
    :ivar verified: None unless that was asked for.
    :ivar guest_memory: the guest's MemFree while it was migrated.
    """

    vm: str
    method: str
    skip_free: bool
    total_s: float
    setup_s: float
    downtime_s: float
    guest_paused_s: float | None
    guest_cpu_s: float
    ram: RamCounts
    guest_free_bytes: Change
    guest_min_free_bytes: int | None = None
    skipped_balloon_pages: int | None = None
    told_free_bytes: int | None = None
    answer_s: float | None = None
    verified: Verified | None = None
    guest_memory: Curve | None = None
    provenance: dict[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Return the result as it is printed and stored."""
        return {"schema_version": SCHEMA_VERSION, "operation": "migrate", **asdict(self)}


def migrate_sample(result: MigrateResult) -> Sample:
    """Return the metrics of a migration; those that nothing counts are left out."""
    ram, balloon = result.ram, result.skipped_balloon_pages
    free = ram.skipped_free_pages
    values = {
        "total_s": result.total_s,
        "setup_s": result.setup_s,
        "downtime_s": result.downtime_s,
        "guest_paused_s": result.guest_paused_s,
        "guest_cpu_s": result.guest_cpu_s,
        "transferred_bytes": ram.transferred_bytes,
        "normal_pages": ram.normal_pages,
        "zero_pages": ram.zero_pages,
        "passes": ram.passes,
        "skipped_free_bytes": None if free is None else free * PAGE_BYTES,
        "skipped_balloon_bytes": None if balloon is None else balloon * PAGE_BYTES,
        "told_free_bytes": result.told_free_bytes,
        "answer_s": result.answer_s,
        "guest_free_bytes_before": result.guest_free_bytes.before,
        "guest_min_free_bytes": result.guest_min_free_bytes,
        "verified_pages": result.verified.pages if result.verified else None,
    }
    return {name: value for name, value in values.items() if value is not None}
