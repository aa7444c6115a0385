"""The bare guest, in whichever QEMU it is: what a test has it do, and where it goes."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.bare.machine import Answer, Link, Machine, Move, Spec

__all__ = ["BATCH", "OCCASIONS", "SHIFTS", "STEP", "Guest", "chunk"]

PAGE = 4096
#: Occasions of a write, as pages.h lists them, that come with honest answers.
OCCASIONS = (
    *("at_round", "at_work", "allocated", "before_message", "in_ring", "kicked", "returned", "answered", "deflated"),
)
#: One chunk of the dirty log is cleared at a time: all memory, QEMU's default of 1 GiB, the least of 256 KiB.
SHIFTS = (31, 18, 6)
#: Between two steps of its work, in cycles of the TSC, and steps between two messages of the balloon.
STEP, BATCH = 200_000, 200
#: Cycles, for no step in any test
_IDLE = (1 << 32) - 1
#: A guest whose instructions are emulated one by one cannot take care of all of its memory.
_CHECK_SECONDS = 0.06
_FEWEST_PAGES = 1024


def chunk(shift: int) -> tuple[str, ...]:
    """Return the options with which the dirty log is cleared in chunks of ``1 << shift`` pages."""
    return ("-global", f"migration.x-clear-bitmap-shift={shift}")


class Guest:
    """A running bare guest; a context manager.

    :param pages: the pages that it uses, first and count; otherwise as many as it can check in a moment.
    :raise BareError: it does not boot.
    """

    def __init__(self, spec: Spec, *, pages: tuple[int, int] | None = None) -> None:
        self.machine = Machine(spec)
        try:
            self.first, self.count = pages or self._range()
            self.ask(f"m {self.first} {self.count}")
            #: The last of them are kept dirty, and no part of the test.
            self.count -= self.count // 16
        except BaseException:
            self.machine.stop()
            raise

    def __enter__(self) -> "Guest":
        return self

    def __exit__(self, *_: object) -> None:
        self.machine.stop()

    @property
    def bandwidth(self) -> int:
        """A link on which all of its pages would take two seconds, and those kept dirty longer than QEMU's 0.1 s."""
        return self.count * PAGE // 2

    def ask(self, command: str) -> dict[str, int]:
        """Send a command, see guest.c."""
        return self.machine.ask(command)

    def begin_round(self, seed: int, how: Answer = Answer.HONEST, *, delay: int = 0, work: bool = True) -> None:
        """Draw anew which pages are in use, and go to work.

        :param delay: an answer comes after so many cycles at most.
        """
        self.ask("w 0 0")
        self.ask(f"n {seed}")
        self.ask(f"a {how:d} {delay}")
        self.ask(f"w {STEP} {BATCH}" if work else f"w {_IDLE} 0")

    def check(self) -> dict[str, int]:
        """Have it stop to work and look at all pages in use."""
        self.ask("w 0 0")
        return self.ask("c")

    def counted(self) -> dict[str, int]:
        """Return what it has counted of the host's requests."""
        return self.ask("s")

    def migrate(self, *, passes: int = 3, options: tuple[str, ...] = (), **capabilities: bool) -> Move:
        """Move it to another QEMU while it goes on with its work.

        :param options: of the other QEMU.
        """
        with self.moving(options=options, **capabilities) as move:
            self.machine.await_passes(passes)
        return move()

    @contextmanager
    def moving(
        self, *, options: tuple[str, ...] = (), bandwidth: int | None = None, **capabilities: bool
    ) -> Iterator[Callable[[], Move]]:
        """Move it while the test does something, which begins as soon as memory is sent.

        Yields what returns, after that, how it went.
        """
        source = self.machine
        target = source.successor(options)
        moves: list[Move] = []
        try:
            source.begin(target, Link(bandwidth=bandwidth or self.bandwidth, capabilities=capabilities))
            source.await_passes(1)
            yield lambda: moves[0]
            moves.append(source.finish(target))
        except BaseException:
            target.stop()
            raise
        source.stop()
        self.machine = target

    def give_up(self, *, passes: int, kill: bool = False) -> None:
        """Begin to move it, and cancel that or kill the other QEMU."""
        with self.machine.successor() as target:
            self.machine.begin(target, Link(bandwidth=self.bandwidth))
            self.machine.await_passes(passes)
            if kill:
                target.stop()
                self.machine.await_failure()
            else:
                self.machine.cancel()

    def _range(self) -> tuple[int, int]:
        counted = self.ask("s")
        pages = counted["end"] - counted["first"]
        since = time.monotonic()
        self.ask("c")
        fast_enough = int(pages * _CHECK_SECONDS / (time.monotonic() - since))
        return counted["first"], min(pages, max(_FEWEST_PAGES, fast_enough)) // 64 * 64
