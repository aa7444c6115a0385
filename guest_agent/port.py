"""Answer the host by a virtio-serial port, without a network or a login: ``python3 -m guest_agent.port DEVICE``.

For guests that fastballoon has not started. It answers what there is to look at, and does nothing to the guest.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

from guest_agent.__main__ import answer, function_of

#: The verbs that change nothing.
LOOKING = frozenset({"hello", "memory", "balloon", "driver", "vmstat", "kernel_warnings"})
_CHUNK = 1 << 12
#: Bytes; what is longer is no request.
_LONGEST_LINE = 1 << 16
#: For a host that has connected before anybody listened for that.
_LOOK_SECONDS = 60.0


def looking(verb: str) -> Callable[..., Any]:
    """Return what does a verb that changes nothing.

    :raise KeyError: it is another one.
    """
    if verb not in LOOKING:
        raise KeyError(f"'{verb}' is not for looking only")
    return function_of(verb)


def serve(port: int) -> None:
    """Answer requests for ever.

    A port has no connections: what one host process has left unfinished ends where the next one begins, which it does
    with an empty line.

    :param port: descriptor of the port.
    """
    for line in _lines(port):
        answer(line, looking, lambda message: _write(port, message))


def _lines(port: int) -> Iterator[str]:
    """Yield what the host sends, line by line; waits for a host as long as there is none."""
    # The driver says so when a host comes or goes (drivers/char/virtio_console.c, send_sigio_to_port).
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGIO})
    fcntl.fcntl(port, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(port, fcntl.F_SETFL, fcntl.fcntl(port, fcntl.F_GETFL) | os.O_ASYNC)
    rest = b""
    while True:
        chunk = os.read(port, _CHUNK)
        if not chunk:
            rest = b""
            signal.sigtimedwait({signal.SIGIO}, _LOOK_SECONDS)
            continue
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > _LONGEST_LINE:
            rest = b""
        for line in lines:
            if line:
                yield line.decode(errors="replace")


def _write(port: int, message: dict[str, Any]) -> None:
    """Send an answer; waits for a host that does not read."""
    rest = json.dumps(message).encode() + b"\n"
    while rest:
        rest = rest[os.write(port, rest) :]


def main() -> None:
    """Serve the port that the command line names."""
    serve(os.open(sys.argv[1], os.O_RDWR))


if __name__ == "__main__":
    main()
