"""A libvirt domain as a machine."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fastballoon_cli.config import runtime_dir
from fastballoon_cli.errors import PreconditionError, VmLostError
from fastballoon_cli.guest.login import Login
from fastballoon_cli.guest.port import NAME as AGENT_PORT
from fastballoon_cli.libvirt.balloon import DomainBalloon
from fastballoon_cli.libvirt.connection import Connection, virsh
from fastballoon_cli.libvirt.domain import LibvirtDomain
from fastballoon_cli.libvirt.monitor import DomainMonitor
from fastballoon_cli.machine.facts import Facts
from fastballoon_cli.machine.locks import locked
from fastballoon_cli.qemu.monitor import CommandNotFoundError, Monitor
from fastballoon_cli.units import KIB

__all__ = ["Domain", "find", "find_all", "names"]


@dataclass(frozen=True)
class Domain:
    """A domain that ran when it was looked for; libvirt is asked for all that is known of it.

    :ivar login: how to log in to its guest, where an agent is; None if nobody has said it.
    """

    running: LibvirtDomain
    login: Login | None = None

    @property
    def name(self) -> str:
        """The domain's name."""
        return self.running.name

    @property
    def agent_socket(self) -> Path | None:
        """The socket of the port of the agent in the package ``fastballoon-guest``; None where that does not run."""
        return self.running.describe().ports.get(AGENT_PORT) if self.running.connection.local else None

    @property
    def qga_socket(self) -> None:
        """Of a domain the agent's socket is libvirt's own."""
        return None

    @property
    def uri(self) -> str:
        """Where it runs, as libvirt writes it."""
        return self.running.connection.uri

    @contextmanager
    def lock(self) -> Iterator[int]:
        """Hold it against another fastballoon of this user.

        :raise PreconditionError: that holds it.
        """
        with locked(runtime_dir() / f"domain.{self.running.uuid}", self.name, create=True, remove=True) as handle:
            yield handle

    def require_alive(self) -> None:
        """Raise :class:`VmLostError` if it does not run any more."""
        if not self.running.runs():
            raise VmLostError(f"the VM was lost: domain '{self.name}' does not run any more", hint=self._start())

    def not_ours(self) -> PreconditionError:
        """Return the error that something is for VMs that were started here."""
        return PreconditionError(
            f"'{self.name}' is a domain of libvirt: this is for VMs that fastballoon has started",
            hint=f"use {virsh(self.uri)}",
        )

    def console(self) -> str:
        """Return how to see what its guest says."""
        return f"look at the guest's console: {virsh(self.uri, 'console', self.name)}"

    def taint(self) -> str | None:
        """Return what libvirt is going to note of the domain, the first time that its QEMU is asked past libvirt."""
        if not self.running.describe().extended or self.running.tainted_by_monitor():
            return None
        return (
            f"fastballoon asks the QEMU of '{self.name}' directly for what libvirt does not know; libvirt notes in the "
            "domain's log that it is tainted: custom-monitor"
        )

    def monitor(self) -> Monitor:
        """Return its monitor, which is left alone unless its XML names a feature of ours."""
        return DomainMonitor(self.running, alone=not self.running.describe().extended)

    observer = monitor

    def facts(self, monitor: Monitor) -> Facts:
        """Ask what it is like."""
        found = self.running.describe()
        connection = self.running.connection
        return Facts(
            name=self.name,
            memory_bytes=found.memory_bytes,
            cpus=found.cpus,
            accel=found.accel,
            lent_bytes=found.lent_bytes,
            built={"qemu_version": _qemu_version(monitor), "libvirt_version": connection.version()},
            host=None if connection.local else connection.host(),
        )

    def state(self, _: Monitor) -> str:
        """Return what its guest does: ``running``, ``paused`` and others."""
        return self.running.state()

    def require_running(self, _: Monitor) -> None:
        """Check that the guest is not paused.

        :raise PreconditionError: it is, or does not run for another reason.
        """
        if (state := self.running.state()) != "running":
            raise PreconditionError(
                f"the guest does not run: libvirt says '{state}'",
                hint=f"let it go on: {virsh(self.uri, 'resume', self.name)}",
            )

    def balloon(self, monitor: Monitor, _: Facts | None = None) -> DomainBalloon:
        """Return its balloon.

        :raise PreconditionError: it has none.
        """
        return DomainBalloon(self.running, monitor)

    def has_balloon(self) -> bool:
        """Return whether it runs and has a balloon."""
        try:
            return self.running.describe().balloon
        except VmLostError:
            return False  # it has just ended

    def process(self, _: Monitor) -> "DomainProcess":
        """Return what the host counts of it, by libvirt's word."""
        return DomainProcess(self.running)

    def tell(self, command: str, arguments: Mapping[str, object]) -> str:
        """Return a command to its QEMU, as somebody would give it to virsh."""
        if command == "balloon":
            return virsh(self.uri, "setmem", self.name, f"{int(str(arguments['value'])) // KIB}KiB", "--live")
        said = json.dumps({"execute": command, "arguments": arguments})
        return virsh(self.uri, "qemu-monitor-command", self.name, said)

    def _start(self) -> str:
        return f"start it: {virsh(self.uri, 'start', self.name)}"


@dataclass(frozen=True)
class DomainProcess:
    """The QEMU of a domain, on whichever host."""

    running: LibvirtDomain

    def rss(self) -> int | None:
        """Return its resident memory in bytes; None where it is in huge pages, which libvirt leaves out.

        :raise VmLostError: the domain does not run any more.
        """
        if self.running.describe().huge_pages:
            return None
        resident = self.running.memory_stats().get("rss")
        return None if resident is None else resident * KIB

    def vcpu_seconds(self) -> float:
        """Return for how long the virtual CPUs have run so far, all together, in steps of 10 ms.

        :raise VmLostError: the domain does not run any more.
        """
        return self.running.vcpu_seconds()


def find(uri: str, name: str, login: Login | None = None) -> Domain:
    """Return a domain that runs.

    :param login: how to log in to its guest, where an agent is.
    :param uri: as virsh takes it; nothing for libvirt's own default.
    :raise PreconditionError: there is none of that name, it does not run, or libvirt cannot be reached.
    """
    connection = Connection(uri)
    found = Domain(LibvirtDomain(connection, connection.find(name)), login)
    if not found.running.runs():
        raise PreconditionError(f"domain '{name}' does not run", hint=found._start())
    return found


def find_all(uri: str) -> list[Domain]:
    """Return the domains that run, by their names.

    :param uri: as virsh takes it; nothing for libvirt's own default.
    :raise PreconditionError: libvirt cannot be reached.
    """
    connection = Connection(uri)
    return sorted((Domain(LibvirtDomain(connection, one)) for one in connection.running()), key=lambda one: one.name)


def names(uri: str) -> list[str]:
    """Return the names of the domains that run and have a balloon, in their order.

    :param uri: as virsh takes it; nothing for libvirt's own default.
    :raise PreconditionError: libvirt cannot be reached.
    """
    return [one.name for one in find_all(uri) if one.has_balloon()]


def _qemu_version(monitor: Monitor) -> str | None:
    """Return the version of a domain's QEMU; None where its monitor is left alone: libvirt knows only the default's."""
    try:
        answer = monitor.execute("query-version")["qemu"]
    except CommandNotFoundError:
        return None
    return ".".join(str(answer[part]) for part in ("major", "minor", "micro"))
