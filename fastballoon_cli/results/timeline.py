"""The one place that subtracts times.

Two clocks meet here, QEMU's and the guest's. They are never compared: each gives differences of its own, and only
those are put together.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastballoon_cli.results.model import Counts, Phases

__all__ = ["HostSide", "Timeline", "between_events"]

_NS = 1_000_000_000


def between_events(first: Mapping[str, Any] | None, second: Mapping[str, Any] | None) -> float | None:
    """Return the seconds between two QMP events of the same host, by the time that QEMU has put into them.

    Two QEMUs of one host have the same clock: ``gettimeofday``, in microseconds.
    """
    if first is None or second is None:
        return None
    return (_microseconds(second) - _microseconds(first)) / 1e6


def _microseconds(event: Mapping[str, Any]) -> int:
    stamp = event["timestamp"]
    return int(stamp["seconds"]) * 1_000_000 + int(stamp["microseconds"])


@dataclass(frozen=True)
class HostSide:
    """What QEMU counted on the queue of this direction, at one moment."""

    kicks: int
    messages: int
    discards: int
    translate_ns: int
    discard_ns: int


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """Two readings of everything that counts, one before a move and one after it.

    :ivar operation: ``inflate`` or ``deflate``; also the prefix of the guest's counters.
    :ivar watched_s: seconds from the request until the tool saw the target reached, by polling.
    :ivar stamps_ns: QEMU's own stamps of the request and of the guest's last word, where it has them.
    :ivar host: QEMU's counters before and after, or None.
    :ivar guest: the driver's counters before and after, or None.
    """

    operation: str
    watched_s: float
    stamps_ns: tuple[int, int] | None
    host: tuple[HostSide, HostSide] | None
    guest: tuple[Mapping[str, int], Mapping[str, int]] | None

    @property
    def duration_s(self) -> float:
        """Seconds the move took: by QEMU's stamps, else as watched."""
        if self.stamps_ns is None:
            return self.watched_s
        requested, reached = self.stamps_ns
        return (reached - requested) / _NS

    @property
    def clock(self) -> str:
        """Where :attr:`duration_s` comes from: ``qemu`` or ``poll``."""
        return "poll" if self.stamps_ns is None else "qemu"

    @property
    def counts(self) -> Counts:
        """Kicks, messages and discards of this move, from QEMU or else from the guest."""
        if self.host:
            before, after = self.host
            return Counts(
                kicks=after.kicks - before.kicks,
                messages=after.messages - before.messages,
                discards=after.discards - before.discards,
            )
        if self.guest:
            return Counts(kicks=self._guest("kicks"), messages=self._guest("messages"))
        return Counts()

    @property
    def phases(self) -> Phases:
        """The duration cut into its phases, as far as both ends count them."""
        translate = discard = None
        if self.host:
            before, after = self.host
            translate = (after.translate_ns - before.translate_ns) / _NS
            discard = (after.discard_ns - before.discard_ns) / _NS
        if not self.guest:
            return Phases(translate=translate, discard=discard)
        inflating = self.operation == "inflate"
        allocate = self._guest("allocate_ns") / _NS if inflating else None
        release = None if inflating else self._guest("release_ns") / _NS
        carried = (self._guest("send_ns") + self._guest("ack_ns")) / _NS
        # The driver waits while the device works; what the device did is a phase of its own.
        send = max(0.0, carried - (translate or 0.0) - (discard or 0.0))
        known = sum(phase or 0.0 for phase in (allocate, release, send, translate, discard))
        return Phases(
            allocate=allocate,
            release=release,
            send=send,
            translate=translate,
            discard=discard,
            other=max(0.0, self.duration_s - known),
        )

    def _guest(self, name: str) -> int:
        assert self.guest is not None
        before, after = self.guest
        key = f"{self.operation}_{name}"
        return after.get(key, 0) - before.get(key, 0)
