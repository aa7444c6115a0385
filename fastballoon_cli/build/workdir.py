"""Build folders: kept from build to build, but never one in which a build was cut short."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastballoon_cli.build.job import ran_out_of_space
from fastballoon_cli.build.paths import work_dir, work_root
from fastballoon_cli.errors import BuildError

__all__ = ["building", "scratch_folder"]


@contextmanager
def scratch_folder(name: str) -> Iterator[Path]:
    """Yield an empty folder that is gone afterwards; to be called under the lock of what it is for."""
    folder = work_root() / name
    shutil.rmtree(folder, ignore_errors=True)  # of a build that was killed
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def building(name: str) -> Iterator[Path]:
    """Yield a build folder by its name; to be called under its product's lock.

    A marker beside it says that a build is going on. One that is found at the start is of a build that was killed or
    ran out of space: files may be cut short then, and make and ninja look at times only. ccache makes starting again
    cheap.
    """
    folder = work_dir(name)
    marker = folder.with_name(f"{folder.name}.busy")
    if marker.exists():
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    marker.touch()
    try:
        yield folder
    except BuildError as e:
        # A compiler that ran to its end and said no leaves whole files only; a write that failed does not.
        if not ran_out_of_space(e, folder.parent):
            marker.unlink()
        raise
    marker.unlink()
