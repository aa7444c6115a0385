"""Result files: written whole or not at all, and checked before anything is read from them."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from fastballoon_cli.aside import write_whole
from fastballoon_cli.errors import UsageError
from fastballoon_cli.results.bench import BenchResult
from fastballoon_cli.results.documents import DOCUMENTS, BenchDocument
from fastballoon_cli.results.migration import MigrateResult
from fastballoon_cli.results.model import SCHEMA_VERSION, DropCacheResult, MoveResult, ReclaimResult

__all__ = ["Result", "ResultFile", "load", "save"]

#: Nothing that is measured is larger: an exabyte, or more seconds than there have been.
_LARGEST = 10**18

Result = BenchResult | MoveResult | DropCacheResult | ReclaimResult | MigrateResult


@dataclass(frozen=True)
class ResultFile:
    """A Result, and the file that it was read from or written to."""

    path: Path
    operation: str
    result: Result

    @property
    def name(self) -> str:
        """What to call it in a table."""
        return self.path.name

    @property
    def bench(self) -> BenchResult | None:
        """The result as a bench; None for other operations."""
        return self.result if isinstance(self.result, BenchResult) else None

    @property
    def provenances(self) -> dict[str, dict[str, Any]]:
        """Where it comes from: of each variant that has samples, or of the single run."""
        if isinstance(self.result, BenchResult):
            return {case.variant: case.provenance for case in self.result.cases if case.samples}
        return {self.operation: self.result.provenance}


def save(path: Path, document: Mapping[str, Any]) -> None:
    """Write a Result file, whole or not at all."""
    write_whole(path, json.dumps(document, indent=1) + "\n")


def load(path: Path) -> ResultFile:
    """Read a Result file.

    :raise UsageError: it is not there, or not a whole Result of a version that is known here.
    """
    document = _parse(path)
    operation = _operation(path, document)
    _check_numbers(path, document)
    try:
        read = msgspec.convert(document, DOCUMENTS[operation])
    except msgspec.ValidationError as e:
        raise UsageError(f"{path} is not a whole Result: {str(e).replace('`', chr(39))}") from e
    return ResultFile(path, operation, read.result() if isinstance(read, BenchDocument) else read)


def _parse(path: Path) -> dict[str, Any]:
    try:
        document = msgspec.json.decode(path.read_text())
    except OSError as e:
        raise UsageError(f"cannot read {path}: {e.strerror}") from e
    except UnicodeDecodeError as e:
        raise UsageError(f"{path} is not a Result file: it is no text") from e
    except (msgspec.MsgspecError, RecursionError) as e:
        raise UsageError(
            f"{path} is not a whole JSON document: {e}", hint="it may have been cut short: write it anew"
        ) from e
    if not isinstance(document, dict) or not {"schema_version", "operation"} <= document.keys():
        raise UsageError(
            f"{path} is JSON, but not a Result of fastballoon: it has no schema_version and operation",
            hint="name a file that a bench has written, or the output of 'fastballoon --json inflate'",
        )
    return document


def _check_numbers(path: Path, document: dict[str, Any]) -> None:
    """Refuse numbers that cannot have been measured, and with which no arithmetic ends well."""
    waiting: list[tuple[str, Any]] = [("$", document)]
    while waiting:
        at, value = waiting.pop()
        match value:
            case dict():
                waiting += [(f"{at}.{name}", inner) for name, inner in value.items()]
            case list():
                waiting += [(f"{at}[{n}]", inner) for n, inner in enumerate(value)]
            case int() | float() if abs(value) > _LARGEST:
                raise UsageError(f"{path} is not a Result: the number at '{at}' cannot have been measured")


def _operation(path: Path, document: Mapping[str, Any]) -> str:
    """Return which operation a document is the result of, if it is of one and of a version that is known here."""
    version, operation = document["schema_version"], document["operation"]
    if version != SCHEMA_VERSION or isinstance(version, bool):
        raise UsageError(
            f"{path} has schema version {json.dumps(version)}, and this fastballoon reads version {SCHEMA_VERSION}",
            hint="use the fastballoon that wrote it, or measure again with this one",
        )
    if not isinstance(operation, str) or operation not in DOCUMENTS or document.get("dry_run"):
        what = "a dry run" if document.get("dry_run") else f"operation {json.dumps(operation)}"
        raise UsageError(
            f"{path} holds {what}, which measures nothing", hint=f"what can be read: {', '.join(DOCUMENTS)}"
        )
    if "vms" in document:
        raise UsageError(
            f"{path} is one {operation} of several VMs, each of which has a Result of its own",
            hint=f"take one of them: jq '.vms[0]' {shlex.quote(str(path))} > one.json",
        )
    return operation
