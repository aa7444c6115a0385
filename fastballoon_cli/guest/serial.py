"""The socket that QEMU has made for a virtio-serial port, behind which an agent may run."""

import socket
from pathlib import Path

from fastballoon_cli.errors import GuestError, PreconditionError

__all__ = ["connect_port"]


def connect_port(path: Path, patience: float, *, whose: str, name: str, chardev: str) -> socket.socket:
    """Connect to a port's socket. It takes one client and lets a second one wait.

    :param patience: seconds; afterwards those of each call on the socket, until somebody says otherwise.
    :param whose: socket it is, for messages.
    :param name, chardev: what the port and its chardev are called where QEMU is told to make them, for a hint.
    :raise PreconditionError: there is no such socket, or it may not be opened.
    :raise GuestError: others wait for it already.
    """
    one = socket.socket(socket.AF_UNIX)
    try:
        one.settimeout(patience)
        one.connect(str(path))
    except (TimeoutError, BlockingIOError) as e:  # the latter when others wait for it already
        one.close()
        raise GuestError(f"{whose} socket {path} is busy", hint="another program has it") from e
    except OSError as e:
        one.close()
        raise PreconditionError(
            f"cannot open {whose} socket {path}: {e.strerror or e}",
            hint=f"QEMU makes one with: -chardev socket,id={chardev},path=PATH,server=on,wait=off "
            f"-device virtio-serial -device virtserialport,chardev={chardev},name={name}",
        ) from e
    return one
