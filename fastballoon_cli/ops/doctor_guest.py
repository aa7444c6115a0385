"""What a VM lacks for page bitmaps, and which command mends it. Looks only, and never waits long for a guest."""

import shlex
from collections.abc import Mapping
from typing import Any

from fastballoon_cli.errors import FastballoonError
from fastballoon_cli.guest import port
from fastballoon_cli.guest.agent import AgentClient
from fastballoon_cli.machine.base import Machine
from fastballoon_cli.machine.domain import Domain
from fastballoon_cli.machine.registry import Record
from fastballoon_cli.machine.session import Session, connect_agent, open_monitor, running
from fastballoon_cli.ops import status as vm_status
from fastballoon_cli.ops.findings import Check, Status
from fastballoon_cli.progress import Progress, Silent

__all__ = ["examine"]

_AGENT_SECONDS = 5.0
_PACKAGE = "fastballoon-dkms"
_MAKE = "fastballoon build packages"
#: Property of the balloon's device -> what it is for, and the field of a status that says whether it is agreed on.
_FEATURES = {
    "x-page-bitmap": ("page bitmaps", "method", "page-bitmap"),
    "x-drop-cache": ("dropping the cache", "drop_cache_method", "balloon"),
    "x-free-pages": ("free pages", "skip_free_method", "free-pages"),
}


def examine(which: str | Domain, progress: Progress) -> list[Check]:
    """Look at the device, the guest's driver, and what both have agreed on.

    :param which: the name of a VM that has a record here, or a domain.
    :raise PreconditionError: there is none of that name, or it has no balloon.
    :raise VmLostError: its QEMU has ended.
    :raise QmpError: QEMU does not answer.
    """
    machine = running(which)
    progress.step(f"Looking at '{machine.name}'")
    status = vm_status.status(which)
    with open_monitor(machine, looking=True) as qmp:
        has_driver = Session(machine, qmp, None, Silent(), met=True).balloon.has_driver()
    guest = _guest(machine)
    return [
        _device(machine, status),
        _driver(status, guest, has_driver=has_driver),
        *_agreed(status),
        *_zeroing(guest),
    ]


def _guest(machine: Machine) -> Mapping[str, Any] | None:
    """Return what the agent says of kernel and driver; None where none answers."""
    try:
        with _agent(machine) as agent:
            return {**agent.call("hello"), **agent.call("driver")}
    except FastballoonError:
        return None


def _agent(machine: Machine) -> AgentClient:
    if not machine.login and (socket := machine.agent_socket):
        return port.open_agent(socket)
    return connect_agent(machine, timeout=_AGENT_SECONDS)


def _device(machine: Machine, status: Mapping[str, Any]) -> Check:
    options = status["device_options"]
    found = f"QEMU {status['qemu_version']}"
    lacking = [name for name in _FEATURES if name not in options]
    if lacking:
        how = "start it with --qemu fast" if isinstance(machine, Record) else "see docs/libvirt.md"
        return Check("device", Status.WARN, f"{found} does not have {', '.join(lacking)}", f"use our QEMU: {how}")
    off = [name for name in _FEATURES if not options[name]]
    if off:
        return Check(
            "device", Status.WARN, f"{found}, made with {', '.join(f'{name}=off' for name in off)}", _on(machine)
        )
    return Check("device", Status.OK, f"{found}, all of the series is on")


def _on(machine: Machine) -> str:
    if isinstance(machine, Domain):
        uri = shlex.quote(machine.uri)
        return f"fastballoon --connect {uri} vm xml {machine.name} --apply, then shut it down and start it"
    return f"start it with -device virtio-balloon-pci,{','.join(f'{name}=on' for name in _FEATURES)}"


def _driver(status: Mapping[str, Any], guest: Mapping[str, Any] | None, *, has_driver: bool) -> Check:
    name = "driver"
    if not has_driver:
        return Check(name, Status.FAIL, "the guest has none for the balloon", "in the guest: modprobe virtio_balloon")
    agreed = status["method"] == "page-bitmap"
    if guest is None:
        found = "knows page bitmaps" if agreed else "none that knows page bitmaps, or not of this device"
    elif guest["version"]:
        found = f"our module {guest['version']}, kernel {guest['kernel']}"
    else:
        found = f"that of the kernel {guest['kernel']}" + (" with the series" if agreed else "")
    if agreed or not status["device_options"].get("x-page-bitmap"):
        return Check(name, Status.OK, found)
    return Check(name, Status.WARN, found, f"in the guest: {_remedy(guest)}")


def _remedy(guest: Mapping[str, Any] | None) -> str:
    """Return what brings our driver into a guest that has another one."""
    if guest and guest["version"]:
        return "rmmod virtio_balloon; modprobe virtio_balloon"
    if guest is None or not guest["installed"]:
        return f"apt-get install ./{_PACKAGE}_*.deb, which this makes: {_MAKE}; then reboot"
    if not guest["headers"]:
        return f"apt-get install linux-headers-{guest['kernel']}; then reboot"
    if guest["secure_boot"]:
        return "mokutil --import /var/lib/dkms/mok.pub, as Secure Boot takes signed modules only; then reboot"
    return "dkms autoinstall, and see: dkms status; then reboot"


def _agreed(status: Mapping[str, Any]) -> list[Check]:
    checks = []
    for option, (what, field, wanted) in _FEATURES.items():
        if not status["device_options"].get(option):
            continue
        if status[field] == wanted:
            checks.append(Check(what, Status.OK, "agreed on"))
        else:
            instead = f"; instead: {status[field]}" if status[field] else ""
            checks.append(Check(what, Status.WARN, f"offered by QEMU, not taken by the guest{instead}"))
    return checks


def _zeroing(guest: Mapping[str, Any] | None) -> list[Check]:
    """A module can take memory only by allocating it, which the series does not."""
    if guest is None or not guest["version"]:
        return []
    name = "init_on_alloc"
    if guest["init_on_alloc"]:
        return [
            Check(
                name,
                Status.WARN,
                "1: the guest zeroes all that its balloon takes, which takes most of the time",
                "boot the guest with init_on_alloc=0 if its owner can do without that protection",
            )
        ]
    return [Check(name, Status.OK, "0")]
