"""Free pages that a guest tells of, so that a migration leaves them out: bitmaps of a patched QEMU, or merged hints."""

from dataclasses import dataclass

from fastballoon_cli.qemu.balloon import Balloon
from fastballoon_cli.qemu.monitor import CommandNotFoundError, Monitor

__all__ = ["CAPABILITY", "FreePages", "method", "query"]

#: Of a migration. On by default in a QEMU that has it: whoever wants all of memory sent says so.
CAPABILITY = "x-skip-free-pages"
_NS = 1e9


@dataclass(frozen=True, kw_only=True)
class FreePages:
    """What a patched QEMU says of free pages in its latest migration.

    :ivar told_bytes: in the latest answer, 0 if there was none.
    :ivar answer_s: from asking to the first answer's end; None if there was none.
    :ivar skipped_free_bytes: dirty, but told free, and so not sent.
    :ivar skipped_balloon_bytes: in the balloon, and so not even looked at.
    :ivar active: whether it still goes on, and so more may be skipped.
    """

    told_bytes: int
    answer_s: float | None
    skipped_free_bytes: int
    skipped_balloon_bytes: int
    active: bool = False


def query(qmp: Monitor) -> FreePages | None:
    """Return what became of free pages, or None where QEMU knows of no such thing."""
    raw = _query(qmp)
    if raw is None:
        return None
    answer_ns = raw.get("first-answer-ns", raw["answer-ns"])
    return FreePages(
        told_bytes=raw["told-bytes"],
        answer_s=answer_ns / _NS if answer_ns else None,
        skipped_free_bytes=raw["skipped-free-bytes"],
        skipped_balloon_bytes=raw["skipped-balloon-bytes"],
        active=bool(raw["active"]),
    )


def method(qmp: Monitor, device: Balloon) -> str | None:
    """Return ``free-pages`` or else ``free-page-hint``, whichever guest and QEMU have agreed on, or None."""
    raw = _query(qmp)
    if raw is not None and raw["negotiated"]:
        return "free-pages"
    return "free-page-hint" if device.hints() else None


def _query(qmp: Monitor) -> dict[str, int] | None:
    try:
        found: dict[str, int] = qmp.execute("x-query-balloon-free-pages")
    except CommandNotFoundError:
        return None
    return found
