"""QEMU's guest agent (qemu-ga), which distributions have for their guests: by the socket of its virtio-serial port."""

import base64
import binascii
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fastballoon_cli.errors import GuestError
from fastballoon_cli.guest.answers import check, printable
from fastballoon_cli.guest.serial import connect_port

__all__ = ["GuestAgent"]

#: One that runs answers within milliseconds.
_PATIENCE_SECONDS = 2.0
_CHUNK = 1 << 16
#: Bytes; /proc/meminfo has 2 KiB, which are 3 here.
_LONGEST_ANSWER = 1 << 20
#: Never a part of JSON in UTF-8: both sides begin anew behind it, whatever somebody else has left in the port.
_BEGIN = b"\xff"
_FILES = {"guest-file-open", "guest-file-read", "guest-file-write", "guest-file-close"}


class GuestAgent:
    """A connection to the agent; a context manager.

    The port takes one client and lets a second one wait, and where no agent runs nobody answers. So everything here has
    a deadline.

    :param path: of the socket that QEMU has made for the port.
    :param patience: seconds for its first answers.
    :raise PreconditionError: there is no such socket, or it may not be opened.
    :raise GuestError: nobody answers.
    """

    def __init__(self, path: Path, *, patience: float = _PATIENCE_SECONDS) -> None:
        self._path = path
        self._buffer = b""
        self._socket = connect_port(
            path, patience, whose="the guest agent's", name="org.qemu.guest_agent.0", chardev="qga0"
        )
        try:
            deadline = time.monotonic() + patience
            self._synchronize(deadline)
            info = self._execute("guest-info", timeout=deadline - time.monotonic())
            listed = info.get("supported_commands") if isinstance(info, dict) else None
            commands = listed if isinstance(listed, list) else []
            #: names of the commands that the guest's owner has left on
            self.commands = {str(one.get("name")) for one in commands if isinstance(one, dict) and one.get("enabled")}
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let somebody else have the port."""
        self._socket.close()

    def memory(self) -> Mapping[str, int]:
        """Return the guest's /proc/meminfo in bytes.

        :raise GuestError: it does not answer, may not tell, or what it tells makes no sense.
        """
        found: dict[str, int] = {}
        for line in self._read("/proc/meminfo").splitlines():
            name, _, words = line.partition(":")
            match words.split():
                case [size, "kB"] if size.isdecimal():
                    found[name] = int(size) << 10
        memory: Mapping[str, int] = check("memory", found)
        return memory

    def drop_caches(self, value: int, *, timeout: float) -> None:
        """Have the guest's kernel drop what it caches.

        :param value: what /proc/sys/vm/drop_caches takes.
        :param timeout: seconds.
        :raise GuestError: it could not, may not, or did not answer in time.
        """
        coded = base64.b64encode(f"{value}\n".encode()).decode()
        with self._opened("/proc/sys/vm/drop_caches", "w", timeout=timeout) as handle:
            self._execute("guest-file-write", **{"handle": handle, "buf-b64": coded})

    def _read(self, path: str) -> str:
        content = b""
        with self._opened(path, "r") as handle:
            while True:
                read = _object(self._execute("guest-file-read", handle=handle, count=_CHUNK))
                content += _decoded(read.get("buf-b64"))
                if read.get("eof"):
                    return content.decode(errors="replace")
                if len(content) > _LONGEST_ANSWER:
                    raise GuestError(f"the guest's {path} has no end")

    @contextmanager
    def _opened(self, path: str, mode: str, *, timeout: float = _PATIENCE_SECONDS) -> Iterator[Any]:
        """Open a file of the guest's.

        :param timeout: seconds for closing it, when what was written gets there.
        """
        if missing := _FILES - self.commands:
            raise GuestError(
                f"the guest's owner has switched off {sorted(missing)[0]} of the guest agent",
                hint="in the guest: qemu-ga's option --block-rpcs or --allow-rpcs",
            )
        handle = self._execute("guest-file-open", path=path, mode=mode)
        try:
            yield handle
        except BaseException:
            with suppress(GuestError):
                self._execute("guest-file-close", handle=handle)
            raise
        self._execute("guest-file-close", handle=handle, timeout=timeout)

    def _synchronize(self, deadline: float) -> None:
        """Pass over what is left of another client's conversation."""
        number = int.from_bytes(os.urandom(4))
        self._send("guest-sync-delimited", {"id": number}, deadline, before=_BEGIN)
        while True:
            self._receive(_BEGIN, deadline)
            if self._answer(deadline) == {"return": number}:
                return

    def _execute(self, command: str, *, timeout: float = _PATIENCE_SECONDS, **arguments: Any) -> Any:
        deadline = time.monotonic() + timeout
        self._send(command, arguments, deadline)
        answer = self._answer(deadline)
        match answer:
            case {"return": value}:
                return value
            case {"error": {"desc": str(reason)}}:
                raise GuestError(f"the guest agent could not do '{command}': {printable(reason)}")
        raise GuestError(f"the guest agent's answer to '{command}' makes no sense")

    def _send(self, command: str, arguments: Mapping[str, Any], deadline: float, *, before: bytes = b"") -> None:
        request = json.dumps({"execute": command, "arguments": arguments}).encode()
        try:
            self._socket.settimeout(max(0.001, deadline - time.monotonic()))
            self._socket.sendall(before + request + b"\n")
        except OSError as e:
            raise self._silent() from e

    def _answer(self, deadline: float) -> Any:
        try:
            return json.loads(self._receive(b"\n", deadline))
        except (ValueError, RecursionError):
            return None

    def _receive(self, end: bytes, deadline: float) -> bytes:
        """Return what comes before ``end``."""
        while end not in self._buffer:
            if len(self._buffer) > _LONGEST_ANSWER:
                raise GuestError("the guest agent's answer has no end")
            try:
                self._socket.settimeout(max(0.001, deadline - time.monotonic()))
                chunk = self._socket.recv(_CHUNK)
            except OSError as e:
                raise self._silent() from e
            if not chunk:
                raise self._silent()
            self._buffer += chunk
        found, _, self._buffer = self._buffer.partition(end)
        return found

    def _silent(self) -> GuestError:
        self.close()  # what it may still answer is not for whoever asks next
        return GuestError(
            f"the guest agent behind {self._path} does not answer",
            hint="qemu-ga does not run in the guest, or another program has its socket",
        )


def _object(answer: Any) -> Mapping[str, Any]:
    if not isinstance(answer, dict):
        raise GuestError("the guest agent's answer makes no sense", details=repr(answer)[:200])
    return answer


def _decoded(coded: Any) -> bytes:
    try:
        return base64.b64decode(coded, validate=True)
    except (TypeError, ValueError, binascii.Error) as e:
        raise GuestError("the guest agent's answer makes no sense", details=repr(coded)[:200]) from e
