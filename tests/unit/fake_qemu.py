"""A QEMU that is made up: its monitors are real sockets, its guest takes and gives memory at once while it runs."""

import json
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from fastballoon_cli.guest.keys import make_key_pair
from fastballoon_cli.guest.login import HOST_ALIAS
from fastballoon_cli.machine.registry import Record
from tests.unit.made import GIB, record

_BALLOON = "/machine/peripheral/balloon0"


class FakeQemu:
    """Answers on both monitors of a VM in the registry; a process that sleeps has its pid.

    :ivar said: what was asked on either monitor, and when.
    :ivar agent_asked: when somebody connected to the guest's SSH, which never answers.
    """

    def __init__(self, name: str, *, balloon: int = 0, status: str = "running", **properties: object) -> None:
        self.process = subprocess.Popen(["sleep", "1000"])
        self.balloon, self.target, self.status, self.memory = balloon, balloon, status, GIB
        self.properties = {"guest-stats-polling-interval": 0, "deflate-on-oom": False, **properties}
        #: whether a driver in the guest has taken the device
        self.driver = True
        #: what the guest tells of its memory when it is asked; None: it never answers
        self.tells: dict[str, int] | None = None
        self.migration, self.capabilities = "none", {"events": False, "return-path": False}
        self.said: list[tuple[float, str, dict]] = []
        self.agent_asked: list[float] = []
        self._sockets = [self._listen(socket.create_server(("127.0.0.1", 0)), self._tarpit)]
        port = self._sockets[0].getsockname()[1]
        self.record: Record = record(name, self.process.pid, ssh_port=port)
        make_key_pair(self.record.spec.directory / "ssh_key", self.record.spec.directory / "authorized_keys")
        make_key_pair(
            self.record.spec.directory / "host_key", self.record.spec.directory / "known_hosts", prefix=f"{HOST_ALIAS} "
        )
        for path in (self.record.spec.qmp_socket, self.record.spec.observer_socket):
            self._sockets.append(self._monitor(path))

    def told(self, command: str) -> list[dict]:
        return [arguments for _, said, arguments in self.said if said == command]

    def when(self, command: str) -> float:
        return next(at for at, said, _ in self.said if said == command)

    def run(self) -> None:
        """Let the guest go on."""
        self.status, self.balloon = "running", self.target

    def close(self) -> None:
        for one in self._sockets:
            one.close()
        self.process.kill()
        self.process.wait()

    def _monitor(self, path: Path) -> socket.socket:
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(path))
        server.listen()
        return self._listen(server, self._serve)

    @staticmethod
    def _listen(server: socket.socket, handle) -> socket.socket:
        def accept() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                handle(client)

        threading.Thread(target=accept, daemon=True).start()
        return server

    def _tarpit(self, client: socket.socket) -> None:
        self.agent_asked.append(time.monotonic())
        self._sockets.append(client)

    def _serve(self, client: socket.socket) -> None:
        with client:

            def send(message: dict) -> None:
                client.sendall(json.dumps(message).encode() + b"\r\n")

            try:
                version = {"qemu": {"major": 10, "minor": 0, "micro": 0}, "package": ""}
                send({"QMP": {"version": version, "capabilities": []}})
                for request in _requests(client):
                    command, arguments = request["execute"], request.get("arguments", {})
                    self.said.append((time.monotonic(), command, arguments))
                    answer = self.answer(command, arguments)
                    known = answer is not None
                    said = {"return": answer} if known else {"error": {"class": "CommandNotFound", "desc": command}}
                    send(said | ({"id": request["id"]} if "id" in request else {}))
            except OSError:
                return

    def answer(self, command: str, arguments: dict) -> object:
        """Return what a command returns, None for one that is not there."""
        match command:
            case "qmp_capabilities":
                return {}
            case "query-status":
                return {"status": self.status, "running": self.status == "running"}
            case "query-memory-size-summary":
                return {"base-memory": self.memory, "plugged-memory": 0}
            case "query-memory-devices":
                return []
            case "query-cpus-fast":
                return [{"cpu-index": 0, "thread-id": self.process.pid}]
            case "query-kvm":
                return {"enabled": False, "present": True}
            case "query-version":
                return {"qemu": {"major": 10, "minor": 0, "micro": 3}, "package": "Debian 1:10.0.3+ds-1"}
            case "query-migrate":
                return {"status": self.migration}
            case "query-migrate-capabilities":
                return [{"capability": name, "state": state} for name, state in self.capabilities.items()]
            case "x-query-virtio-status":
                statuses = ["VIRTIO_CONFIG_S_DRIVER_OK: ..."] if self.driver else []
                return {"status": {"statuses": statuses}, "guest-features": {}}
            case "query-balloon":
                return {"actual": self.memory - self.balloon}
            case "balloon":
                self.target = self.memory - arguments["value"]
                if self.status == "running":
                    self.balloon = self.target
                return {}
            case "qom-list":
                if arguments["path"] == "/machine/peripheral":
                    return [{"name": "balloon0", "type": "child<virtio-balloon-pci>"}]
                return [{"name": name, "type": ""} for name in self.properties]
            case "qom-get" if arguments["property"] in self.properties:
                return self.properties[arguments["property"]]
            case "qom-get" if arguments["property"] == "guest-stats":
                if self.tells is None or not self.properties["guest-stats-polling-interval"]:
                    return {"last-update": 0, "stats": {}}
                return {"last-update": int(time.time()), "stats": self.tells}
            case "qom-set":
                self.properties[arguments["property"]] = arguments["value"]
                return {}
            case "stop" | "cont":
                self.status = {"stop": "paused", "cont": "running"}[command]
                return {}
            case _:
                return None


def _requests(client: socket.socket) -> Iterator[dict]:
    """Yield what is asked: one object after another, with nothing in between."""
    decoder, text = json.JSONDecoder(), ""
    while data := client.recv(1 << 16):
        text += data.decode()
        while text:
            try:
                request, end = decoder.raw_decode(text)
            except ValueError:
                break
            text = text[end:].lstrip()
            yield request
