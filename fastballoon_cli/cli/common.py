"""What the commands share: the context object and the parameter types."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from fastballoon_cli.cli.output import Output
from fastballoon_cli.errors import UsageError
from fastballoon_cli.units import parse_size

__all__ = ["SIZE", "Context", "pass_context", "qmp_line"]


@dataclass
class Context:
    """Global options, and where everything is written.

    :ivar timeout: seconds, or None for each command's own default.
    """

    vm: str
    timeout: float | None
    verbose: bool
    output: Output


pass_context = click.make_pass_decorator(Context)


class _Size(click.ParamType[int]):
    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:  # noqa: ARG002
        if isinstance(value, int):
            return value
        try:
            return parse_size(value)
        except UsageError as e:
            option = f"{param.opts[0]}: " if param and param.opts else ""
            raise UsageError(f"{option}{e.message}", hint=e.hint) from e


#: A size such as ``3G``; becomes bytes.
SIZE = _Size()


def qmp_line(monitor: Path, command: str, **arguments: object) -> str:
    """Return what a dry run says of a command to QEMU's monitor."""
    return f"QMP {monitor}: {json.dumps({'execute': command, 'arguments': arguments})}"
