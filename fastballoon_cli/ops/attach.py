"""Take up a VM that somebody else has started, and let go of it again."""

from pathlib import Path

from fastballoon_cli.errors import PreconditionError
from fastballoon_cli.machine import attached, registry
from fastballoon_cli.machine.attached import Attached
from fastballoon_cli.progress import Progress
from fastballoon_cli.qemu.balloon import BalloonDevice

__all__ = ["attach", "detach"]


def attach(name: str, qmp_socket: Path, progress: Progress) -> Attached:
    """Make a running QEMU a VM of this tool. Nothing about it changes.

    :param name: what to call it here.
    :raise UsageError: the name cannot be one.
    :raise PreconditionError: the name is in use, or no QEMU of this host answers there; or its VM has no balloon.
    :raise QmpError: somebody else holds the monitor.
    :raise VmLostError: nobody listens on the socket.
    """
    registry.forget_unless_alive(name)
    progress.step(f"Attaching '{name}'")
    found = attached.find(name, qmp_socket)
    with found.monitor() as qmp:
        BalloonDevice(qmp)
    with registry.lock(name, create=True):
        if registry.lives(name):
            raise PreconditionError(
                f"there is a VM '{name}' already", hint="choose another name; see: fastballoon vm list"
            )
        registry.save_attached(found)
    return found


def detach(name: str) -> None:
    """Forget a VM that was attached; it runs on as it is.

    :raise PreconditionError: there is none of that name, it was started here, or somebody works with it.
    """
    with registry.lock(name):
        if not registry.is_attached(name):
            raise PreconditionError(f"VM '{name}' was started here", hint=f"to end it: fastballoon vm stop {name}")
        registry.forget(name)
