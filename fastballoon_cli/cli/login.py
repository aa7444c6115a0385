"""The options that say how to log in to a guest that fastballoon has not started."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from fastballoon_cli.errors import UsageError
from fastballoon_cli.guest.login import Login, parse

__all__ = ["login_of", "login_options"]

_Command = TypeVar("_Command", bound=Callable[..., Any])


def login_options(guest: str) -> Callable[[_Command], _Command]:
    """Return a decorator that gives a command ``--ssh``, ``--identity`` and ``--known-hosts``.

    :param guest: whose they are, such as ``a domain's guest``.
    """
    options = (
        click.option("--ssh", metavar="[USER@]HOST[:PORT]",
                     help=f"How to log in to {guest}, if fastballoon's agent runs in it."),
        click.option("--identity", type=click.Path(path_type=Path), metavar="FILE", help="The private key for --ssh."),
        click.option("--known-hosts", type=click.Path(path_type=Path), default=Path("~/.ssh/known_hosts"),
                     show_default=True, metavar="FILE", help="Where the guest's host key is, for --ssh."),
    )  # fmt: skip

    def decorate(command: _Command) -> _Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def login_of(ssh: str | None, identity: Path | None, known_hosts: Path) -> Login | None:
    """Return what the options say; None if it is nothing.

    :raise UsageError: the key is missing, or it is no way to log in.
    """
    if ssh is None:
        return None
    if identity is None:
        raise UsageError("--ssh needs a private key", hint="say which: --identity ~/.ssh/id_ed25519")
    return parse(ssh, key=_whole(identity), known_hosts=_whole(known_hosts))


def _whole(path: Path) -> Path:
    # It may be kept, and used from another folder.
    try:
        return path.expanduser().absolute()
    except RuntimeError as e:
        raise UsageError(f"{path}: there is no home folder", hint="write the whole path") from e
