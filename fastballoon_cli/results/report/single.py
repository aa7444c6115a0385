"""The section on single runs: what ``fastballoon --json inflate`` and its like have printed."""

from collections.abc import Mapping
from typing import Any

from fastballoon_cli.results.files import ResultFile
from fastballoon_cli.results.page.model import Grid, Section
from fastballoon_cli.results.report.names import UNKNOWN
from fastballoon_cli.units import format_duration, format_size

__all__ = ["single_section"]


def single_section(files: list[ResultFile]) -> Section | None:
    """Return a table of single runs, or None if there are none."""
    if not files:
        return None
    rows = [
        (
            file.name,
            file.operation,
            str(file.document.get("method") or UNKNOWN),
            _seconds(file.document),
            _moved(file.document),
            _change(file.document.get("host_rss_bytes")),
        )
        for file in files
    ]
    return Section(
        "Single runs", [Grid(("file", "operation", "method", "duration", "bytes", "host RSS"), rows, words={1, 2})]
    )


def _seconds(document: Mapping[str, Any]) -> str:
    value = document.get("duration_s", document.get("total_s"))
    return UNKNOWN if value is None else format_duration(value)


def _moved(document: Mapping[str, Any]) -> str:
    match document["operation"]:
        case "drop-cache":
            return f"{format_size(document['freed_bytes'])} freed"
        case "migrate":
            return f"{format_size(document['ram']['transferred_bytes'])} transferred"
    return f"balloon {_change(document['balloon_bytes'])}"


def _change(change: Any) -> str:
    if not isinstance(change, Mapping):
        return UNKNOWN
    sizes = (change.get("before"), change.get("after"))
    return " -> ".join(format_size(size) if isinstance(size, int) else "?" for size in sizes)
