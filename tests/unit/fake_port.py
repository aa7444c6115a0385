"""A virtio-serial port, made up, with the real agent of fastballoon-guest behind it."""

import contextlib
import select
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

_SERVE = "import sys; from guest_agent.port import serve; serve(int(sys.argv[1]))"


class FakePort:
    """Takes one client after another, as QEMU's socket does; what the guest reads has no end between them.

    :ivar arguments: of the tool, that say where the socket is.
    """

    def __init__(self, path: Path) -> None:
        self.arguments = ("--agent", str(path))
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen()
        self._host, guest = socket.socketpair()
        with guest:
            end = guest.fileno()
            self._agent = subprocess.Popen([sys.executable, "-c", _SERVE, str(end)], pass_fds=[end])
        threading.Thread(target=self._accept, daemon=True).start()

    def silence(self) -> None:
        """Have nobody answer, as where no agent runs."""
        self._agent.send_signal(signal.SIGSTOP)

    def close(self) -> None:
        self._server.close()
        self._agent.kill()
        self._agent.wait()
        self._host.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError, ValueError):  # it was closed
            while True:
                client, _ = self._server.accept()
                with client:
                    self._relay(client)

    def _relay(self, client: socket.socket) -> None:
        """What comes when a client has gone is for the next one."""
        ways = {client: self._host, self._host: client}
        while True:
            for end in select.select(list(ways), [], [])[0]:
                if not (said := end.recv(4096)):
                    return
                ways[end].sendall(said)
