"""``fastballoon doctor``."""

import sys

import click
from rich import box
from rich.markup import escape
from rich.table import Table

from fastballoon_cli.cli.common import Context, pass_context
from fastballoon_cli.errors import PreconditionError
from fastballoon_cli.ops import doctor as host
from fastballoon_cli.ops import doctor_guest as guests
from fastballoon_cli.ops.findings import Check, Status, document

__all__ = ["doctor"]

_STYLES = {Status.OK: "green", Status.WARN: "yellow", Status.FAIL: "bold red"}


@click.command()
@click.option("--guest", is_flag=True, help="Look at the VM instead: what it lacks for page bitmaps.")
@pass_context
def doctor(ctx: Context, guest: bool) -> None:
    """Say what this machine, or a VM, can do, and how to mend what it can't.

    Looks at accelerator, memory, disk, transparent huge pages, packages, what has been built, QEMU, guest and SSH.
    Builds nothing. Exits with 3 if guests cannot be built or run here, or the guest has no driver for its balloon.

    \b
    Examples:
      fastballoon doctor
      fastballoon --connect qemu:///system --vm web doctor --guest
    """
    checks = guests.examine(ctx.which, ctx.output) if guest else host.examine(ctx.vm, ctx.output)
    found = document(checks, vm=ctx.vm) if guest else document(checks)
    ctx.output.emit(found, _table(checks))
    if not found["ok"]:
        sys.exit(PreconditionError.exit_code)


def _table(checks: list[Check]) -> Table:
    table = Table(box=box.SIMPLE, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    table.add_column(overflow="fold")
    for check in checks:
        table.add_row(check.name, f"[{_STYLES[check.status]}]{check.status}[/]", escape(check.found))
        if check.hint:
            table.add_row("", "", f"[dim]-> {escape(check.hint)}[/]")
    return table
