"""How much memory a guest had over time, as points of a line."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["POINTS", "Curve", "read_curve", "thinned"]

#: More would not be seen in a picture that is as wide as a phone.
POINTS = 100


@dataclass(frozen=True)
class Curve:
    """A guest's memory over time.

    :ivar of: ``left``: what the balloon leaves to the guest; ``free``: the guest's own MemFree.
    :ivar seconds: since the move or migration began, ascending.
    :ivar bytes: as many, each from its moment until the next.
    """

    of: str
    seconds: Sequence[float]
    bytes: Sequence[int]


def thinned(of: str, points: Sequence[tuple[float, int]]) -> Curve | None:
    """Return a curve of at most :data:`POINTS` of these points, the last one among them; None if there are none.

    Of neighbours, the one with the least memory stays: that is the one that hurts a guest.

    :param points: seconds and bytes.
    """
    if not points:
        return None
    step = -(-len(points) // POINTS)
    groups = [points[i : i + step] for i in range(0, len(points), step)]
    kept = [min(group, key=lambda point: point[1]) for group in groups]
    kept[-1] = points[-1]
    return Curve(of, [round(seconds, 4) for seconds, _ in kept], [size for _, size in kept])


def read_curve(raw: Mapping[str, Any]) -> Curve | None:
    """Return a curve from what was stored of it, or None if it is none."""
    of, seconds, sizes = raw.get("of"), raw.get("seconds"), raw.get("bytes")
    if not isinstance(of, str) or not isinstance(seconds, list) or not isinstance(sizes, list):
        return None
    if len(seconds) != len(sizes) or not seconds or not all(map(_is_number, [*seconds, *sizes])):
        return None
    return Curve(of, seconds, sizes) if seconds == sorted(seconds) else None


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]
