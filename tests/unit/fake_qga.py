"""QEMU's guest agent, made up: a real socket, and a guest of a few files."""

import base64
import contextlib
import json
import socket
import threading
from pathlib import Path

KIB = 1 << 10
MEMINFO = """MemTotal:        1009000 kB
MemFree:          409600 kB
MemAvailable:     614400 kB
Buffers:            1024 kB
Cached:           204800 kB
SReclaimable:       2048 kB
Shmem:              4096 kB
HugePages_Total:       0
"""
_COMMANDS = ("guest-sync-delimited", "guest-info", "guest-file-open", "guest-file-read", "guest-file-write",
             "guest-file-close")  # fmt: skip


class FakeQga:
    """Takes one client after another, as QEMU's socket does.

    :ivar said: the commands that were given, in their order.
    :ivar written: what was written to which file of the guest.
    """

    def __init__(self, path: Path, *, off: tuple[str, ...] = (), left_over: bytes = b"") -> None:
        self.off, self.left_over = off, left_over
        self.files = {"/proc/meminfo": MEMINFO}
        self.silent: set[str] = set()
        self.said: list[str] = []
        self.written: dict[str, str] = {}
        self._handles: dict[int, list] = {}
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._server.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                with client, contextlib.suppress(OSError):
                    client.sendall(self.left_over)
                    for line in client.makefile("rb"):
                        self._serve(client, line)

    def _serve(self, client: socket.socket, line: bytes) -> None:
        begin = line.startswith(b"\xff")
        request = json.loads(line.lstrip(b"\xff"))
        command, arguments = request["execute"], request.get("arguments", {})
        self.said.append(command)
        if command in self.silent:
            return
        try:
            answer = {"return": self.answer(command, arguments)}
        except KeyError as e:
            answer = {"error": {"class": "GenericError", "desc": f"no such file {e}\x07"}}
        client.sendall((b"\xff" if begin else b"") + json.dumps(answer).encode() + b"\n")

    def answer(self, command: str, arguments: dict) -> object:
        match command:
            case "guest-sync-delimited":
                return arguments["id"]
            case "guest-info":
                listed = [{"name": name, "enabled": name not in self.off} for name in _COMMANDS]
                return {"version": "10.0.0", "supported_commands": listed}
            case "guest-file-open":
                content = self.files[arguments["path"]].encode() if arguments["mode"] == "r" else b""
                self._handles[7] = [arguments["path"], content]
                return 7
            case "guest-file-read":
                # In pieces, as it may.
                part, self._handles[7][1] = self._handles[7][1][:100], self._handles[7][1][100:]
                return {"count": len(part), "buf-b64": base64.b64encode(part).decode(), "eof": not part}
            case "guest-file-write":
                self.written[self._handles[7][0]] = base64.b64decode(arguments["buf-b64"]).decode()
                return {"count": 2, "eof": False}
            case "guest-file-close":
                del self._handles[arguments["handle"]]
                return {}
        raise AssertionError(command)
