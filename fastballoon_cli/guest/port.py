"""The agent of the package ``fastballoon-guest``, by the socket of its virtio-serial port."""

from pathlib import Path

from fastballoon_cli.guest.agent import AgentClient
from fastballoon_cli.guest.serial import connect_port

__all__ = ["NAME", "open_agent"]

#: Of the port; what the guest's package looks for.
NAME = "fastballoon.agent.0"
#: One that runs answers within milliseconds.
_PATIENCE_SECONDS = 2.0


def open_agent(path: Path, *, patience: float = _PATIENCE_SECONDS) -> AgentClient:
    """Connect to an agent that answers what there is to look at, and meet it.

    Where no agent runs nobody answers.

    :param path: of the socket that QEMU has made for the port.
    :param patience: seconds for each of its answers.
    :raise PreconditionError: there is no such socket, or it may not be opened.
    :raise GuestError: nobody answers.
    """
    client = AgentClient(
        connect_port(path, patience, whose="the agent's", name=NAME, chardev="agent"),
        timeout=patience,
        shared=True,
        hint="fastballoon-guest does not run in the guest, or another program has the socket",
    )
    try:
        client.call("hello")
    except BaseException:
        client.close()
        raise
    return client
