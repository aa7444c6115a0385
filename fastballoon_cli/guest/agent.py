"""Client of the agent in the guest: requests and answers as JSON lines over a channel of whichever kind."""

import json
import os
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol, Self

from fastballoon_cli.errors import GuestError
from fastballoon_cli.guest.answers import check, printable

__all__ = ["AgentClient", "Channel"]

_CHUNK = 1 << 16
#: Bytes; the longest answer is a curve of 400 points, or a kernel's warnings.
_LONGEST_LINE = 1 << 20


class Channel(Protocol):
    """What carries requests and answers, such as a socket."""

    def settimeout(self, seconds: float, /) -> None:
        """Have what follows raise TimeoutError after so long."""
        ...

    def sendall(self, data: bytes, /) -> None:
        """Send all of it; raises OSError where nobody is there any more."""
        ...

    def recv(self, size: int, /) -> bytes:
        """Return what has come, at least a byte; nothing at the end."""
        ...

    def close(self) -> None:
        """End it."""
        ...


class AgentClient:
    """One lasting channel; a context manager that closes it.

    :param timeout: seconds for an answer, unless a call says otherwise.
    :param hint: what to do about an agent that does not answer.
    :param shared: others have used the channel before, so that what is left of their conversation comes first.
    """

    def __init__(
        self, channel: Channel, *, timeout: float = 10.0, hint: str | None = None, shared: bool = False
    ) -> None:
        self._channel, self._timeout, self._hint = channel, timeout, hint
        # Nobody else is to have asked with the numbers that come.
        self._last_id = int.from_bytes(os.urandom(4)) if shared else 0
        self._shared = shared
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave the agent."""
        self._channel.close()

    def call(
        self,
        verb: str,
        *,
        timeout: float | None = None,
        on_progress: Callable[[int], None] | None = None,
        **arguments: Any,
    ) -> Any:
        """Have the agent do something and return its answer.

        :param timeout: seconds without a word from the agent, progress included.
        :param on_progress: called with the bytes done by verbs that tell.
        :raise GuestError: the agent refused or failed, said something senseless, or nothing in time.
        """
        self._last_id += 1
        request = json.dumps({"id": self._last_id, "verb": verb, "arguments": arguments}).encode() + b"\n"
        patience = timeout or self._timeout
        try:
            self._channel.settimeout(patience)
            # The empty line ends what somebody else has begun.
            self._channel.sendall(b"\n" + request if self._shared else request)
            deadline = time.monotonic() + patience
            while True:
                answer = self._read(verb, patience, deadline)
                if answer.get("id") != self._last_id:
                    continue  # the rest of a call that was given up
                self._shared = False
                if isinstance(answer.get("progress"), int):
                    deadline = time.monotonic() + patience
                    if on_progress:
                        on_progress(answer["progress"])
                elif "error" in answer:
                    raise GuestError(f"the agent could not do '{verb}': {printable(str(answer['error']))}")
                else:
                    return check(verb, answer.get("result"))
        except (OSError, EOFError) as e:
            raise GuestError(f"the connection to the guest broke during '{verb}'", hint=self._hint) from e

    def _read(self, verb: str, patience: float, deadline: float) -> dict[str, Any]:
        while b"\n" not in self._buffer:
            if len(self._buffer) > _LONGEST_LINE:
                raise GuestError(f"the agent's answer to '{verb}' has no end")
            try:
                # One that talks all the time, of something else, has not answered either.
                if (left := deadline - time.monotonic()) <= 0:
                    raise TimeoutError
                self._channel.settimeout(left)
                chunk = self._channel.recv(_CHUNK)
            except TimeoutError:
                raise GuestError(f"the agent did not answer '{verb}' within {patience:g} s") from None
            if not chunk:
                raise EOFError
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        try:
            answer = json.loads(line)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            if self._shared:
                return {}
            raise GuestError(
                f"the agent's answer to '{verb}' makes no sense",
                details=printable(line[:200].decode(errors="replace")),
            )
        return answer
