"""What the commands share: the context object and the parameter types."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from fastballoon_cli.cli.output import Output
from fastballoon_cli.cli.parameter import ParamType
from fastballoon_cli.errors import FastballoonError, UsageError
from fastballoon_cli.guest.login import Login
from fastballoon_cli.libvirt.connection import virsh
from fastballoon_cli.machine import domain, registry
from fastballoon_cli.machine.domain import Domain
from fastballoon_cli.results.model import SEVERAL
from fastballoon_cli.units import parse_duration, parse_rate, parse_size

__all__ = [
    "DEFAULT_URI",
    "DEFAULT_VM",
    "DURATION",
    "RATE",
    "SIZE",
    "Context",
    "complete_vm",
    "emit_dry_run",
    "one_at_a_time",
    "pass_context",
    "start_default_vm",
    "starts_default_vm",
]

_T = TypeVar("_T")

#: The VM that is meant where none is named.
DEFAULT_VM = "default"
#: What names libvirt's default connection (libvirt's own documentation, "Connection URIs").
DEFAULT_URI = "LIBVIRT_DEFAULT_URI"


@dataclass
class Context:
    """Global options, and where everything is written.

    :ivar vms: the VMs to work on, each once; one where none was named.
    :ivar every: all that run, instead of these.
    :ivar connect: which libvirt's domains ``vm`` is one of, as virsh takes it; None: it is none.
    :ivar login: how to log in to a domain's guest.
    :ivar timeout: seconds, or None for each command's own default.
    """

    vms: tuple[str, ...]
    every: bool
    connect: str | None
    login: Login | None
    timeout: float | None
    verbose: bool
    output: Output

    @property
    def several(self) -> bool:
        """Whether there may be several VMs to work on: then a result has a place for each, be it one."""
        return self.every or len(self.vms) > 1

    @property
    def vm(self) -> str:
        """The name of the VM to work on.

        :raise UsageError: there are several.
        """
        if self.several:
            raise one_at_a_time()
        return self.vms[0]

    @property
    def which(self) -> str | Domain:
        """The VM to work on, see :meth:`find`."""
        return self.find(self.vm)

    def find(self, name: str) -> str | Domain:
        """Return the VM of a name.

        libvirt's own variable counts where no VM of that name has a record here: VMs of the tool's own go on to work
        for a user who has set it.

        :raise PreconditionError: it is to be a domain, and none of that name runs.
        """
        uri = self.connect
        if uri is None and DEFAULT_URI in os.environ and name != DEFAULT_VM and not registry.exists(name):
            uri = ""
        return name if uri is None else domain.find(uri, name, self.login)

    def own(self, name: str | None = None) -> str:
        """Return the name of the VM for a command that is for those with a record here.

        :raise UsageError: it is to be a domain.
        """
        if self.connect is not None:
            raise UsageError(
                "this is for VMs that fastballoon has started or attached, and not for libvirt's domains",
                hint=f"use {virsh(self.connect)}, or leave --connect out",
            )
        return name or self.vm


def one_at_a_time() -> UsageError:
    """Return the error that a command works on one VM."""
    return UsageError(
        "this works on one VM at a time, and --vm or --all names several",
        hint=f"name one: --vm NAME; on several at once work: {', '.join(SEVERAL)}",
    )


pass_context = click.make_pass_decorator(Context)


class _Quantity(ParamType[_T]):
    def __init__(self, name: str, parse: Callable[[str], _T]) -> None:
        self.name, self._parse = name, parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> _T:  # noqa: ARG002
        option = f"{param.opts[0]}: " if param and param.opts else ""
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise UsageError(f"{option}{value!r} is no {self.name}")
        try:
            return self._parse(str(value))
        except UsageError as e:
            raise UsageError(f"{option}{e.message}", hint=e.hint) from e


#: A size such as ``3G``; becomes bytes.
SIZE = _Quantity("size", parse_size)
#: A rate such as ``256M`` or ``1GiB/s``; becomes bytes per second.
RATE = _Quantity("rate", parse_rate)
#: A time such as ``300ms`` or ``2s``; becomes seconds.
DURATION = _Quantity("duration", parse_duration)


def starts_default_vm(ctx: Context) -> bool:
    """Return whether a command that needs a VM starts it: the default one, if it does not run."""
    if ctx.several or ctx.vm != DEFAULT_VM or ctx.connect is not None:
        return False
    record = registry.load(ctx.vm)
    return record is None or not record.alive


def start_default_vm(ctx: Context) -> None:
    """Start the default VM for a command that needs one, unless the user has named another."""
    if not starts_default_vm(ctx):
        return
    ctx.output.say("No VM runs: starting the default one. It will be left running.")
    # Not for those commands that start none: it imports all that builds.
    from fastballoon_cli.ops import vm  # noqa: PLC0415

    vm.start(vm.Request(), ctx.output)


def emit_dry_run(ctx: Context, action: str, commands: list[str]) -> None:
    """Print what a command would do."""
    ctx.output.emit({"schema_version": 1, "dry_run": True, "action": action, "commands": commands}, *commands)


def complete_vm(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001
    """Return the names of running VMs that begin so, for a shell's completion."""
    try:
        return [name for name in registry.all_names() if name.startswith(incomplete) and registry.lives(name)]
    except FastballoonError:
        return []  # a shell that completes is no place for an error
