"""The guest's memory by the balloon's statistics queue: what there is to know of a guest that nobody can log in to."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from fastballoon_cli.aside import write_whole
from fastballoon_cli.errors import FastballoonError
from fastballoon_cli.qemu.balloon import Balloon

__all__ = ["Statistics", "polled", "set_back"]

#: The file in a machine's folder that says how often the guest was asked before somebody began to ask every second.
_BEFORE = "polling.json"

#: QEMU's name of a figure (virtio 1.3, 5.5.6.4) -> the kernel's in /proc/meminfo; both in bytes here.
_NAMES = {
    "stat-total-memory": "MemTotal",
    "stat-free-memory": "MemFree",
    "stat-available-memory": "MemAvailable",
    "stat-disk-caches": "Cached",
}
#: QEMU asks in whole seconds.
_INTERVAL = 1
#: A guest answers within milliseconds, unless it is paused or has no memory left.
_PATIENCE_SECONDS = 3.0
_POLL_SECONDS = 0.05


class Statistics:
    """What the guest's driver tells, while QEMU asks it every second.

    :ivar age_s: how old the figures were that were returned last, in seconds; None if there were none.
    """

    def __init__(self, device: Callable[[], Balloon]) -> None:
        self._device = device
        self.age_s: float | None = None

    def memory(self, *, wait: bool) -> Mapping[str, int] | None:
        """Return the guest's memory in bytes under the names of /proc/meminfo, those that it tells; None if none.

        :param wait: for figures that are no older than this call, for up to 3 seconds.
        """
        begun = time.time()
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            stats = self._device().stats()
            # QEMU notes the time of an answer in whole seconds, rounded down.
            fresh = stats.age_s is not None and time.time() - stats.age_s >= begun
            if fresh or not wait or time.monotonic() > deadline:
                break
            time.sleep(_POLL_SECONDS)
        self.age_s = stats.age_s
        found = {name: stats.values[key] for key, name in _NAMES.items() if key in stats.values}
        return found or None


@contextmanager
def polled(device: Callable[[], Balloon], folder: Path) -> Iterator[Statistics]:
    """Have the guest asked for statistics every second; at the end as often as it was before.

    :param device: returns the balloon of the QEMU that has the guest now.
    :param folder: the machine's; keeps what :func:`set_back` needs, should the tool be killed meanwhile.
    """
    before = device().stats().interval_s
    write_whole(folder / _BEFORE, json.dumps({"interval_s": before}))
    device().poll_stats(_INTERVAL)
    try:
        yield Statistics(device)
    finally:
        with suppress(FastballoonError):  # the guest may be gone
            device().poll_stats(before)
            (folder / _BEFORE).unlink(missing_ok=True)


def set_back(device: Callable[[], Balloon], folder: Path) -> None:
    """Have the guest asked as often as it was before a tool that was killed had it asked every second.

    :param device: called only where there was one.
    :param folder: the machine's.
    :raise QmpError: QEMU does not answer.
    :raise VmLostError: it has ended.
    """
    kept = folder / _BEFORE
    try:
        before = int(json.loads(kept.read_text())["interval_s"])
    except FileNotFoundError:
        return
    except (ValueError, KeyError, TypeError):
        before = 0
    # Somebody else may have set it since, or QEMU may be another one.
    balloon = device()
    if balloon.stats().interval_s == _INTERVAL:
        balloon.poll_stats(before)
    kept.unlink(missing_ok=True)
