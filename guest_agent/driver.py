"""Which balloon driver the guest has, and what there is to have ours."""

import os
from collections.abc import Callable
from pathlib import Path

_Progress = Callable[[int], None]
_VERSION = Path("/sys/module/virtio_balloon/version")
_SOURCES = Path("/usr/src")
_VARIABLES = Path("/sys/firmware/efi/efivars")


def driver(_: _Progress) -> dict[str, str | bool | None]:
    """Return the version of our module if that is loaded, and what it takes to load it.

    ``installed``: its sources are; ``headers``: those that compile it for this kernel are; ``secure_boot``: the kernel
    takes only signed modules.
    """
    return {
        "version": _VERSION.read_text().strip() if _VERSION.exists() else None,
        "installed": any(_SOURCES.glob("fastballoon-*")),
        "headers": Path(f"/lib/modules/{os.uname().release}/build").is_dir(),
        # The variable's value is its last byte.
        "secure_boot": any(one.read_bytes()[-1:] == b"\1" for one in _VARIABLES.glob("SecureBoot-*")),
    }
