"""What the tests need to have things go wrong: a balloon that never rests, a slow disk, a broken device."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastballoon_cli.machine import registry
from fastballoon_cli.qemu.qmp import Qmp
from tests.conftest import await_true

MIB = 1 << 20
DRIVER = "/sys/bus/virtio/drivers/virtio_balloon"
_DEVICE = "/machine/peripheral/balloon0/virtio-backend"
_DESCRIPTOR = 16


@contextmanager
def never_at_rest(name: str, *sizes: int, every: float = 0.05) -> Iterator[None]:
    """Give a VM's balloon another target every 50 ms, so that it moves whatever else is done.

    :param sizes: what the guest is to have, in bytes, in turn.
    """
    record = registry.load(name)
    stop = threading.Event()
    given = []

    def move() -> None:
        with Qmp(record.spec.observer_socket) as qmp:
            while not stop.wait(every):
                qmp.execute("balloon", {"value": sizes[len(given) % len(sizes)]})
                given.append(True)

    thread = threading.Thread(target=move)
    thread.start()
    try:
        await_true(lambda: given, what="a first target")
        yield
    finally:
        stop.set()
        thread.join()
    assert len(given) > 1


def boots(name: str) -> int:
    """Return how often a VM's guest has come up."""
    return registry.load(name).spec.console_log.read_bytes().count(b"fastballoon: ready")


def has_panicked(name: str) -> bool:
    """Return whether a guest's kernel has ever panicked; with ``panic_on_warn=1`` each warning does it."""
    return b"Kernel panic" in registry.load(name).spec.console_log.read_bytes()


def balloon_device(tool, name: str) -> str:
    """Return the name that the balloon has on the guest's virtio bus."""
    return tool.in_guest(name, f"basename {DRIVER}/virtio*").strip()


def let_through(qmp: Qmp, drive: str, *, bytes_per_second: int) -> None:
    """Limit what a drive carries, 0 for no limit. What waits goes on when the limit is gone."""
    limits = dict.fromkeys(("bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr"), 0)
    qmp.execute("block_set_io_throttle", {"device": drive, "bps": bytes_per_second, **limits})


class _GuestMemory:
    """A guest's physical memory, through QEMU's stub for gdb. The guest stands still meanwhile."""

    def __init__(self, stub: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(10)
        self._socket.connect(str(stub))
        assert self._ask("Qqemu.PhyMemMode:1") == "OK"

    def write(self, address: int, data: bytes) -> None:
        assert self._ask(f"M{address:x},{len(data):x}:{data.hex()}") == "OK"

    def close(self) -> None:
        """Let the guest go on."""
        assert self._ask("D") == "OK"
        self._socket.close()

    def _ask(self, packet: str) -> str:
        self._socket.sendall(f"${packet}#{sum(packet.encode()) & 0xFF:02x}".encode())
        answer = b""
        while answer[-3:-2] != b"#":
            answer += self._socket.recv(4096)
        self._socket.sendall(b"+")
        return answer.partition(b"$")[2][:-3].decode()


def needs_reset(qmp: Qmp) -> bool:
    """Return whether a balloon device has told its driver that it has failed."""
    statuses = qmp.execute("x-query-virtio-status", {"path": _DEVICE})["status"]["statuses"]
    return any("NEEDS_RESET" in status for status in statuses)


def spoil_slots(qmp: Qmp, folder: Path, *, queue: int) -> None:
    """Make the buffers in a queue invalid: a QEMU that takes one sets NEEDS_RESET and does nothing more."""
    ring = qmp.execute("x-query-virtio-queue-status", {"path": _DEVICE, "queue": queue})
    stub = folder / "gdb.sock"
    qmp.execute("human-monitor-command", {"command-line": f"gdbserver unix:{stub},server=on,wait=off"})
    memory = _GuestMemory(stub)
    for number in range(ring["vring-num"]):
        memory.write(ring["vring-desc"] + number * _DESCRIPTOR + 8, bytes(4))  # a length of 0
    memory.close()
    qmp.execute("human-monitor-command", {"command-line": "gdbserver none"})
