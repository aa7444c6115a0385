"""How much memory a guest had over time, as points of a line."""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["POINTS", "Curve", "thinned"]

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

    def __post_init__(self) -> None:
        if not self.seconds or len(self.seconds) != len(self.bytes) or list(self.seconds) != sorted(self.seconds):
            raise ValueError("it is no curve: as many bytes as ascending seconds, and some of both")


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
