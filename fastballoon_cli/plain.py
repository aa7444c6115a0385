"""Foreign text as text: what a file or a guest says is never taken for more than words."""

import unicodedata

__all__ = ["fit", "one_line", "printable", "width"]


def printable(text: str) -> str:
    """Return text in which nothing acts on a terminal, a document or the direction of writing.

    What cannot be printed becomes U+FFFD: control characters, of which escape sequences are made and which are no XML,
    directional marks, halves of surrogate pairs. Lines stay lines, and tabs stay tabs.
    """
    return "".join(one if one.isprintable() or one in "\n\t" else _shown(one) for one in text)


def one_line(text: str) -> str:
    """Return text as :func:`printable` does, on one line."""
    return "".join(one if one.isprintable() else _shown(one) for one in text)


def fit(text: str, columns: int) -> str:
    """Return text as one line of at most so many columns."""
    text = one_line(text)
    if width(text) <= columns:
        return text
    while width(text) >= columns:
        text = text[:-1]
    return f"{text}\N{HORIZONTAL ELLIPSIS}"


def width(text: str) -> int:
    """Return about how many columns a text takes."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def _shown(character: str) -> str:
    return " " if character.isspace() else "\N{REPLACEMENT CHARACTER}"
