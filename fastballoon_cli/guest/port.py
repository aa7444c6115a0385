"""The agent of the package ``fastballoon-guest``, by the socket of its virtio-serial port."""

import socket
from pathlib import Path

from fastballoon_cli.errors import GuestError, PreconditionError
from fastballoon_cli.guest.agent import AgentClient

__all__ = ["NAME", "open_agent"]

#: Of the port; what the guest's package looks for.
NAME = "fastballoon.agent.0"
#: One that runs answers within milliseconds.
_PATIENCE_SECONDS = 2.0


def open_agent(path: Path, *, patience: float = _PATIENCE_SECONDS) -> AgentClient:
    """Connect to an agent that answers what there is to look at, and meet it.

    The port takes one client and lets a second one wait, and where no agent runs nobody answers.

    :param path: of the socket that QEMU has made for the port.
    :param patience: seconds for each of its answers.
    :raise PreconditionError: there is no such socket, or it may not be opened.
    :raise GuestError: nobody answers.
    """
    channel = socket.socket(socket.AF_UNIX)
    client = AgentClient(
        channel,
        timeout=patience,
        shared=True,
        hint="fastballoon-guest does not run in the guest, or another program has the socket",
    )
    try:
        channel.settimeout(patience)
        channel.connect(str(path))
        client.call("hello")
    except (TimeoutError, BlockingIOError) as e:  # the latter when others wait for it already
        client.close()
        raise GuestError(f"the agent's socket {path} is busy", hint="another program has it") from e
    except OSError as e:
        client.close()
        raise PreconditionError(
            f"cannot open the agent's socket {path}: {e.strerror or e}",
            hint="QEMU makes one with: -chardev socket,id=agent,path=PATH,server=on,wait=off -device virtio-serial "
            f"-device virtserialport,chardev=agent,name={NAME}",
        ) from e
    except BaseException:
        client.close()
        raise
    return client
