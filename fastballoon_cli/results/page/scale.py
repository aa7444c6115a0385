"""Where values stand on an axis, and what is written along it."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from fastballoon_cli.units import KIB, format_size

__all__ = ["Scale", "scale_of", "tick_label"]

_MOST_TICKS = 5
#: A billionth of a second, or of anything: what is smaller cannot be told from nothing.
_LEAST = 1e-9


@dataclass(frozen=True)
class Scale:
    """An axis from ``low`` to ``high``.

    :ivar ticks: values that are marked, ascending.
    """

    low: float
    high: float
    ticks: tuple[float, ...]
    logarithmic: bool = False

    def at(self, value: float) -> float:
        """Return where a value stands: 0 at the low end, 1 at the high end, nothing beyond them."""
        if not self.logarithmic:
            share = (value - self.low) / (self.high - self.low)
        elif value <= self.low:
            return 0.0
        else:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        return min(1.0, max(0.0, share))


def scale_of(values: Iterable[float], unit: str, *, logarithmic: bool = False) -> Scale:
    """Return the axis for values of a unit: from 0, or from the power of its base that is below the least of them.

    :param unit: ``s``, ``bytes`` or an empty text for a count.
    """
    positive = [value for value in values if value >= _LEAST] or [1.0]
    if logarithmic:
        return _powers(min(positive), max(positive), 4.0 if unit == "bytes" else 10.0)
    most = max(positive)
    step = _step(most, unit)
    return Scale(0.0, most, tuple(step * n for n in range(int(most / step) + 1)))


def _powers(least: float, most: float, base: float) -> Scale:
    first = math.floor(math.log(least, base) - 0.1)
    last = max(first + 1, math.floor(math.log(most, base) + 1e-9))
    every = math.ceil((last - first + 1) / _MOST_TICKS)
    ticks = tuple(base**n for n in range(first, last + 1, every))
    return Scale(ticks[0], max(most, ticks[1]), ticks, logarithmic=True)


def _step(most: float, unit: str) -> float:
    whole = 1.0
    while unit == "bytes" and whole * KIB <= most:
        whole *= KIB
    least = most / whole / (_MOST_TICKS - 1)
    power = 10.0 ** math.floor(math.log10(least))
    return whole * next(power * n for n in (1, 2, 5, 10) if power * n >= least * (1 - 1e-9))


def tick_label(value: float, unit: str) -> str:
    """Return what is written at a tick: as short as it can be said."""
    match unit:
        case "s":
            return f"{value * 1000:.6g} ms" if 0 < value < 1 else f"{value:.6g} s"
        case "bytes":
            return format_size(round(value))
    return f"{value:.6g}"
