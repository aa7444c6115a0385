"""Client of the agent in the guest: requests and answers as JSON lines over one SSH channel, forwarded to its port."""

import json
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import paramiko

from fastballoon_cli.errors import GuestError
from fastballoon_cli.guest.answers import check, printable
from guest_agent import PORT

__all__ = ["AgentClient"]

_ADDRESS = ("127.0.0.1", PORT)
_CHUNK = 1 << 16
#: Bytes; the longest answer is a curve of 400 points, or a kernel's warnings.
_LONGEST_LINE = 1 << 20
_MOST_SAID = 500


class AgentClient:
    """One lasting channel; a context manager that closes the connection with it.

    :param transport: an authenticated connection.
    :param timeout: seconds for an answer, unless a call says otherwise.
    :param patience: seconds for the channel.
    :param hint: what to do about an agent that does not answer; it says why it fails on the guest's console.
    :raise GuestError: the agent is not there.
    """

    def __init__(
        self, transport: paramiko.Transport, *, timeout: float = 10.0, patience: float = 10.0, hint: str | None = None
    ) -> None:
        self._timeout, self._hint = timeout, hint
        self._transport = transport
        self._last_id = 0
        self._buffer = b""
        try:
            self._channel = transport.open_channel("direct-tcpip", _ADDRESS, ("127.0.0.1", 0), timeout=patience)
        except (paramiko.SSHException, EOFError) as e:
            transport.close()
            raise GuestError("the guest's agent is not there", hint=hint, details=str(e)) from e

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the agent and the connection."""
        self._transport.close()

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
        request = {"id": self._last_id, "verb": verb, "arguments": arguments}
        patience = timeout or self._timeout
        try:
            self._channel.settimeout(patience)
            self._channel.sendall(json.dumps(request).encode() + b"\n")
            deadline = time.monotonic() + patience
            while True:
                answer = self._read(verb, patience, deadline)
                if answer.get("id") != self._last_id:
                    continue  # the rest of a call that was given up
                if isinstance(answer.get("progress"), int):
                    deadline = time.monotonic() + patience
                    if on_progress:
                        on_progress(answer["progress"])
                elif "error" in answer:
                    raise GuestError(f"the agent could not do '{verb}': {printable(str(answer['error']))}")
                else:
                    return check(verb, answer.get("result"))
        except (OSError, EOFError, paramiko.SSHException) as e:
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
            raise GuestError(
                f"the agent's answer to '{verb}' makes no sense",
                details=printable(line[:200].decode(errors="replace")),
            )
        return answer
