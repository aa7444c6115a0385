"""Foreign text as text: what a file says is never taken for more than words."""

import unicodedata

__all__ = ["fit", "one_line", "width"]


def one_line(text: str) -> str:
    """Return text as one line in which nothing acts on a terminal, a document or the direction of writing.

    Line breaks become blanks; other characters that cannot be printed become U+FFFD: control characters, of which
    escape sequences are made and which are no XML, directional marks, halves of surrogate pairs.
    """
    return "".join(map(_shown, text))


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
    if character.isprintable():
        return character
    return " " if character.isspace() else "\N{REPLACEMENT CHARACTER}"
