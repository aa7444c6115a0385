"""What a look at a machine or a guest has found, and how to mend it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

__all__ = ["Check", "Status", "document"]


class Status(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Check:
    """One finding.

    :ivar found: what is there.
    :ivar hint: how to mend it; None if nothing needs to be.
    """

    name: str
    status: Status
    found: str
    hint: str | None = None


def document(checks: Sequence[Check], **further: Any) -> dict[str, Any]:
    """Return the findings as they are printed with ``--json``."""
    able = all(check.status is not Status.FAIL for check in checks)
    return {
        "schema_version": 1,
        "operation": "doctor",
        "ok": able,
        **further,
        "checks": [asdict(check) for check in checks],
    }
