"""Text that goes into rich's markup, and so onto a terminal."""

from rich import markup

from fastballoon_cli.plain import printable

__all__ = ["escape"]


def escape(text: str) -> str:
    """Return text that is shown as it is: neither rich nor the terminal take any of it for more than words."""
    return markup.escape(printable(text))
