"""A guest that one can log in to, made up: SSH is real, its agent answers from a table."""

import contextlib
import json
import socket
import threading
from pathlib import Path

import paramiko

from fastballoon_cli.guest.keys import make_key_pair
from guest_agent import PORT

_MIB = 1 << 20
_ANSWERS = {
    "hello": {"kernel": "6.1.0-9-amd64", "thp": "always", "init_on_alloc": True},
    "memory": {
        **{"MemTotal": 990 * _MIB, "MemFree": 444 * _MIB, "MemAvailable": 600 * _MIB, "Cached": 150 * _MIB},
        **{"Shmem": _MIB, "Buffers": 0, "SReclaimable": 0},
    },
    "balloon": None,
    "drop_caches": None,
}


class FakeGuest(paramiko.ServerInterface):
    """Lets in whoever has the key that lies in its folder.

    :ivar arguments: of the tool, that say how to log in.
    :ivar asked: the verbs that its agent was asked for.
    :ivar silent: those that it does not answer.
    :ivar answers: to the others.
    :ivar agent: whether an agent runs in it.
    :ivar dumb: whether its sshd takes connections and says nothing.
    """

    def __init__(self, folder: Path) -> None:
        self.agent, self.asked, self.silent, self.dumb = True, [], set(), False
        self.answers = dict(_ANSWERS)
        folder.mkdir(exist_ok=True)
        self._server = socket.create_server(("127.0.0.1", 0))
        port = self._server.getsockname()[1]
        make_key_pair(folder / "key", folder / "key.pub")
        make_key_pair(folder / "host", folder / "known_hosts", prefix=f"[127.0.0.1]:{port} ")
        self._key, self._host = (paramiko.PKey.from_path(folder / name) for name in ("key", "host"))
        self.login = f"root@127.0.0.1:{port}"
        self.arguments = ("--ssh", self.login, "--identity", f"{folder}/key", "--known-hosts", f"{folder}/known_hosts")
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._server.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        if self.dumb:
            with contextlib.suppress(OSError):
                while client.recv(4096):
                    pass
            return
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException), paramiko.Transport(client) as transport:
            transport.add_server_key(self._host)
            transport.start_server(server=self)
            while (channel := transport.accept(30)) is not None:
                for line in channel.makefile("r"):
                    request = json.loads(line)
                    self.asked.append(request["verb"])
                    if request["verb"] not in self.silent:
                        answer = {"id": request["id"], "result": self.answers[request["verb"]]}
                        channel.sendall(json.dumps(answer).encode() + b"\n")

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return paramiko.AUTH_SUCCESSFUL if (username, key) == ("root", self._key) else paramiko.AUTH_FAILED

    def check_channel_direct_tcpip_request(self, chanid: int, origin: object, destination: object) -> int:
        there = self.agent and destination == ("127.0.0.1", PORT)
        return paramiko.OPEN_SUCCEEDED if there else paramiko.OPEN_FAILED_CONNECT_FAILED
