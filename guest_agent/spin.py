"""Be a CPU-bound process, and tell what was taken from it."""

import multiprocessing
import os
import time
from collections.abc import Callable


def spin(progress: Callable[[int], None], *, seconds: float) -> dict[str, float]:
    """Keep every CPU busy for some time; tell of progress once, when it begins.

    :returns: ``cpus``; ``loops`` that all of them did together, to be compared with a run that nothing disturbed;
        ``longest_gap_s``, the longest time for which one of them did not run.
    """
    cpus = os.cpu_count() or 1
    with multiprocessing.get_context("fork").Pool(cpus) as pool:
        pending = pool.map_async(_spin, [seconds] * cpus, chunksize=1)
        progress(0)
        results = pending.get()
    return {
        "cpus": cpus,
        "loops": sum(loops for loops, _ in results),
        "longest_gap_s": max(gap for _, gap in results) / 1e9,
    }


def _spin(seconds: float) -> tuple[int, int]:
    now = time.monotonic_ns()
    end = now + int(seconds * 1e9)
    loops = longest = 0
    while now < end:
        before, now = now, time.monotonic_ns()
        longest = max(longest, now - before)
        loops += 1
    return loops, longest
