"""The SSH connection to a guest."""

import logging
import socket
import time
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path

import paramiko

from fastballoon_cli.errors import GuestError

__all__ = ["HOST_ALIAS", "connect"]

#: Name under which a VM's host key is pinned; the forwarded port changes with every start.
HOST_ALIAS = "fastballoon-guest"

# Paramiko logs the tracebacks of connections that end during the handshake, which a booting guest does a lot.
logging.getLogger("paramiko").setLevel(logging.CRITICAL)


def connect(
    port: int, *, key: Path, known_host: Path, timeout: float, alive: Callable[[], None] = lambda: None
) -> paramiko.Transport:
    """Return an authenticated connection to the guest's sshd, trying until it is up.

    :param port: forwarded port on 127.0.0.1.
    :param known_host: the guest's public host key; no other is accepted.
    :param timeout: seconds to go on trying.
    :param alive: called between tries; raises when it is pointless to go on.
    :raise GuestError: no connection in time, another host key, or the key was refused.
    """
    deadline = time.monotonic() + timeout
    kind, encoded = known_host.read_text().split()[1:3]
    pinned = paramiko.PKey.from_type_string(kind, b64decode(encoded))
    while True:
        try:
            return _try(port, pinned, key, timeout=min(10.0, max(1.0, deadline - time.monotonic())))
        except paramiko.AuthenticationException as e:
            raise GuestError("the guest refused this VM's SSH key", details=str(e)) from e
        except (OSError, EOFError, paramiko.SSHException) as e:
            alive()
            if time.monotonic() > deadline:
                raise GuestError(
                    f"the guest's SSH did not answer within {timeout:g} s",
                    hint="look at its console: fastballoon vm console",
                    details=str(e) or None,
                ) from e
            time.sleep(0.05)


def _try(port: int, pinned: paramiko.PKey, key: Path, *, timeout: float) -> paramiko.Transport:
    sock = socket.create_connection(("127.0.0.1", port), timeout=timeout)
    try:
        # A request is one small packet and its answer another: Nagle would hold each back for 40 ms.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport = paramiko.Transport(sock)
        transport.banner_timeout = transport.handshake_timeout = transport.auth_timeout = timeout
        transport.start_client(timeout=timeout)
        if transport.get_remote_server_key() != pinned:
            transport.close()
            raise GuestError("the guest showed another host key than the one made for this VM")
        transport.auth_publickey("root", paramiko.Ed25519Key.from_private_key_file(str(key)))
        return transport
    except BaseException:
        sock.close()
        raise
