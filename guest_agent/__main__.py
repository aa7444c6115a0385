"""Serve one connection: a JSON request per line on stdin, JSON answers on stdout, until end of file.

Request ``{"id": 1, "verb": "memory", "arguments": {}}``; answer ``{"id": 1, "result": ...}`` or
``{"id": 1, "error": "..."}``, with any number of ``{"id": 1, "progress": BYTES}`` before it.
There is a list of verbs and no "run this".
"""

import json
import sys
from collections.abc import Callable
from typing import Any, TextIO

from guest_agent import churn, facts, memory, spin, states, watch, workload

Verb = Callable[..., Any]

VERBS: dict[str, Verb] = {
    "hello": facts.hello,
    "memory": facts.memory,
    "balloon": facts.balloon,
    "vmstat": facts.vmstat,
    "kernel_warnings": facts.kernel_warnings,
    "compact": memory.compact,
    "drop_caches": memory.drop_caches,
    "touch": memory.touch,
    "fragment": states.fragment,
    "cache": states.cache,
    "read_disk": states.read_disk,
    "rewrite": churn.rewrite,
    "spin": spin.spin,
    "churn_start": workload.churn_start,
    "churn_finish": workload.churn_finish,
    "churn_kill": workload.churn_kill,
    "watch_start": watch.watch_start,
    "watch_finish": watch.watch_finish,
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
