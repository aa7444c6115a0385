"""Write to a file all the time and check that it keeps what was written."""

import os
import time
import zlib
from collections.abc import Callable
from pathlib import Path

#: The serial number of the disk that the host attaches for this.
_SERIAL = "scratch"
_CHUNK = 1 << 20


def rewrite(progress: Callable[[int], None], *, size: int, seconds: float) -> dict[str, int]:
    """Write random data to the scratch disk through the page cache, again and again, and check it as often.

    Nothing is written back on purpose until the end, so that much of the cache is dirty meanwhile.

    :param size: bytes of the disk to use; at least two chunks of 1 MiB.
    :returns: ``written`` and ``checked`` chunks, and ``mismatches``: those that read back otherwise.
    :raise FileNotFoundError: the host has attached no such disk.
    :raise ValueError: ``size`` is too small.
    """
    chunks = size // _CHUNK
    if chunks < 2:
        raise ValueError(f"{size} bytes are less than two chunks of {_CHUNK}")
    sums: dict[int, int] = {}
    written = checked = mismatches = 0
    end = time.monotonic() + seconds
    with scratch_disk().open("r+b", buffering=0) as disk:

        def differs(chunk: int) -> bool:
            disk.seek(chunk * _CHUNK)
            return zlib.crc32(disk.read(_CHUNK)) != sums[chunk]

        while time.monotonic() < end:
            chunk = written % chunks
            data = os.urandom(_CHUNK)
            disk.seek(chunk * _CHUNK)
            disk.write(data)
            sums[chunk] = zlib.crc32(data)
            written += 1
            # The one that was written longest ago: some of it is clean by now, and may have been dropped.
            mismatches += differs((chunk + 1) % chunks if len(sums) == chunks else 0)
            checked += 1
            progress(written * _CHUNK)
        os.fsync(disk.fileno())
        mismatches += sum(differs(chunk) for chunk in sums)
    return {"written": written, "checked": checked + len(sums), "mismatches": mismatches}


def scratch_disk() -> Path:
    """Return the disk that keeps what is written to it.

    :raise FileNotFoundError: there is none.
    """
    for serial in Path("/sys/block").glob("*/serial"):
        if serial.read_text().strip() == _SERIAL:
            return Path("/dev") / serial.parent.name
    raise FileNotFoundError("the host has attached no scratch disk")
