"""How to log in to a guest; by itself, as what uses it takes long to import."""

import re
from dataclasses import dataclass
from pathlib import Path

from fastballoon_cli.errors import UsageError

__all__ = ["HOST_ALIAS", "SSH_PORT", "Login", "parse"]

#: Name under which the host key of a VM of our own is pinned; the forwarded port changes with every start.
HOST_ALIAS = "fastballoon-guest"
SSH_PORT = 22
_WORDS = re.compile(r"(?:([^@\s]+)@)?([^:@\s\[\]]+|\[[0-9a-fA-F:]+\])(?::(\d{1,5}))?")


@dataclass(frozen=True, kw_only=True)
class Login:
    """How to log in to a guest.

    :ivar key: a private key's file.
    :ivar known_hosts: a file with the guest's public host key, as OpenSSH has it; no other is accepted.
    :ivar alias: the name that the host key has there; None for host and port.
    """

    key: Path
    known_hosts: Path
    host: str = "127.0.0.1"
    port: int = SSH_PORT
    user: str = "root"
    alias: str | None = None

    def __str__(self) -> str:
        """Return it as :func:`parse` takes it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.user}@{host}:{self.port}"

    def ssh(self) -> list[str]:
        """Return the command line of OpenSSH's client that logs in so; what is to be run there comes behind it."""
        alias = ["-o", f"HostKeyAlias={self.alias}"] if self.alias else []
        return [
            *("ssh", "-F", "none"),
            *("-i", str(self.key)),
            *("-p", str(self.port)),
            *("-o", f"UserKnownHostsFile={self.known_hosts}"),
            *alias,
            *("-o", "StrictHostKeyChecking=yes"),
            *("-o", "IdentitiesOnly=yes"),
            *("-o", "LogLevel=ERROR"),
            # A guest that reboots, or moves on to another QEMU, says no goodbye.
            *("-o", "ServerAliveInterval=5"),
            *("-o", "ServerAliveCountMax=4"),
            f"{self.user}@{self.host}",
        ]


def parse(text: str, *, key: Path, known_hosts: Path) -> Login:
    """Return a login of ``[USER@]HOST[:PORT]``.

    :raise UsageError: it is none.
    """
    match = _WORDS.fullmatch(text)
    if not match:
        raise UsageError(f"'{text}' is no way to log in", hint="such as root@192.168.122.10, or root@[fd00::10]:2222")
    user, host, port = match.groups()
    return Login(
        key=key, known_hosts=known_hosts, host=host.strip("[]"), port=int(port or SSH_PORT), user=user or "root"
    )
