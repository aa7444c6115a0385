"""One operation on several VMs at once: what became of each, and of all together."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from fastballoon_cli.errors import FastballoonError
from fastballoon_cli.results.model import SCHEMA_VERSION, Change, DropCacheResult, MoveResult, ReclaimResult

__all__ = ["Done", "ManyResult"]


@dataclass(frozen=True)
class Done:
    """What was done with one VM.

    :ivar dropped: its cache, before the operation itself.
    """

    result: MoveResult | DropCacheResult | ReclaimResult
    dropped: DropCacheResult | None = None

    @property
    def remarks(self) -> list[str]:
        """Sentences on what a reader would not expect."""
        return self.result.remarks if isinstance(self.result, MoveResult) else []

    @property
    def freed(self) -> list[DropCacheResult | ReclaimResult]:
        """What the guest has freed."""
        if not isinstance(self.result, MoveResult):
            return [self.result]
        return [self.dropped] if self.dropped else []

    def document(self) -> dict[str, Any]:
        """Return it as it is printed and stored."""
        document = self.result.document()
        return document if self.dropped is None else {**document, "drop_cache": self.dropped.document()}


@dataclass(frozen=True, kw_only=True)
class ManyResult:
    """One operation on several VMs at once.

    :ivar outcomes: for each VM what was done, or why it failed; in the order in which they were named, or by name.
    :ivar duration_s: from the beginning to the end of all of it.
    """

    operation: str
    outcomes: Mapping[str, Done | FastballoonError]
    duration_s: float

    @property
    def done(self) -> dict[str, Done]:
        """Those that it was done with."""
        return {name: one for name, one in self.outcomes.items() if isinstance(one, Done)}

    @property
    def failures(self) -> dict[str, FastballoonError]:
        """Those that failed."""
        return {name: one for name, one in self.outcomes.items() if isinstance(one, FastballoonError)}

    @property
    def balloon_bytes(self) -> Change | None:
        """The sizes of all balloons that were moved; None if none was."""
        return _together(one.result.balloon_bytes for one in self.done.values() if isinstance(one.result, MoveResult))

    @property
    def freed_bytes(self) -> int | None:
        """What the guests have freed; None if none was asked to."""
        freed = [one.freed_bytes for done in self.done.values() for one in done.freed]
        return sum(freed) if freed else None

    @property
    def host_rss_bytes(self) -> Change | None:
        """What the host holds for those of the QEMUs of which it can tell; None if of none."""
        return _together(one.result.host_rss_bytes for one in self.done.values())

    def document(self) -> dict[str, Any]:
        """Return the result as it is printed and stored."""
        return {
            "schema_version": SCHEMA_VERSION,
            "operation": self.operation,
            "vms": [
                one.document() if isinstance(one, Done) else {"vm": name, "error": one.document()}
                for name, one in self.outcomes.items()
            ],
            "duration_s": self.duration_s,
            "failed": len(self.failures),
            "balloon_bytes": self.balloon_bytes and asdict(self.balloon_bytes),
            "freed_bytes": self.freed_bytes,
            "host_rss_bytes": self.host_rss_bytes and asdict(self.host_rss_bytes),
        }


def _together(changes: Iterable[Change]) -> Change | None:
    """Return the sum of the changes that are known; None if none is."""
    known = [(one.before, one.after) for one in changes if one.before is not None and one.after is not None]
    return Change(sum(before for before, _ in known), sum(after for _, after in known)) if known else None
