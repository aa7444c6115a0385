"""Result files: written whole or not at all, and checked before anything is read from them."""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from fastballoon_cli.errors import UsageError
from fastballoon_cli.results.bench import BenchResult, Case, Failure
from fastballoon_cli.results.curve import read_curve
from fastballoon_cli.results.model import SCHEMA_VERSION

__all__ = ["OPERATIONS", "ResultFile", "load", "save"]

#: What every Result of an operation has, with its JSON type; a dot goes down one object. What came later than the first
#: version is not demanded, so that old files are read.
_FIELDS: dict[str, dict[str, type]] = {
    "bench": {
        "scenario": str,
        "guest_state": str,
        "init_on_alloc": bool,
        "memory_bytes": int,
        "repeat": int,
        "cases": list,
    },
    "inflate": {"vm": str, "method": str, "duration_s": float, "balloon_bytes.after": int, "provenance": dict},
    "deflate": {"vm": str, "method": str, "duration_s": float, "balloon_bytes.after": int, "provenance": dict},
    "drop-cache": {"vm": str, "mode": str, "duration_s": float, "freed_bytes": int, "provenance": dict},
    "migrate": {"total_s": float, "downtime_s": float, "ram.transferred_bytes": int, "provenance": dict},
}
OPERATIONS = tuple(_FIELDS)

#: What a bench and its cases may have, or null in its place.
_OPTIONAL_OF_BENCH = {
    "target_bytes": int,
    "floor": dict,
    "interrupted": bool,
    "balloon_bytes": int,
    "bandwidth_bytes_per_s": int,
}
_OPTIONAL_OF_CASE = {"method": str, "failures": list, "provenance": dict, "guest_memory": dict}

_JSON_NAMES = {
    dict: "an object",
    list: "a list",
    str: "a text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
}


@dataclass(frozen=True)
class ResultFile:
    """A Result that was read from a file.

    :ivar document: as it was written, whatever its operation.
    :ivar bench: the same as a bench; None for other operations.
    """

    path: Path
    document: dict[str, Any]
    bench: BenchResult | None = None

    @property
    def name(self) -> str:
        """What to call it in a table."""
        return self.path.name

    @property
    def operation(self) -> str:
        """Which operation it is the result of."""
        return str(self.document["operation"])


def save(path: Path, document: Mapping[str, Any]) -> None:
    """Write aside and rename, so that there is never half a result."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        aside.write_text(json.dumps(document, indent=1) + "\n")
        aside.rename(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def load(path: Path) -> ResultFile:
    """Read a Result file.

    :raise UsageError: it is not there, or not a whole Result of a version that is known here.
    """
    document = _parse(path)
    _check_kind(path, document)
    operation = document["operation"]
    _check_fields(str(path), document, _FIELDS[operation])
    return ResultFile(path, document, _bench(path, document) if operation == "bench" else None)


def _parse(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text()
    except OSError as e:
        raise UsageError(f"cannot read {path}: {e.strerror}") from e
    except UnicodeDecodeError as e:
        raise UsageError(f"{path} is not a Result file: it is no text") from e
    try:
        document = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as e:
        raise UsageError(
            f"{path} is not a whole JSON document: {e or 'too deep'}", hint="it may have been cut short: write it anew"
        ) from e
    if not isinstance(document, dict) or not {"schema_version", "operation"} <= document.keys():
        raise UsageError(
            f"{path} is JSON, but not a Result of fastballoon: it has no schema_version and operation",
            hint="name a file that a bench has written, or the output of 'fastballoon --json inflate'",
        )
    return document


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")


def _check_kind(path: Path, document: Mapping[str, Any]) -> None:
    version = document["schema_version"]
    if version != SCHEMA_VERSION or isinstance(version, bool):
        raise UsageError(
            f"{path} has schema version {json.dumps(version)}, and this fastballoon reads version {SCHEMA_VERSION}",
            hint="use the fastballoon that wrote it, or measure again with this one",
        )
    operation = document["operation"]
    if not isinstance(operation, str) or operation not in _FIELDS or document.get("dry_run"):
        what = "a dry run" if document.get("dry_run") else f"operation {json.dumps(operation)}"
        raise UsageError(
            f"{path} holds {what}, which measures nothing", hint=f"what can be read: {', '.join(OPERATIONS)}"
        )


def _check_fields(where: str, document: Mapping[str, Any], fields: Mapping[str, type]) -> None:
    for name, kind in fields.items():
        value: Any = document
        for part in name.split("."):
            if not isinstance(value, dict) or part not in value:
                raise UsageError(f"{where} is not a whole Result: it lacks '{name}'")
            value = value[part]
        if not _is(value, kind):
            raise UsageError(f"{where} is not a Result: '{name}' is not {_JSON_NAMES[kind]}")


def _check_optional(where: str, document: Mapping[str, Any], fields: Mapping[str, type]) -> None:
    there = {name: kind for name, kind in fields.items() if document.get(name) is not None}
    _check_fields(where, document, there)


def _is(value: Any, kind: type) -> bool:
    if kind is bool or not isinstance(value, bool):
        # A number without a fraction may have been written without a point.
        return isinstance(value, (int, float) if kind is float else kind)
    return False


def _bench(path: Path, document: Mapping[str, Any]) -> BenchResult:
    _check_optional(str(path), document, _OPTIONAL_OF_BENCH)
    cases = [_case(f"{path}, case {number}", raw) for number, raw in enumerate(document["cases"], 1)]
    names = [case.variant for case in cases]
    if twice := {name for name in names if names.count(name) > 1}:
        raise UsageError(f"{path} is not a Result: it has two cases '{twice.pop()}'")
    return BenchResult(
        scenario=document["scenario"],
        guest_state=document["guest_state"],
        init_on_alloc=document["init_on_alloc"],
        memory_bytes=document["memory_bytes"],
        # A migration has no target.
        target_bytes=document.get("target_bytes") or 0,
        repeat=document["repeat"],
        cases=cases,
        floor=_numbers(f"{path}, floor", (document.get("floor") or {}).get("samples", [])),
        interrupted=bool(document.get("interrupted")),
        balloon_bytes=document.get("balloon_bytes") or 0,
        bandwidth_bytes_per_s=document.get("bandwidth_bytes_per_s"),
    )


def _case(where: str, raw: Any) -> Case:
    if not isinstance(raw, dict):
        raise UsageError(f"{where} is not an object")
    _check_fields(where, raw, {"variant": str, "metrics": dict})
    _check_optional(where, raw, _OPTIONAL_OF_CASE)
    case = Case(raw["variant"], raw.get("method"), provenance=raw.get("provenance") or {})
    if raw.get("guest_memory") is not None:
        case.guest_memory = read_curve(raw["guest_memory"])
        if case.guest_memory is None:
            raise UsageError(f"{where} is not a Result: its 'guest_memory' is no curve")
    for name, metric in raw["metrics"].items():
        if not isinstance(metric, dict) or "samples" not in metric:
            raise UsageError(f"{where} is not a whole Result: metric '{name}' has no samples")
        for number, value in enumerate(_numbers(f"{where}, metric '{name}'", metric["samples"])):
            if number == len(case.samples):
                case.samples.append({})
            case.samples[number][name] = value
    try:
        case.failures = [Failure(int(one["round"]), str(one["message"])) for one in raw.get("failures") or []]
    except (KeyError, TypeError, ValueError) as e:
        raise UsageError(f"{where} is not a Result: a failure has a round and a message") from e
    return case


def _numbers(where: str, values: Any) -> list[float]:
    if not isinstance(values, list) or not all(_is(value, float) and math.isfinite(value) for value in values):
        raise UsageError(f"{where} is not a Result: its samples are not numbers")
    return list(values)
