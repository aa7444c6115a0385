"""Sizes and times as people write and read them."""

import re

from fastballoon_cli.errors import UsageError

__all__ = [
    "GIB",
    "KIB",
    "MIB",
    "PAGE_BYTES",
    "format_duration",
    "format_size",
    "parse_duration",
    "parse_rate",
    "parse_size",
]

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30
#: The balloon counts in units of 4 KiB whatever the guest's page size is (virtio 1.3, 5.5.6).
PAGE_BYTES = 4 * KIB

_SUFFIXES: dict[str, int] = {"": 1, "K": KIB, "M": MIB, "G": GIB, "T": 1 << 40}
_SIZE = re.compile(r"(?P<sign>-?)(?P<number>\d+(?:\.\d+)?)\s*(?P<suffix>[KMGT]?)(?:i?B)?", re.IGNORECASE)

_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0}
_DURATION = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>us|ms|s|min|)")


def parse_size(text: str) -> int:
    """Return the bytes that ``text`` stands for: ``3G`` and ``3GiB`` are 3 * 2**30, a bare number is bytes.

    :raise UsageError: when it is no size, is negative, or is no whole number of bytes.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"'{text}' is not a size", hint="write a number with K, M, G or T, such as 512M or 3G")
    if match["sign"]:
        raise UsageError(f"'{text}' is negative", hint="a size is 0 or more, such as 512M or 3G")
    whole, _, fraction = match["number"].partition(".")
    unit = _SUFFIXES[match["suffix"].upper()]
    scale: int = 10 ** len(fraction)
    scaled, rest = divmod(int(whole + fraction) * unit, scale)
    if rest:
        raise UsageError(f"'{text}' is not a whole number of bytes", hint="use a smaller unit")
    return scaled


def parse_rate(text: str) -> int:
    """Return the bytes per second that ``text`` stands for: a size, with or without ``/s``.

    :raise UsageError: when it is none.
    """
    return parse_size(re.sub(r"(?:/s|ps)$", "", text.strip()))


def parse_duration(text: str) -> float:
    """Return the seconds that ``text`` stands for: ``300ms``, ``2s``, ``1.5min``; a bare number is seconds.

    :raise UsageError: when it is no duration, or is negative.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"'{text}' is not a duration", hint="write a number with ms, s or min, such as 300ms or 2s")
    return float(match["number"]) * _SECONDS[match["unit"] or "s"]


def format_size(size: int) -> str:
    """Return ``size`` in the largest binary unit that leaves at least 1, with two decimals where they say something."""
    sign, size = ("-", -size) if size < 0 else ("", size)
    for suffix, unit in (("TiB", 1 << 40), ("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        if size >= unit:
            return f"{sign}{size / unit:.2f}".removesuffix(".00") + f" {suffix}"
    return f"{sign}{size} B"


def format_duration(seconds: float) -> str:
    """Return ``seconds`` as a person would say it: ``14.2 ms``, ``2.10 s``, ``3 min 05 s``."""
    if seconds < 1:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 60:
        return f"{seconds:.2f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"
