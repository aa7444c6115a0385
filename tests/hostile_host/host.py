"""A guest whose balloon device can be told to misbehave, and what must hold of it whatever the device does."""

import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import paramiko

from fastballoon_cli.errors import QmpError
from fastballoon_cli.machine import registry
from fastballoon_cli.machine.session import connect, running
from fastballoon_cli.machine.spec import BALLOON_ID
from fastballoon_cli.qemu.balloon import BalloonDevice
from fastballoon_cli.qemu.qmp import Qmp
from tests.conftest import await_true, run_over

MIB = 1 << 20
#: Queues, as they are numbered with what the tool switches on.
INFLATE, DEFLATE, STATS, REQUESTS, ANSWERS = range(5)
#: Types and modes of the host's requests.
DROP_CACHE, FREE_PAGES, RECLAIM = 3, 4, 5
_DEVICE = f"/machine/peripheral/{BALLOON_ID}/virtio-backend"
_DRIVER = "/sys/bus/virtio/drivers/virtio_balloon"
_TOTAL = "grep MemTotal /proc/meminfo"
_BOOT_ID = "cat /proc/sys/kernel/random/boot_id"
#: What a kernel says when something is wrong with it.
_REPORT = re.compile(r"WARNING:|BUG:|Oops|Call Trace|general protection|blocked for more than|soft lockup|KASAN")


def slot(kind: int, mode: int, *, flags: int = 0, request: int = 0x5EED, first: int = 0, pages: int = 0) -> str:
    """Return the bytes of a request as the property x-hostile takes them."""
    return struct.pack("<HHIQQQ", kind, mode, flags, request, first, pages).hex()


SLOT_BYTES = len(slot(0, 0)) // 2
#: Of a guest of 512 MiB; more than fits into the two messages that the driver sends before one is returned.
ALL_FREE_PAGES = slot(FREE_PAGES, 0, pages=1 << 17)


@dataclass
class Hostile:
    """A guest and its device.

    :ivar driver_of: the device's name on the guest's virtio bus.
    :ivar total_kib: the guest's MemTotal with an empty balloon.
    :ivar boot: names this run of the guest's kernel.
    :ivar whole: set by :meth:`is_whole`: the guest can be used for another test.
    """

    name: str
    transport: paramiko.Transport
    qmp: Qmp
    device: BalloonDevice
    driver_of: str
    total_kib: int
    boot: str
    whole: bool = False

    def say(self, words: str) -> None:
        """Tell the device what to do, see the head of the patch."""
        self.qmp.execute("qom-set", {"path": _DEVICE, "property": "x-hostile", "value": words})

    def asks(self, written: int, request: str) -> bool:
        """Put a request into a slot; return false if the device has none."""
        try:
            self.say(f"slot:{REQUESTS}:{written}:{request}")
        except QmpError:
            return False
        return True

    def misdeeds(self) -> int:
        """Return how many buffers the device has returned wrongly since it was told what to do."""
        return int(self.qmp.execute("qom-get", {"path": _DEVICE, "property": "x-hostile"}))

    def available(self, queue: int) -> int:
        """Return how many buffers the driver has made available in a queue, modulo 2^16."""
        ring = self._ring(queue)
        return int.from_bytes(self._memory(ring["vring-avail"] + 2, 2), "little")

    def said(self, queue: int, since: int) -> list[bytes]:
        """Return the beginnings of the buffers that the driver has made available since then, 40 bytes at most.

        They must be with the device still, or the driver may have used their memory for others.
        """
        ring = self._ring(queue)
        found = []
        for number in range(since, since + (self.available(queue) - since) % (1 << 16)):
            entry = ring["vring-avail"] + 4 + 2 * (number % ring["vring-num"])
            head = int.from_bytes(self._memory(entry, 2), "little")
            address, size = struct.unpack("<QI", self._memory(ring["vring-desc"] + 16 * head, 12))
            found.append(self._memory(address, min(size, 40)))
        return found

    def _ring(self, queue: int) -> dict[str, int]:
        ring: dict[str, int] = self.qmp.execute("x-query-virtio-queue-status", {"path": _DEVICE, "queue": queue})
        return ring

    def _memory(self, address: int, size: int) -> bytes:
        dump = self.qmp.execute("human-monitor-command", {"command-line": f"xp /{size}xb {address:#x}"})
        return bytes(int(word, 16) for line in dump.splitlines() for word in line.partition(":")[2].split())

    def run(self, command: str) -> str:
        """Run a command in the guest."""
        return run_over(self.transport, command)

    def counters(self) -> dict[str, int]:
        """Return the driver's counters."""
        lines = self.run("cat /sys/kernel/debug/virtio-balloon/*/counters").splitlines()
        return {name: int(value) for name, value in map(str.split, lines)}

    def unbind(self) -> None:
        """Take the driver from the device."""
        self.run(f"timeout 30 sh -c 'echo {self.driver_of} > {_DRIVER}/unbind'")

    def bind(self) -> None:
        """Give the device to the driver."""
        self.run(f"echo {self.driver_of} > {_DRIVER}/bind")

    def memory_kib(self) -> int:
        """Return the guest's MemTotal, from which a balloon takes what it holds."""
        return int(self.run(_TOTAL).split()[1])

    def moves_to(self, size: int, *, seconds: float = 30) -> None:
        """Have the balloon reach a size."""
        self.device.set_target(size)
        await_true(lambda: self.device.size() == size, seconds=seconds, what=f"a balloon of {size >> 20} MiB")

    def answers(self) -> None:
        """Assert that the guest can be used."""
        assert self.run("echo usable").strip() == "usable"

    def is_whole(self) -> None:
        """Assert that the device is served again, and that the guest has all of its memory and no complaint."""
        self.moves_to(0)
        self.moves_to(64 * MIB)
        self.moves_to(0)
        await_true(lambda: self.memory_kib() == self.total_kib, seconds=30, what="all of the guest's memory")
        assert self.run(_BOOT_ID) == self.boot
        complaints = self.complaints()
        assert not complaints, "\n".join(complaints)
        self.whole = True

    def complaints(self) -> list[str]:
        """Return what is on the guest's console that should not be, and in its log."""
        record = registry.load(self.name)
        console = record.spec.console_log.read_text(errors="replace") if record else ""
        return [line for line in (console + self.run("dmesg")).splitlines() if _REPORT.search(line)]


@contextmanager
def hostile(name: str) -> Iterator[Hostile]:
    """Hold a connection to a guest and its QEMU's monitor; the device behaves until told otherwise."""
    record = running(name)
    # One connection for all: in a guest without KVM a new one takes a second.
    with Qmp(record.spec.observer_socket) as qmp, connect(record, timeout=60) as transport:
        driver_of = run_over(transport, f"basename {_DRIVER}/virtio*").strip()
        total = int(run_over(transport, _TOTAL).split()[1])
        boot = run_over(transport, _BOOT_ID)
        yield Hostile(name, transport, qmp, BalloonDevice(qmp), driver_of, total, boot)
