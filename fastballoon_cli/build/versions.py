"""Debian version numbers: their order, the upstream part in them, and ranges of it."""

import re

from fastballoon_cli.errors import BuildError

__all__ = ["debian_key", "in_range", "upstream_version"]

_CLAUSE = re.compile(r"(?P<operator>>=|<=|<|>|==)\s*(?P<version>\d+(?:\.\d+)*)")
#: Sorts behind every character, so that an ended part sorts before all but a tilde.
_END = 1


def _character_order(character: str) -> int:
    if character == "~":
        return 0
    return ord(character) + 1 if character.isalpha() else ord(character) + 256


def _part_key(part: str) -> list[tuple[tuple[int, ...], int]]:
    """Return a sortable form of one part: pairs of non-digits and a number, as Debian policy 5.6.12 compares them."""
    pairs = re.findall(r"(\D*)(\d*)", part)
    return [((*map(_character_order, text), _END), int(digits or 0)) for text, digits in pairs if text or digits] + [
        ((_END,), 0)
    ]


def debian_key(version: str) -> tuple[int, list[tuple[tuple[int, ...], int]], list[tuple[tuple[int, ...], int]]]:
    """Return a key that sorts ``[epoch:]upstream[-revision]`` as dpkg does."""
    epoch, colon, rest = version.partition(":")
    if not colon:
        epoch, rest = "0", version
    upstream, _, revision = rest.rpartition("-") if "-" in rest else (rest, "", "0")
    return int(epoch), _part_key(upstream), _part_key(revision)


def upstream_version(version: str) -> str:
    """Return upstream's number in a Debian version: ``1:10.0.13+ds-0+deb13u1`` is ``10.0.13``.

    :raise BuildError: when it holds no number.
    """
    match = re.match(r"(?:\d+:)?(\d+(?:\.\d+)*)", version)
    if match is None:
        raise BuildError(f"'{version}' is not a version")
    return match[1]


def _numbers(version: str) -> tuple[int, ...]:
    numbers = [int(n) for n in version.split(".")]
    while len(numbers) > 1 and not numbers[-1]:  # 10.1 and 10.1.0 are the same
        numbers.pop()
    return tuple(numbers)


def in_range(version: str, wanted: str) -> bool:
    """Say whether the upstream part of ``version`` fits ``wanted``, such as ``>=6.12.48,<6.13``.

    :raise BuildError: when ``wanted`` is not a list of comparisons.
    """
    have = _numbers(upstream_version(version))
    for clause in filter(None, (c.strip() for c in wanted.split(","))):
        match = _CLAUSE.fullmatch(clause)
        if match is None:
            raise BuildError(f"'{clause}' is not a version comparison such as >=6.12.48")
        limit = _numbers(match["version"])
        held = {
            ">=": have >= limit,
            "<=": have <= limit,
            ">": have > limit,
            "<": have < limit,
            "==": have == limit,
        }
        if not held[match["operator"]]:
            return False
    return True
