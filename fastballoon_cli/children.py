"""Several pieces of work at once, each in a process that is forked for it.

What works with a VM was written for one: it blocks, it ends by an exception that Ctrl-C raises in the main thread, and
the lock of its VM ends with its process. In a child all of that is as it is for one VM, on a CPU of its own. Children
are forked before anything has a thread, and share what was imported by then. Each has a socket: by it comes the name to
work on next, and goes what there is to tell.
"""

import os
import pickle
import selectors
import signal
import socket
import struct
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Generic, TypeVar

from fastballoon_cli.errors import FastballoonError, InterruptedByUser, as_error
from fastballoon_cli.progress import Progress
from fastballoon_cli.signals import blocked_signals, obey_parent

__all__ = ["run_all", "run_apart"]

_T = TypeVar("_T")

#: As many work at once; the others wait for one of them to have time.
_MOST = 32
#: How often a child says how far it is.
_UPDATE_SECONDS = 0.1
#: Of a message from a child; and which name is its next, or none any more.
_NUMBER = struct.Struct("!i")
_NONE = -1
_CHUNK = 1 << 16
_ONCE_MORE = "run it again"


def run_all(
    names: Sequence[str],
    work: Callable[[str, Progress], _T],
    progress: Progress,
    *,
    title: str | None = None,
    verbose: bool = False,
    most: int = _MOST,
) -> dict[str, _T | FastballoonError]:
    """Do the same work for each name at once; what fails stops nothing else. For the main thread.

    Ctrl-C, or what does the same, is passed on to all of them: they end as they would by themselves. Another one ends
    them at once. Children whose parent was killed end as well.

    :param names: each of them once.
    :param work: called in a child, with a name and whom it tells how far it is; what it returns is pickled.
    :param title: of the step that all of it is; None: it is none.
    :param verbose: have an internal error tell where it came from.
    :param most: how many work at once.
    :returns: for each name, in their order, what the work has returned, or why it failed.
    :raise InterruptedByUser: all of them have ended.
    :raise OSError: no process could be started.
    """
    crew = _Crew(names, work, progress, verbose)
    crew.run(title, min(most, len(names)))
    if crew.interrupted:
        done = [name for name in names if name and not isinstance(crew.ended[name], FastballoonError)]
        raise InterruptedByUser("interrupted", details=f"done by then: {', '.join(done)}" if done else None)
    return {name: crew.ended[name] for name in names}


def run_apart(work: Callable[[], _T], progress: Progress) -> _T:
    """Do work that leaves threads or connections behind where no child that is forked later has them.

    :raise FastballoonError: the work has failed so.
    """
    (ended,) = run_all([""], lambda _, __: work(), progress).values()
    if isinstance(ended, FastballoonError):
        raise ended
    return ended


@dataclass
class _Child:
    """A process that works.

    :ivar at: the name that it works on; None: it was told that there is none any more.
    """

    pid: int
    wire: socket.socket
    at: str | None = None
    _read: bytearray = field(default_factory=bytearray)

    def messages(self) -> Iterator[tuple[str, Any]] | None:
        """Return the messages that are whole by now; None when it has ended."""
        try:
            data = self.wire.recv(_CHUNK)
        except ConnectionResetError:  # it has not read its next name
            data = b""
        self._read += data
        return self._whole() if data else None

    def _whole(self) -> Iterator[tuple[str, Any]]:
        while len(self._read) >= _NUMBER.size:
            end = _NUMBER.size + _NUMBER.unpack_from(self._read)[0]
            if len(self._read) < end:
                return
            message = pickle.loads(self._read[_NUMBER.size : end])
            del self._read[:end]
            yield message


class _Crew(Generic[_T]):
    """The children of one run.

    :ivar ended: what each name that is done has come to.
    :ivar interrupted: how often the user has asked to end it.
    """

    def __init__(
        self, names: Sequence[str], work: Callable[[str, Progress], _T], progress: Progress, verbose: bool
    ) -> None:
        self._names, self._work, self._progress, self._verbose = names, work, progress, verbose
        self._waiting = deque(range(len(names)))
        self._children: list[_Child] = []
        self._shares: dict[str, float] = {}
        self._titled = False
        self.ended: dict[str, _T | FastballoonError] = {}
        self.interrupted = 0

    def run(self, title: str | None, size: int) -> None:
        """Do all of the work, by so many children; afterwards none of them is left."""
        before = signal.getsignal(signal.SIGINT)
        self._handler = before if callable(before) else signal.default_int_handler
        # No exception may come in the middle of a message. SIGTERM and SIGHUP call this one, too.
        signal.signal(signal.SIGINT, self._interrupt)
        try:
            self._fork(size)
            if title and not self.interrupted:
                self._titled = True
                self._progress.step(title, float(len(self._names)))
            self._gather()
        finally:
            self._leave()
            signal.signal(signal.SIGINT, before)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self.interrupted += 1
        if self.interrupted == 1:
            self._tell(signal.SIGTERM)
            return
        self._tell(signal.SIGKILL)
        self._handler(number, frame)

    def _tell(self, number: signal.Signals) -> None:
        for child in self._children:  # none of which was reaped, so that each pid is still its own
            os.kill(child.pid, number)

    def _fork(self, size: int) -> None:
        # A child must be known before there is anything to tell it.
        with blocked_signals():
            while len(self._children) < size:
                try:
                    self._children.append(self._forked())
                except OSError:
                    if not self._children:
                        raise
                    return  # this user has no more processes, or the host no more memory: some do the work of all
                self._give(self._children[-1])

    def _forked(self) -> _Child:
        parent = os.getpid()
        ours, theirs = socket.socketpair()
        try:
            pid = os.fork()
        except OSError:
            ours.close()
            theirs.close()
            raise
        if pid:
            theirs.close()
            return _Child(pid, ours)
        try:
            signal.signal(signal.SIGINT, self._handler)
            obey_parent(parent)
            for one in (ours, *(child.wire for child in self._children)):
                one.close()
            _serve(theirs, self._names, self._work, self._verbose)
        finally:
            os._exit(0)  # whatever has ended it: nothing of what it has of its parent is to end with it

    def _give(self, child: _Child) -> None:
        """Tell a child what it works on next."""
        child.at, number = None, _NONE
        if self._waiting and not self.interrupted:
            number = self._waiting.popleft()
            child.at = self._names[number]
        with suppress(BrokenPipeError):  # it has just been killed
            child.wire.sendall(_NUMBER.pack(number))

    def _gather(self) -> None:
        """Take what the children tell until the last of them has ended."""
        with selectors.DefaultSelector() as selector:
            for child in self._children:
                selector.register(child.wire, selectors.EVENT_READ, child)
            while self._children:
                for key, _ in selector.select():
                    child = key.data
                    messages = child.messages()
                    if messages is None:
                        selector.unregister(child.wire)
                        self._reap(child)
                        continue
                    for kind, value in messages:
                        self._heed(child, kind, value)
                    self._update()
        for name in self._names:
            self.ended.setdefault(name, FastballoonError("no process was left to work on it", hint=_ONCE_MORE))

    def _heed(self, child: _Child, kind: str, value: Any) -> None:
        assert child.at is not None
        match kind:
            case "ended":
                self._shares.pop(child.at, None)
                self.ended[child.at] = value
                self._give(child)
            case "share":
                self._shares[child.at] = value
            case "warning":
                self._progress.warn(f"{child.at}: {value}" if child.at else value)

    def _update(self) -> None:
        if self._titled and not self.interrupted:
            done = len(self.ended)
            self._progress.update(done + sum(self._shares.values()), note=f"{done} of {len(self._names)} done")

    def _reap(self, child: _Child) -> None:
        self._children.remove(child)
        child.wire.close()
        code = os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1])
        if child.at is not None:
            by = f" by {signal.Signals(-code).name}" if code < 0 else ""
            self._shares.pop(child.at, None)
            self.ended[child.at] = FastballoonError(f"the process that worked on it was ended{by}", hint=_ONCE_MORE)

    def _leave(self) -> None:
        """Leave no child behind where something has gone wrong here."""
        self._tell(signal.SIGTERM)
        while self._children:
            self._reap(self._children[-1])


def _serve(wire: socket.socket, names: Sequence[str], work: Callable[[str, Progress], Any], verbose: bool) -> None:
    """Be a child: work on one name after the other."""
    while turn := wire.recv(_NUMBER.size):  # else the parent has gone
        (number,) = _NUMBER.unpack(turn)
        if number == _NONE:
            return
        try:
            message = _framed("ended", work(names[number], _Telling(wire)))
        except BaseException as e:
            error = as_error(e)
            if verbose and error is not e:
                error.details = traceback.format_exc().rstrip()
            message = _framed("ended", error)
        wire.sendall(message)


@dataclass
class _Telling:
    """The progress of a child's work: as much of it as a line for all of them has room for."""

    wire: socket.socket
    _total: float | None = None
    _last: float = 0.0

    def step(self, title: str, total: float | None = None) -> None:  # noqa: ARG002
        """Note how far there is to go."""
        self._total = total

    def update(self, done: float, *, total: float | None = None, note: str | None = None) -> None:  # noqa: ARG002
        """Tell which share of the step is done, now and then."""
        self._total = total or self._total
        now = time.monotonic()
        if self._total and now - self._last > _UPDATE_SECONDS:
            self._last = now
            self.wire.sendall(_framed("share", min(1.0, done / self._total)))

    def warn(self, message: str) -> None:
        """Hand the warning on."""
        self.wire.sendall(_framed("warning", message))


def _framed(kind: str, value: Any) -> bytes:
    """Return a message as it is sent: its length, and what it is."""
    said = pickle.dumps((kind, value))
    return _NUMBER.pack(len(said)) + said
