"""Where things live, and the user's configuration file."""

import os
import tomllib
from pathlib import Path
from typing import Any

from fastballoon_cli.errors import PreconditionError, UsageError

__all__ = ["cache_dir", "load_defaults", "runtime_dir"]


def cache_dir() -> Path:
    """Return the folder of sources, trees and artifacts: ``FASTBALLOON_CACHE``, or below the user's cache folder.

    :raise PreconditionError: neither is known.
    """
    if own := os.environ.get("FASTBALLOON_CACHE"):
        return Path(own).expanduser().absolute()
    base = _folder("XDG_CACHE_HOME", ".cache")
    if base is None:
        raise PreconditionError(
            "there is no home folder to keep builds in", hint="set FASTBALLOON_CACHE, or HOME, to a folder of yours"
        )
    return base / "fastballoon"


def _folder(variable: str, below_home: str) -> Path | None:
    """Return one of the user's own folders; None for a user whom the system does not know."""
    if base := os.environ.get(variable):
        return Path(base)
    try:
        return Path.home() / below_home
    except RuntimeError:
        return None


def runtime_dir() -> Path:
    """Return the folder of running VMs, 0700 and owned by this user; short, as a unix socket's path has 108 bytes.

    :raise PreconditionError: somebody else made it, or it cannot be made.
    """
    if own := os.environ.get("FASTBALLOON_RUNTIME"):
        path = Path(own).absolute()
    elif base := os.environ.get("XDG_RUNTIME_DIR"):
        path = Path(base) / "fastballoon"
    else:
        path = Path(f"/tmp/fastballoon-{os.getuid()}")
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = path.lstat()
    except OSError as e:
        raise PreconditionError(f"cannot make the folder of running VMs {path}: {e.strerror}") from e
    if path.is_symlink() or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise PreconditionError(
            f"{path} is not this user's own private folder",
            hint="remove it, or set FASTBALLOON_RUNTIME to another folder",
        )
    return path


def load_defaults() -> dict[str, Any]:
    """Return the configuration file as Click's default map: a table per command, such as ``[vm.start] memory = "8G"``.

    Read from ``FASTBALLOON_CONFIG``, else ``fastballoon/config.toml`` in the user's configuration folder; a missing
    file is an empty one unless it was named.

    :raise UsageError: it is not TOML, or the named file cannot be read.
    """
    named = os.environ.get("FASTBALLOON_CONFIG")
    base = _folder("XDG_CONFIG_HOME", ".config")
    path = Path(named) if named else base and base / "fastballoon" / "config.toml"
    if path is None or (not named and not path.exists()):
        return {}
    try:
        read = tomllib.loads(path.read_text())
    except OSError as e:
        raise UsageError(f"cannot read the configuration {path}: {e.strerror}") from e
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise UsageError(f"{path} is not valid TOML: {e}") from e
    for written, name in (("json", "as_json"), ("all", "every")):  # as it is written on the command line
        if written in read:
            read.setdefault(name, read.pop(written))
    if isinstance(read.get("vm_name"), str):
        read["vm_name"] = [read["vm_name"]]
    return read
