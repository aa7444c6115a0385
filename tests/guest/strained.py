"""What the tests of guests under strain share."""

import ctypes
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastballoon_cli.errors import GuestError
from fastballoon_cli.machine import registry
from fastballoon_cli.machine.session import Session, connect_agent, hold
from fastballoon_cli.ops import vm as vm_ops
from fastballoon_cli.progress import Silent
from fastballoon_cli.qemu.balloon import BalloonDevice

MIB, GIB = 1 << 20, 1 << 30
PAGE = 4096
_PR_SET_THP_DISABLE = 41  # linux/prctl.h


def on_both(boot, measure: Callable[[Session], Any], record_property, **request: Any) -> tuple[Any, Any]:
    """Boot the unmodified pair and the patched one in turn; return what ``measure`` finds with each, in this order."""
    found = []
    for variant in ("stock", "fast"):
        boot(variant, kernel=variant, qemu=variant, **request)
        with hold(variant, Silent(), need_agent=True, patience=20) as session:
            found.append(measure(session))
        vm_ops.stop(variant, Silent())
        record_property(variant, found[-1])
    return found[0], found[1]


def settled(read: Callable[[], int], goal: int, *, still: float = 2.0, seconds: float = 90.0) -> int:
    """Return where a size ends up: at the goal, or where it does not move for ``still`` seconds.

    :param seconds: for one that neither arrives nor stays.
    """
    size, moved, end = read(), time.monotonic(), time.monotonic() + seconds
    while size != goal and time.monotonic() < min(moved + still, end):
        if (now := read()) != size:
            size, moved = now, time.monotonic()
        time.sleep(0.01)
    return size


def aim(session: Session, target: int, *, still: float = 2.0) -> int:
    """Set a target and leave it set, whether it can be reached or not; return the size at which the balloon stays."""
    device = BalloonDevice(session.qmp)
    device.set_target(target)
    return settled(device.size, target, still=still, seconds=40.0)


def shared_rss(session: Session) -> int:
    """Return how much of the guest's memory the host holds where that is a memfd."""
    status = Path(f"/proc/{session.record.pid}/status").read_text()
    return int(re.search(r"^RssShmem:\s+(\d+) kB$", status, re.MULTILINE)[1]) * 1024


@dataclass(frozen=True)
class Took:
    """How it went with a process that took memory.

    :ivar seconds: until it had all of it, by its own clock; None if it never had.
    :ivar killed: the kernel has ended it.
    :ivar oom_kills: processes that the kernel has ended, this one included.
    :ivar longest_answer_s: the longest time that a new SSH connection and one answer took.
    """

    seconds: float | None
    killed: bool
    oom_kills: int | None
    longest_answer_s: float


def take(name: str, size: int, *, limit: float, after: float = 5.0) -> Took:
    """Have a process in a guest take memory, and ask the guest over new connections how it goes.

    :param limit: seconds until it is given up.
    :param after: go on asking so long after its end, or after it has its memory.
    """
    record = registry.load(name)
    with connect_agent(record, timeout=20) as agent:
        before = agent.call("take_told")["oom_kill"]
        agent.call("take_start", size=size, seconds=300.0)
    longest, told = 0.0, None
    end = time.monotonic() + limit
    ended = False
    while (asked := time.monotonic()) < end:
        try:
            with connect_agent(record, timeout=limit) as agent:
                told = agent.call("take_told", timeout=limit)
        except GuestError:
            pass  # how long it did not answer is what counts
        longest = max(longest, time.monotonic() - asked)
        if not ended and told and (told["taken"] == size or not told["alive"]):
            ended, end = True, time.monotonic() + after
    return Took(
        seconds=told["ns"] / 1e9 if told and told["taken"] == size else None,
        killed=bool(told) and not told["alive"],
        oom_kills=told["oom_kill"] - before if told else None,
        longest_answer_s=longest,
    )


class Asking:
    """Asks a VM's second monitor for its status every 5 ms, in a thread, and keeps how long each answer took."""

    def __init__(self, name: str) -> None:
        self.seconds: list[float] = []
        self._stop = threading.Event()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(registry.load(name).spec.observer_socket))
        self._file = self._socket.makefile("rw")
        self._file.readline()
        self._ask("qmp_capabilities")
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Asking":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._file.close()
        self._socket.close()

    @property
    def longest(self) -> float:
        return max(self.seconds)

    def _run(self) -> None:
        while not self._stop.wait(0.005):
            begun = time.monotonic()
            self._ask("query-status")
            self.seconds.append(time.monotonic() - begun)

    def _ask(self, command: str) -> None:
        self._file.write(json.dumps({"execute": command}) + "\n")
        self._file.flush()
        while "return" not in json.loads(self._file.readline()):
            pass  # an event


@contextmanager
def spinning(name: str, seconds: float) -> Iterator[dict[str, float]]:
    """Keep all CPUs of a guest busy meanwhile; at the end it is known for how long one of them was away."""
    found: dict[str, float] = {}
    begun = threading.Event()
    with connect_agent(registry.load(name), timeout=20) as agent:

        def spin() -> None:
            patience = seconds + 60
            found.update(agent.call("spin", seconds=seconds, timeout=patience, on_progress=lambda _: begun.set()))

        thread = threading.Thread(target=spin)
        thread.start()
        assert begun.wait(20)
        try:
            yield found
        finally:
            thread.join()


@contextmanager
def without_huge_pages() -> Iterator[None]:
    """Let what is started meanwhile have no transparent huge pages, as on a host where they are off."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    assert prctl(_PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0
    try:
        yield
    finally:
        prctl(_PR_SET_THP_DISABLE, 0, 0, 0, 0)
