"""What signals do to the tool: each that is to end it does what Ctrl-C would do just then."""

import ctypes
import os
import signal
import sys
from collections.abc import Iterator, Set
from contextlib import contextmanager
from types import FrameType

__all__ = ["blocked_signals", "interrupt_on_signals", "obey_parent", "signal_mask"]

#: Whatever ends the tool, and the alarm by which it is ended once more.
_ENDING = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM})
_AGAIN_SECONDS = 0.01
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def interrupt_on_signals() -> None:
    """Have SIGTERM and SIGHUP do what Ctrl-C does."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        # What runs under nohup goes on when its terminal goes.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # Ctrl-C is not for a shell's job in the background. It is blocked instead of ignored: an event loop has a
        # handler for it only where it is not ignored, and the other signals need that.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        signal.signal(signal.SIGINT, signal.default_int_handler)
    _keep_what_python_drops()


def obey_parent(parent: int) -> None:
    """Have a process that was just forked end as the tool does, once, when its parent sends SIGTERM or is gone.

    Called with SIGTERM blocked; opens it.

    :param parent: the pid of the process that has forked it.
    """
    # A terminal tells all processes of a job; one word is enough, and it is the parent that passes it on.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    signal.signal(signal.SIGTERM, _interrupt_once)
    _keep_what_python_drops()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(1)  # it has gone before that, and nothing is begun
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGALRM})


@contextmanager
def blocked_signals() -> Iterator[Set[int]]:
    """Have each signal that ends the tool wait; yields the mask from before, for :func:`signal_mask`.

    For what would be left in pieces by an exception out of nowhere. Holds for the calling thread.
    """
    with signal_mask(signal.pthread_sigmask(signal.SIG_BLOCK, ()) | _ENDING) as before:
        yield before


@contextmanager
def signal_mask(mask: Set[int]) -> Iterator[Set[int]]:
    """Have the calling thread block exactly these signals; yields which it blocked before, as it does afterwards."""
    before = signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    try:
        yield before
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _keep_what_python_drops() -> None:
    signal.signal(signal.SIGALRM, _interrupt)
    sys.unraisablehook = _interrupt_again


def _interrupt_again(lost: "sys.UnraisableHookArgs") -> None:
    """Interrupt once more after a signal came just as a destructor ran: Python drops what is raised there."""
    if issubclass(lost.exc_type, KeyboardInterrupt):
        signal.setitimer(signal.ITIMER_REAL, _AGAIN_SECONDS)
    else:
        sys.__unraisablehook__(lost)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Do what Ctrl-C would do just now.

    While an event loop runs, it has a handler for that: an exception out of nowhere would end any of its tasks, such as
    the one that reads a monitor.
    """
    handler = signal.getsignal(signal.SIGINT)
    (handler if callable(handler) else signal.default_int_handler)(number, frame)


def _interrupt_once(number: int, frame: FrameType | None) -> None:
    """Do what Ctrl-C would do, and let no further word end what is set back then."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _interrupt(number, frame)
