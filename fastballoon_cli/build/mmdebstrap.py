"""mmdebstrap, which installs a Debian of one's own: as this machine's apt reaches its mirror."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from fastballoon_cli.build import apt
from fastballoon_cli.build.job import Job
from fastballoon_cli.build.locks import locked
from fastballoon_cli.errors import BuildError

__all__ = ["mmdebstrap", "source_line"]

#: Without a network the user should hear of it soon.
_APT_OPTIONS = ('Acquire::Retries "1";', 'Acquire::http::Timeout "8";', 'Acquire::https::Timeout "8";')


def source_line(mirror: str, suite: str) -> str:
    """Return a suite's line of a ``sources.list``."""
    return f"deb [signed-by={apt.keyring()}] {mirror} {suite} main"


def mmdebstrap(
    command: Callable[[str, Sequence[str]], Sequence[str | Path]],
    work: Job,
    *,
    what: str,
    scratch: Path,
    installed: Callable[[Sequence[str]], bool] = lambda _: False,
) -> None:
    """Run mmdebstrap.

    :param command: returns its command line, of the address of a mirror and of options on how to reach it.
    :param what: it is for, for a message.
    :param scratch: a folder for its temporary files.
    :param installed: says of the lines of its output whether all was installed, and what failed came later.
    :raise BuildError: packages cannot be had, or what came later failed.
    """
    with locked("apt", "fetching package lists", work.progress):
        mirror = apt.machine_mirror(work)
        options = [f"--aptopt={option}" for option in (*_APT_OPTIONS, *apt.machine_options(work))]
    if mirror is None:
        raise BuildError(
            f"this machine's apt has no Debian mirror to make {what} from", hint="add one to /etc/apt/sources.list.d"
        )
    environment: dict[str, str | None] = {}
    prefix: tuple[str, ...] = ()
    # For a user who is not root, mmdebstrap works as yet another one, who may not enter this one's folders. Its mounts
    # are its own then; so they are to be for root: those of one that is killed would stay.
    if os.geteuid() == 0:
        environment["TMPDIR"] = str(scratch)
        prefix = ("unshare", "--mount")
    said: list[str] = []
    try:
        work.run([*prefix, *command(mirror, options)], env=environment, on_line=said.append)
    except BuildError as e:
        if installed(said):
            raise BuildError(f"cannot make {what}: a script of ours failed", details=e.details) from e
        raise BuildError(
            f"cannot install Debian for {what}: {apt.reason(chr(10).join(said)) or e.message}",
            hint="check the network, the proxy settings, and that 'apt-get update' works",
            details=e.details,
        ) from e
