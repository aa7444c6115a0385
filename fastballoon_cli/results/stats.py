"""What samples say: medians, and how sure a ratio of two of them is."""

import random
from collections.abc import Sequence
from functools import lru_cache
from statistics import median

__all__ = ["median", "ratio_interval"]

_RESAMPLES = 5000
_SEED = 1


def ratio_interval(
    numerator: Sequence[float], denominator: Sequence[float], *, confidence: float = 0.95
) -> tuple[float, float]:
    """Return the interval that the ratio of two medians lies in, with the given confidence.

    The percentile bootstrap (Efron, Tibshirani: An Introduction to the Bootstrap, 1993, chapter 13): both sets of
    samples are drawn again with replacement, many times. The same samples always give the same interval. With five
    samples a side it is a rough one, and it can never reach beyond the samples' own extremes.

    :raise ValueError: a side has no samples, or a denominator is not positive.
    """
    if not numerator or not denominator or min(denominator) <= 0:
        raise ValueError("both sides need samples, and the denominator positive ones")
    return _resampled(tuple(numerator), tuple(denominator), confidence)


# A report says the same ratio in several places, and each takes 20 ms.
@lru_cache(maxsize=1024)
def _resampled(numerator: tuple[float, ...], denominator: tuple[float, ...], confidence: float) -> tuple[float, float]:
    chance = random.Random(_SEED)
    ratios = sorted(
        median(chance.choices(numerator, k=len(numerator))) / median(chance.choices(denominator, k=len(denominator)))
        for _ in range(_RESAMPLES)
    )
    tail = round((1 - confidence) / 2 * (_RESAMPLES - 1))
    return ratios[tail], ratios[-1 - tail]
