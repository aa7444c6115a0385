"""A person at a guest: SSH and the serial console."""

import os
import select
import shutil
import socket
import subprocess
import sys
import termios
import tty
from collections.abc import Sequence

from fastballoon_cli.errors import PreconditionError, VmLostError
from fastballoon_cli.guest.login import Login
from fastballoon_cli.machine.registry import Record

__all__ = ["console", "ssh"]

_LEAVE = b"\x1d"  # Ctrl-]
_CHUNK = 1 << 16


def ssh(login: Login, command: Sequence[str]) -> int:
    """Run OpenSSH's client on a guest and return its exit status.

    :raise PreconditionError: there is no ``ssh`` on this machine.
    """
    if shutil.which("ssh") is None:
        raise PreconditionError("there is no 'ssh' on this machine", hint="apt-get install openssh-client")
    return subprocess.call([*login.ssh(), *command])


def console(record: Record) -> None:
    """Join the terminal and a guest's serial console until Ctrl-] or the end of QEMU.

    :raise VmLostError: nobody listens on the console.
    """
    with socket.socket(socket.AF_UNIX) as line:
        try:
            line.connect(str(record.spec.console_socket))
        except OSError as e:
            raise VmLostError(f"no QEMU listens on {record.spec.console_socket}") from e
        sys.stderr.write(f"Connected to '{record.spec.name}'; Ctrl-] leaves, Enter shows the prompt.\r\n")
        keyboard = sys.stdin.fileno()
        before = termios.tcgetattr(keyboard)
        try:
            tty.setraw(keyboard)
            _join(line, keyboard)
        finally:
            termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
            sys.stderr.write("\n")


def _join(line: socket.socket, keyboard: int) -> None:
    while True:
        ready, _, _ = select.select([line.fileno(), keyboard], [], [])
        if line.fileno() in ready:
            data = line.recv(_CHUNK)
            if not data:
                return
            os.write(sys.stdout.fileno(), data)
        if keyboard in ready:
            data = os.read(keyboard, _CHUNK)
            if not data or _LEAVE in data:
                return
            line.sendall(data)
