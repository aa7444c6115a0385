"""Commands whose modules are imported when they are asked for.

All of them take most of a second to import, of which a single command, or a shell that completes one, needs a part.
"""

from importlib import import_module
from typing import Any

import click

from fastballoon_cli.errors import UsageError

__all__ = ["LazyGroup"]


class LazyGroup(click.Group):
    """A group that knows where commands are; see "Lazily Loading Subcommands" in Click's documentation.

    :param lazy: command -> module and name in it, such as ``fastballoon_cli.cli.vm:vm``.
    """

    def __init__(self, *args: Any, lazy: dict[str, str] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lazy = lazy or {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, in their order."""
        return sorted({*super().list_commands(ctx), *self._lazy})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, imported if need be; None if there is none of that name.

        :raise UsageError: the configuration has something else than a table of options for it.
        """
        configured = (ctx.default_map or {}).get(cmd_name, {})
        if not isinstance(configured, dict):
            raise UsageError(
                f"the configuration's '{cmd_name}' is no table",
                hint=f"options of a command are written below a line [{cmd_name}], see: fastballoon --help",
            )
        if cmd_name not in self._lazy:
            return super().get_command(ctx, cmd_name)
        module, _, name = self._lazy[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command
