"""A file system with one file of zeros, which a guest caches in large folios and which takes the host 1 MiB."""

import shutil
from pathlib import Path

from fastballoon_cli.build.job import job
from fastballoon_cli.build.packages import require
from fastballoon_cli.build.paths import work_root
from fastballoon_cli.build.store import Inputs, find, key_of, publish
from fastballoon_cli.progress import Progress
from fastballoon_cli.units import MIB

__all__ = ["zeros"]

#: Raised when what this module does changes what comes out.
_RECIPE = 1
_IMAGE = "zeros.erofs"
#: The name of the file in it; the agent knows it too.
_FILE = "zeros"
#: Chunks of the same content are stored once.
_CHUNK_BYTES = 1 << 20
_NEED = 16 * MIB


def zeros(size: int, progress: Progress) -> Path:
    """Return the image of such a file system, made if it is not there yet; that takes some seconds per GiB.

    :param size: of the file, in bytes; a multiple of 1 MiB.
    :raise PreconditionError: packages or space are missing.
    :raise BuildError: mkfs.erofs refused.
    """
    inputs: Inputs = {"recipe": _RECIPE, "size": size, "chunk": _CHUNK_BYTES}
    key = key_of(inputs)
    kind = f"{size // MIB}m"
    if done := find("zeros", kind, key):
        return done / _IMAGE
    with job("zeros", "making a disk of zeros", progress, need_bytes=_NEED) as work:
        if done := find("zeros", kind, key):
            return done / _IMAGE
        require("sources", "image")
        scratch = work_root() / "zeros"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        try:
            work.progress.step("make a disk of zeros")
            with (scratch / _FILE).open("wb") as file:
                file.truncate(size)
            with publish("zeros", kind, inputs, {}) as folder:
                work.run(["mkfs.erofs", "-d0", f"--chunksize={_CHUNK_BYTES}", folder / _IMAGE, scratch])
                (folder / _IMAGE).chmod(0o444)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    done = find("zeros", kind, key)
    assert done is not None
    return done / _IMAGE
