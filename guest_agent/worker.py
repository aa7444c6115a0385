"""Work on memory in a process of its own, so that its end gives every page back to the kernel."""

import os
import signal
from collections.abc import Callable

Say = Callable[[str, int], None]

#: When the kernel runs out of memory, see proc(5), oom_score_adj: never, as any other process, before all others.
SPARED, ORDINARY, FIRST_TO_GO = -1000, 0, 1000


def run(work: Callable[[Say], object], progress: Callable[[int], None], *, lasting: bool = False) -> dict[str, int]:
    """Run ``work`` in a child process and return the numbers that it said.

    :param work: calls its argument with a name and a number; ``"done"`` is how many bytes are done so far.
    :param lasting: leave the process alive until the guest ends, the connection's end included, with what ``work``
        returned.
    :raise MemoryError: the process ended before its work did.
    """
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        _child(work, read_end, write_end, lasting)
    os.close(write_end)
    said: dict[str, int] = {}
    complete, reason = False, "killed, as it seems"
    with open(read_end) as words:
        for line in words:
            name, _, value = line.rstrip().partition(" ")
            if name == "complete":
                complete = True
            elif name == "failed":
                reason = value
            elif name == "done":
                progress(int(value))
            else:
                said[name] = int(value)
    if not (complete and lasting):
        os.waitpid(child, 0)
    if not complete:
        raise MemoryError(f"the work was not completed: {reason}")
    return said


def _child(work: Callable[[Say], object], read_end: int, write_end: int, lasting: bool) -> None:
    held: list[object] = []
    try:
        os.close(read_end)
        when_memory_runs_out(FIRST_TO_GO)
        if lasting:
            leave_connection()
        with open(write_end, "w") as out:
            try:
                held.append(work(lambda name, number: print(name, number, file=out, flush=True)))
                print("complete", file=out)
            except Exception as e:  # whatever it is, the parent tells of it
                print("failed", repr(e), file=out)
                lasting = False
        while lasting:
            signal.pause()
    finally:
        os._exit(0)


def when_memory_runs_out(turn: int) -> None:
    """Say when it is this process's turn to be ended by the kernel; its children inherit that."""
    with open("/proc/self/oom_score_adj", "w") as mine:
        mine.write(str(turn))


def leave_connection() -> None:
    """Let go of the connection's streams: it would not end before whoever holds them."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
