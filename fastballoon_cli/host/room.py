"""Whether the host has room for one more QEMU."""

import socket

from fastballoon_cli.errors import PreconditionError
from fastballoon_cli.host import procfs
from fastballoon_cli.units import MIB, format_size

__all__ = ["free_port", "require_memory"]

#: Kept free on the host beside the guest's memory, for QEMU itself and everybody else.
_RESERVE = 512 * MIB


def require_memory(size: int, what: str) -> None:
    """Check that the host has room for one more QEMU.

    :param size: bytes of guest memory that it may come to hold.
    :raise PreconditionError: it has not.
    """
    available = procfs.mem_available()
    if available < size + _RESERVE:
        raise PreconditionError(
            f"the host has {format_size(available)} available, too little for {what}",
            hint="stop other VMs (fastballoon vm list), or use a smaller --memory",
        )


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
