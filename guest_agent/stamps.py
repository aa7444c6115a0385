"""Stamp pages so that each can be told from every other one, and from itself as it was before."""

import mmap
from array import array

__all__ = ["CHUNK", "check", "write"]

#: Bytes that are stamped or checked at once.
CHUNK = 1 << 20
_WORDS = mmap.PAGESIZE // 8
#: A stamp: who wrote the page, for the how manieth time, and which page of the area it is.
_OWNER_SHIFT, _GENERATION_SHIFT = 56, 28


def write(area: memoryview, *, owner: int, generation: int, first: int = 0) -> None:
    """Stamp all pages of an area, in its first and in its last word.

    :param owner: 1 to 127.
    :param generation: of the area's content, 1 and up.
    :param first: number of its first page; no two areas of an owner and generation share one.
    """
    stamps = _stamps(area, owner, generation, first)
    with memoryview(area).cast("Q") as words:
        words[0::_WORDS] = stamps
        words[_WORDS - 1 :: _WORDS] = stamps


def check(area: memoryview, *, owner: int, generation: int, first: int = 0) -> int:
    """Return how many pages of an area do not have the stamps that :func:`write` has put there."""
    stamps = _stamps(area, owner, generation, first)
    with memoryview(area).cast("Q") as words:
        heads, tails = words[0::_WORDS], words[_WORDS - 1 :: _WORDS]
        with heads, tails:
            # Compared as bytes first, at memcmp's speed: that they are all right is the rule.
            if heads.tobytes() == tails.tobytes() == stamps.tobytes():
                return 0
            return sum(not head == tail == stamp for head, tail, stamp in zip(heads, tails, stamps, strict=True))


def _stamps(area: memoryview, owner: int, generation: int, first: int) -> memoryview:
    base = owner << _OWNER_SHIFT | generation << _GENERATION_SHIFT | first
    return memoryview(array("Q", range(base, base + len(area) // mmap.PAGESIZE)))
