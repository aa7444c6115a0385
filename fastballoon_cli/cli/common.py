"""What the commands share: the context object and the parameter types."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from fastballoon_cli.cli.output import Output
from fastballoon_cli.errors import FastballoonError, UsageError
from fastballoon_cli.host import vms
from fastballoon_cli.units import parse_size

__all__ = ["SIZE", "Context", "complete_vm", "pass_context", "qmp_line"]


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


def complete_vm(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001
    """Return the names of running VMs that begin so, for a shell's completion."""
    try:
        alive = [name for name in vms.all_names() if (record := vms.load(name)) and record.alive]
    except FastballoonError:
        return []  # a shell that completes is no place for an error
    return [name for name in alive if name.startswith(incomplete)]
