"""click's type of a parameter, generic for whichever click there is."""

from typing import TYPE_CHECKING, Any

import click

__all__ = ["ParamType"]

if TYPE_CHECKING:
    from click import ParamType
else:

    class ParamType(click.ParamType):
        """As click has it; that of Debian 13, 8.1, does not take the type that it makes of a word."""

        def __class_getitem__(cls, made: Any) -> type:
            """Return this class."""
            return cls
