"""The examples that the help texts give, and what each one needs."""

import inspect
import re
import shlex
from collections.abc import Iterator

import click

from fastballoon_cli.cli import root

#: Examples by what must be there: a VM that runs (a test in tests/guest pastes those), one that something else has
#: started, or guests and minutes.
NEED_A_VM = frozenset({
    "inflate", "deflate", "drop-cache", "reclaim", "migrate", "vm stop", "vm status", "vm touch", "vm ssh",
    "vm console",
})  # fmt: skip
NEED_A_FOREIGN_VM = frozenset({"vm attach", "vm detach", "vm xml"})
NEED_BUILDS_AND_TIME = frozenset({
    "build", "vm start", "bench inflate", "bench deflate", "bench drop-cache", "bench migrate", "bench all",
})  # fmt: skip


def commands(command: click.Command = root, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Yield every command that is no group, and its name."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            if inner := command.get_command(context, name):
                yield from commands(inner, (*path, name))
    else:
        yield " ".join(path), command


def examples(command: click.Command) -> list[list[str]]:
    """Return the example lines of a command's help, cut into words without the program's name."""
    text = inspect.cleandoc(command.help or "")
    found = re.search(r"^Examples?:\n((?:  fastballoon.*(?:\n|$))+)", text, re.MULTILINE)
    return [shlex.split(line)[1:] for line in found[1].splitlines()] if found else []


def is_of_a_domain(line: list[str]) -> bool:
    """Say whether an example needs a domain of libvirt, which no test here has."""
    return "--connect" in line
