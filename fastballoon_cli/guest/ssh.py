"""The SSH connection to a guest, and the agent that is behind it."""

import logging
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

import paramiko

from fastballoon_cli.errors import GuestError, PreconditionError
from fastballoon_cli.guest.agent import AgentClient
from fastballoon_cli.guest.login import SSH_PORT, Login
from guest_agent import PORT

__all__ = ["connect", "open_agent"]

_PREFERRED = "ssh-ed25519"
#: For exchanging keys and logging in, after the first word: one that is slow at it is not silent.
_HANDSHAKE_SECONDS = 3.0
#: Kind of a host key -> how it signs (RFC 8332), where that has another name.
_SIGNATURES = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256")}

_ACCEPT = "log in by ssh once, and accept the guest's host key; or say where it is: --known-hosts FILE"

# Paramiko logs the tracebacks of connections that end during the handshake, which a booting guest does a lot.
logging.getLogger("paramiko").setLevel(logging.CRITICAL)


def connect(
    login: Login, *, timeout: float, alive: Callable[[], None] = lambda: None, hint: str | None = None
) -> paramiko.Transport:
    """Return an authenticated connection to the guest's sshd, trying until it is up.

    :param timeout: seconds to go on trying, until it has said its first word.
    :param alive: called between tries; raises when it is pointless to go on.
    :param hint: what to do about a guest of the tool's own image that does not answer.
    :raise GuestError: no connection in time, another host key, or the key was refused.
    :raise PreconditionError: a key cannot be read.
    """
    deadline = time.monotonic() + timeout
    pinned = _host_key(login)
    try:
        key = paramiko.PKey.from_path(login.key)
    except (OSError, ValueError, paramiko.SSHException) as e:
        raise PreconditionError(f"cannot read the private key {login.key}: {e}") from e
    while True:
        try:
            return _try(login, pinned, key, timeout=min(10.0, max(1.0, deadline - time.monotonic())))
        except paramiko.AuthenticationException as e:
            raise GuestError(
                f"the guest does not let {login.user} log in with the key {login.key}",
                hint=_hint(login, hint),
                details=str(e),
            ) from e
        except (OSError, EOFError, paramiko.SSHException) as e:
            alive()
            if time.monotonic() > deadline:
                raise GuestError(
                    f"the guest's SSH did not answer within {timeout:.3g} s",
                    hint=_hint(login, hint),
                    details=str(e) or None,
                ) from e
            time.sleep(0.05)


def open_agent(
    transport: paramiko.Transport, *, timeout: float = 10.0, patience: float = 10.0, hint: str | None = None
) -> AgentClient:
    """Connect to the agent by a channel that is forwarded to its port; the connection ends with it.

    :param transport: an authenticated connection.
    :param timeout, hint: as for :class:`AgentClient`; it says why it fails on the guest's console.
    :param patience: seconds for the channel.
    :raise GuestError: the agent is not there.
    """
    try:
        channel = transport.open_channel("direct-tcpip", ("127.0.0.1", PORT), ("127.0.0.1", 0), timeout=patience)
    except (paramiko.SSHException, EOFError) as e:
        transport.close()
        raise GuestError("the guest's agent is not there", hint=hint, details=str(e)) from e
    return AgentClient(_Forwarded(transport, channel), timeout=timeout, hint=hint)


@dataclass(frozen=True)
class _Forwarded:
    """A channel that is all that its connection is for."""

    transport: paramiko.Transport
    channel: paramiko.Channel

    def settimeout(self, seconds: float) -> None:
        self.channel.settimeout(seconds)

    def sendall(self, data: bytes) -> None:
        try:
            self.channel.sendall(data)
        except paramiko.SSHException as e:
            raise OSError(str(e)) from e

    def recv(self, size: int) -> bytes:
        return self.channel.recv(size)

    def close(self) -> None:
        self.transport.close()


def _try(login: Login, pinned: paramiko.PKey, key: paramiko.PKey, *, timeout: float) -> paramiko.Transport:
    sock = socket.create_connection((login.host, login.port), timeout=timeout)
    try:
        # A request is one small packet and its answer another: Nagle would hold each back for 40 ms.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport = paramiko.Transport(sock)
        transport.banner_timeout = timeout
        transport.handshake_timeout = transport.auth_timeout = timeout + _HANDSHAKE_SECONDS
        # The guest is to show the kind of key that is known of it, whichever it has beside that.
        transport.get_security_options().key_types = _SIGNATURES.get(pinned.get_name(), (pinned.get_name(),))
        transport.start_client(timeout=timeout + _HANDSHAKE_SECONDS)
        if transport.get_remote_server_key() != pinned:
            transport.close()
            raise GuestError(f"the guest showed another host key than the one in {login.known_hosts}")
        transport.auth_publickey(login.user, key)
        return transport
    except BaseException:
        sock.close()
        raise


def _hint(login: Login, own: str | None) -> str | None:
    if login.alias:
        return own
    return f"try it by hand: ssh -p {login.port} -i {login.key} {login.user}@{login.host}"


def _host_key(login: Login) -> paramiko.PKey:
    """Return the guest's host key.

    :raise PreconditionError: it is not known.
    """
    name = login.alias or (login.host if login.port == SSH_PORT else f"[{login.host}]:{login.port}")
    try:
        found = paramiko.HostKeys(str(login.known_hosts)).lookup(name)
    except OSError as e:
        raise PreconditionError(
            f"cannot read the known host keys in {login.known_hosts}: {e.strerror}", hint=_ACCEPT
        ) from e
    if not found:
        raise PreconditionError(f"the host key of {name} is not in {login.known_hosts}", hint=_ACCEPT)
    return found.get(_PREFERRED) or next(iter(found.values()))
