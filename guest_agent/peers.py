"""Who is at the other end of a connection from this machine."""

import socket
import struct

#: Columns of /proc/net/tcp (Documentation/networking/proc_net_tcp.rst).
_LOCAL, _REMOTE, _UID = 1, 2, 7


def is_root(connection: socket.socket) -> bool:
    """Return whether root has made a connection over IPv4 that came from this machine.

    sshd does, for the host's tool; what the agent does on request is not for every user of the guest to ask for.
    """
    ends = (_written(connection.getpeername()), _written(connection.getsockname()))
    with open("/proc/net/tcp") as connections:
        for line in connections:
            fields = line.split()
            if (fields[_LOCAL], fields[_REMOTE]) == ends:
                return fields[_UID] == "0"
    return False


def _written(address: tuple[str, int]) -> str:
    """Return an address as the kernel writes it: the four bytes as a number of this machine, in hexadecimal."""
    (number,) = struct.unpack("=I", socket.inet_aton(address[0]))
    return f"{number:08X}:{address[1]:04X}"
