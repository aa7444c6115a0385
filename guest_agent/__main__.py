"""Serve one connection: a JSON request per line on stdin, JSON answers on stdout, until end of file.

Request ``{"id": 1, "verb": "memory", "arguments": {}}``; answer ``{"id": 1, "result": ...}`` or
``{"id": 1, "error": "..."}``, with any number of ``{"id": 1, "progress": BYTES}`` before it.
There is a list of verbs and no "run this".
"""

import json
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any, TextIO

Verb = Callable[..., Any]


def _later(module: str, name: str) -> Verb:
    """Return a verb whose module is imported when it is first used: a guest without KVM needs long to compile one."""

    def verb(*arguments: Any, **named: Any) -> Any:
        return getattr(import_module(f"guest_agent.{module}"), name)(*arguments, **named)

    return verb


VERBS: dict[str, Verb] = {
    name: _later(module, name)
    for module, names in {
        "facts": ("hello", "memory", "balloon", "vmstat", "kernel_warnings"),
        "memory": ("compact", "drop_caches", "touch"),
        "states": ("fragment", "cache", "read_disk"),
        "churn": ("rewrite",),
        "spin": ("spin",),
        "workload": ("churn_start", "churn_finish", "churn_kill"),
        "watch": ("watch_start", "watch_finish"),
    }.items()
    for name in names
}


def answer(line: str, verbs: dict[str, Verb], send: Callable[[dict[str, Any]], None]) -> None:
    """Do what one request asks for and send its answer; never raises on a bad request."""
    try:
        request = json.loads(line)
        number, verb, arguments = request["id"], verbs[request["verb"]], request.get("arguments", {})
    except (ValueError, KeyError, TypeError) as e:
        send({"id": None, "error": f"bad request: {e!r}"})
        return
    try:
        result = verb(lambda done: send({"id": number, "progress": done}), **arguments)
    except (OSError, ValueError, TypeError, MemoryError) as e:
        send({"id": number, "error": f"{type(e).__name__}: {e}"})
    else:
        send({"id": number, "result": result})


def serve(requests: TextIO, answers: TextIO) -> None:
    """Answer requests in their order until the stream ends."""

    def send(message: dict[str, Any]) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    for line in requests:
        answer(line, VERBS, send)


if __name__ == "__main__":
    serve(sys.stdin, sys.stdout)
