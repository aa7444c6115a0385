"""A QEMU with the bare guest in it, and how the guest moves to the next one."""

import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import IntEnum
from pathlib import Path
from typing import Any

from fastballoon_cli.process import Guarded
from fastballoon_cli.qemu import migration
from fastballoon_cli.qemu.qmp import connect_when_ready

__all__ = ["Answer", "BareError", "Link", "Machine", "Move", "Spec"]

MIB = 1 << 20
_BOOT_SECONDS = 20.0
_COMMAND_SECONDS = 60.0
_PASS_SECONDS = 120.0
#: So few bytes per second that the last dirty page does not go over in the time that the guest may be paused.
_NEVER = 1000
#: And so many that all of its memory does.
_ALWAYS = 1 << 50


class BareError(Exception):
    """The guest or its QEMU did not do what it should."""


class Answer(IntEnum):
    """How the guest answers the host; answers.h has the same list and says what each is."""

    HONEST = 0
    LIAR = 1
    STALE = 2
    SILENT = 3
    HALF = 4
    REFUSE = 5
    RESET = 6
    GUESS = 7


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What each of a guest's QEMUs is like.

    :ivar accel: for ``-accel``, with its options.
    :ivar folder: sockets lie there; short, as a socket's path may have 108 bytes.
    :ivar options: further words of the command line.
    """

    binary: Path
    rom: Path
    accel: str
    folder: Path
    memory: int = 64 * MIB
    options: tuple[str, ...] = ()

    def argv(self, number: int, *, incoming: bool) -> list[str]:
        """Return the command line of the guest's QEMU of this number."""
        return [
            str(self.binary),
            *("-machine", "pc", "-cpu", "qemu64", "-accel", self.accel, "-m", f"{self.memory // MIB}M"),
            *("-nodefaults", "-no-user-config", "-display", "none"),
            *("-bios", str(self.rom)),
            *("-device", "virtio-balloon-pci,id=balloon0,x-page-bitmap=on,x-free-pages=on,x-drop-cache=on"),
            *("-serial", f"unix:{self.folder}/serial{number},server=on,wait=off"),
            *("-qmp", f"unix:{self.folder}/qmp{number},server=on,wait=off"),
            # The guest waits until somebody listens to it.
            *(("-incoming", "defer") if incoming else ("-S",)),
            *self.options,
        ]


@dataclass(frozen=True, kw_only=True)
class Link:
    """What a migration goes over.

    :ivar capabilities: of both sides.
    """

    bandwidth: int
    capabilities: dict[str, bool] = field(default_factory=dict)


@dataclass(frozen=True)
class Move:
    """How a migration went, as its source saw it."""

    passes: int
    transferred: int
    free_pages: dict[str, Any]


class Machine:
    """A running QEMU; a context manager.

    :raise BareError: the guest does not come up.
    """

    def __init__(self, spec: Spec, number: int = 0, *, incoming: bool = False) -> None:
        self.spec = spec
        self.number = number
        self._text = ""
        self._log = (spec.folder / f"log{number}").open("w+b")
        self._process = Guarded(spec.argv(number, incoming=incoming), stdout=self._log)
        try:
            deadline = time.monotonic() + _BOOT_SECONDS
            self.qmp = connect_when_ready(spec.folder / f"qmp{number}", deadline=deadline, alive=self._check_alive)
            self._serial = socket.socket(socket.AF_UNIX)
            self._serial.connect(str(spec.folder / f"serial{number}"))
            if not incoming:
                self.qmp.execute("cont")
                self._read_line(deadline, "boot")
        except BaseException:
            self._process.kill()
            raise

    def __enter__(self) -> "Machine":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End QEMU, unless that was done."""
        if self._log.closed:
            return
        self._process.kill()
        self.qmp.close()
        self._serial.close()
        self._log.close()

    def ask(self, command: str) -> dict[str, int]:
        """Send the guest a command and return the values in its answer.

        :raise BareError: it says that something is wrong, or nothing in time.
        """
        self._serial.sendall(command.encode() + b"\n")
        line = self._read_line(time.monotonic() + _COMMAND_SECONDS, command)
        words = line.split()
        if words[:1] != ["ok"]:
            raise BareError(f"'{command}': {line}")
        return {name: int(value) for name, value in (word.split("=") for word in words[1:])}

    def free_pages(self) -> dict[str, Any]:
        """Return what the device has counted."""
        found: dict[str, Any] = self.qmp.execute("x-query-balloon-free-pages")
        return found

    def successor(self, options: tuple[str, ...] = ()) -> "Machine":
        """Start the QEMU that this guest can move to, with options of its own."""
        spec = replace(self.spec, options=options or self.spec.options)
        return Machine(spec, self.number + 1, incoming=True)

    def begin(self, target: "Machine", link: Link) -> None:
        """Start a migration that is not complete until :meth:`finish`."""
        way = self.spec.folder / f"way{target.number}"
        for machine in (self, target):
            migration.set_capabilities(machine.qmp, link.capabilities)
        migration.set_limits(self.qmp, bandwidth=link.bandwidth, downtime_s=0.001)
        self._expect_at_switchover(_NEVER)
        migration.listen_on(target.qmp, way)
        migration.migrate_to(self.qmp, way)

    def set_bandwidth(self, bandwidth: int) -> None:
        """Have the migration under way use so much of the link, in bytes per second."""
        self.qmp.execute("migrate-set-parameters", {"max-bandwidth": bandwidth})

    def await_passes(self, passes: int) -> None:
        """Wait until the dirty log was taken over so many times."""
        self._await_migration(lambda state: state.passes >= passes, f"{passes} passes")

    def finish(self, target: "Machine") -> Move:
        """Let the migration be complete and wait until it is; the guest runs in the target then.

        The last pass ends in its middle, since the rest may be sent while the guest is paused.
        """
        self._expect_at_switchover(_ALWAYS)
        state = self._await_migration(lambda state: state.status == migration.COMPLETED, "its end")
        target.await_true(lambda: target.qmp.execute("query-status")["status"] == "running", "the guest on the target")
        return Move(state.passes, int(state.ram["transferred"]), self.free_pages())

    def cancel(self) -> None:
        """Give the migration up and wait until that is done."""
        migration.cancel(self.qmp)
        self._await_migration(lambda state: state.status == "cancelled", "the cancellation")

    def await_failure(self) -> None:
        """Wait until the migration has failed, as it must."""
        self._await_migration(lambda state: state.status == "failed", "the failure")

    def await_true(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for something.

        :raise BareError: it does not come in time, or QEMU has ended.
        """
        deadline = time.monotonic() + _PASS_SECONDS
        while not condition():
            self._check_alive()
            if time.monotonic() > deadline:
                raise BareError(f"waited in vain for {what}")
            time.sleep(0.005)

    def _expect_at_switchover(self, bandwidth: int) -> None:
        self.qmp.execute("migrate-set-parameters", {"avail-switchover-bandwidth": bandwidth})

    def _await_migration(self, condition: Callable[[migration.Migration], bool], what: str) -> migration.Migration:
        latest = migration.Migration(status="none")

        def reached() -> bool:
            nonlocal latest
            latest = migration.query(self.qmp)
            if latest.ended and not condition(latest):
                raise BareError(f"the migration is {latest.status}: {latest.error}")
            return condition(latest)

        self.await_true(reached, what)
        return latest

    def _read_line(self, deadline: float, what: str) -> str:
        while "\n" not in self._text:
            ready, _, _ = select.select([self._serial], [], [], max(0.0, deadline - time.monotonic()))
            more = self._serial.recv(4096) if ready else b""
            if not more:
                self._check_alive()
                raise BareError(f"the guest says nothing to '{what}'")
            self._text += more.decode(errors="replace")
        line, _, self._text = self._text.partition("\n")
        return line

    def _check_alive(self) -> None:
        if (status := self._process.poll()) is not None:
            self._log.seek(0)
            raise BareError(f"QEMU ended with status {status}: {self._log.read().decode(errors='replace')[-500:]}")
