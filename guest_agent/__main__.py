"""Serve connections: a JSON request per line, JSON answers, until end of file.

Request ``{"id": 1, "verb": "memory", "arguments": {}}``; answer ``{"id": 1, "result": ...}`` or
``{"id": 1, "error": "..."}``, with any number of ``{"id": 1, "progress": BYTES}`` before it.
There is a list of verbs and no "run this".
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from importlib import import_module

from guest_agent import PORT, peers, worker

#: Not from typing, which takes a guest without KVM 0.1 s to import; a type checker takes this for true all the same.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TextIO

#: Verb -> module and function. A module is imported when it is asked for: compiling it takes a guest without KVM
#: 0.1 s, which a boot need not wait for.
VERBS = {
    "hello": "facts.hello",
    "memory": "facts.memory",
    "balloon": "facts.balloon",
    "driver": "driver.driver",
    "vmstat": "facts.vmstat",
    "kernel_warnings": "facts.kernel_warnings",
    "compact": "memory.compact",
    "drop_caches": "memory.drop_caches",
    "touch": "fill.touch",
    "fragment": "states.fragment",
    "cache": "states.cache",
    "read_disk": "states.read_disk",
    "rewrite": "churn.rewrite",
    "spin": "spin.spin",
    "churn_start": "workload.churn_start",
    "churn_finish": "workload.churn_finish",
    "churn_kill": "workload.churn_kill",
    "watch_start": "watch.watch_start",
    "watch_finish": "watch.watch_finish",
    "offline_blocks": "strain.offline_blocks",
    "fault_huge": "strain.fault_huge",
    "free_by_order": "strain.free_by_order",
    "take_start": "strain.take_start",
    "take_told": "strain.take_told",
    "take_end": "strain.take_end",
    "read_kcore": "strain.read_kcore",
    "swap_on": "strain.swap_on",
}


def function_of(verb: str) -> Callable[..., Any]:
    """Return what does a verb.

    :raise KeyError: there is no such verb.
    """
    module, _, name = VERBS[verb].partition(".")
    function: Callable[..., Any] = getattr(import_module(f"guest_agent.{module}"), name)
    return function


def answer(line: str, find: Callable[[str], Callable[..., Any]], send: Callable[[dict[str, Any]], None]) -> None:
    """Do what one request asks for and send its answer; never raises on a bad request.

    :param find: as :func:`function_of`.
    """
    number = None
    try:
        request = json.loads(line)
        number = request["id"]
        verb, arguments = find(request["verb"]), request.get("arguments", {})
    except (ValueError, KeyError, TypeError) as e:
        send({"id": number, "error": f"bad request: {e!r}"})
        return
    try:
        result = verb(lambda done: send({"id": number, "progress": done}), **arguments)
    except Exception as e:  # whatever it is, the host is to hear of it, and asks on
        send({"id": number, "error": f"{type(e).__name__}: {e}"})
    else:
        send({"id": number, "result": result})


def serve(requests: TextIO, answers: TextIO) -> None:
    """Answer requests in their order until the stream ends."""

    def send(message: dict[str, Any]) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    for line in requests:
        answer(line, function_of, send)


def listen() -> None:
    """Serve each connection in a process of its own, for ever; return never.

    Started once, while the guest boots: a Python of its own for each connection takes a guest without KVM most of a
    second. It goes on in a child: the process that was started ends when that one listens, so that whoever has started
    it can wait for that.
    """
    worker.when_memory_runs_out(worker.SPARED)  # without it the guest could be asked nothing any more
    import_module("guest_agent.facts")  # what every connection needs; other modules are imported where they are used
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # so that the kernel reaps them
    with socket.create_server(("127.0.0.1", PORT), backlog=64) as server:
        if os.fork():
            os._exit(0)
        while True:
            connection, _address = server.accept()
            with connection:
                if not peers.is_root(connection):
                    continue
                try:
                    child = os.fork()
                except OSError:
                    continue  # for want of memory; who has connected finds the connection closed
                if child == 0:
                    server.close()
                    _serve_and_exit(connection)


def _serve_and_exit(connection: socket.socket) -> None:
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        worker.when_memory_runs_out(worker.ORDINARY)
        for stream in (0, 1):
            os.dup2(connection.fileno(), stream)
        connection.close()
        serve(sys.stdin, sys.stdout)
    except BaseException:
        sys.excepthook(*sys.exc_info())  # to the console
    finally:
        os._exit(0)
