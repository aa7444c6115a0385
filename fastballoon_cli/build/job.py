"""One product being fetched and built: its lock, its log, its commands, and what a full disk makes of it."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fastballoon_cli import process
from fastballoon_cli.build.locks import locked
from fastballoon_cli.build.paths import checked_cache_dir, logs_dir
from fastballoon_cli.errors import BuildError
from fastballoon_cli.progress import Progress
from fastballoon_cli.units import format_size

__all__ = ["Job", "job", "ran_out_of_space", "translated"]

#: What the user's shell may have set that must not change a build.
_NEUTRAL: dict[str, str | None] = {
    **dict.fromkeys(
        ("ARCH", "CROSS_COMPILE", "CFLAGS", "CPPFLAGS", "LDFLAGS", "MAKEFLAGS", "KBUILD_OUTPUT", "KCFLAGS")
    ),
    **dict.fromkeys(("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")),
    "LC_ALL": "C.UTF-8",
}
_FULL = (errno.ENOSPC, errno.EDQUOT)
_FULL_MESSAGES = ("No space left on device", "Disk quota exceeded")
#: Below this much free space a failed command is taken to have failed for want of it, whatever it said.
_AS_GOOD_AS_FULL = 8 << 20


@dataclass(frozen=True)
class Job:
    """What every step of a build needs; its commands end with the tool and hold the lock until they have ended."""

    progress: Progress
    log: Path
    lock: int

    def run(
        self,
        argv: Sequence[str | Path],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str | None] | None = None,
        on_line: Callable[[str], None] | None = None,
        hint: str | None = None,
    ) -> str:
        """Run a command to its end and return its output.

        :raise BuildError: it failed.
        """
        return process.run(
            argv,
            cwd=cwd,
            env={**_NEUTRAL, **(env or {})},
            hold=[self.lock],
            log=self.log,
            on_line=on_line,
            error=BuildError,
            hint=hint,
        )


@contextmanager
def job(lock: str, doing: str, progress: Progress, *, need_bytes: int) -> Iterator[Job]:
    """Hold a product's lock while it is built.

    :param lock: builders with the same name wait for each other.
    :param doing: such as ``building kernel-fast``; also names the log.
    :param need_bytes: free space below which it is not even tried.
    :raise BuildError: something that was written to the cache folder did not fit or was not allowed.
    """
    root = checked_cache_dir()
    with translated(root), locked(lock, doing, progress) as fd:
        free = shutil.disk_usage(root).free
        if free < need_bytes:
            raise _full(root, f"{doing} needs about {format_size(need_bytes)}, and {format_size(free)} are free")
        logs_dir().mkdir(exist_ok=True)
        log = logs_dir() / f"{doing.rsplit(maxsplit=1)[-1]}.log"
        log.write_bytes(b"")
        yield Job(progress, log, fd)


@contextmanager
def translated(root: Path) -> Iterator[None]:
    """Turn what the operating system says about the cache folder into errors for people.

    :raise BuildError: the disk is full, or the folder cannot be written to.
    """
    try:
        yield
    except BuildError as e:
        if ran_out_of_space(e, root):
            raise _full(root, f"{format_size(_free(root))} are left", details=e.message) from e
        raise
    except OSError as e:
        if e.errno in _FULL:
            raise _full(root, f"{format_size(_free(root))} are left") from e
        raise BuildError(f"cannot build in {root}: {e}", hint="set FASTBALLOON_CACHE to a folder of yours") from e


def ran_out_of_space(error: BuildError, root: Path) -> bool:
    """Say whether a failed command failed because the disk below ``root`` is full."""
    return any(text in (error.details or "") for text in _FULL_MESSAGES) or _free(root) < _AS_GOOD_AS_FULL


def _free(root: Path) -> int:
    status = os.statvfs(root)
    return status.f_bavail * status.f_frsize


def _full(root: Path, reason: str, details: str | None = None) -> BuildError:
    return BuildError(
        f"not enough space in the cache folder {root}: {reason}",
        hint="free some, or set FASTBALLOON_CACHE to a folder on a disk with 10 GiB free",
        details=details,
    )
