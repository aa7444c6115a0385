"""``fastballoon inflate`` and ``fastballoon deflate``."""

import click

from fastballoon_cli.cli.common import (
    SIZE,
    Context,
    emit_dry_run,
    pass_context,
    start_default_vm,
    starts_default_vm,
)
from fastballoon_cli.machine.session import hold
from fastballoon_cli.ops import balloon
from fastballoon_cli.ops import drop_cache as cache
from fastballoon_cli.ops import dry_run as dry
from fastballoon_cli.results.page.terminal import terminal
from fastballoon_cli.results.report.single import single_section

__all__ = ["deflate", "inflate"]

_TIMEOUT = 120.0


@click.command()
@click.option("--target", type=SIZE, required=True, help="Size of the balloon: 3G of a 4 GiB guest leaves it 1 GiB.")
@click.option(
    "--method",
    type=click.Choice(balloon.METHODS),
    default="auto",
    show_default=True,
    help="auto takes what guest and QEMU have agreed on; with any other one it is an error if they have not agreed on "
    "that.",
)
@click.option(
    "--floor",
    type=SIZE,
    help="Available memory that the guest keeps: the target is approached in steps, and given up when less would be "
    "left; 0 for no such check.  [default: 128M, or an eighth of the memory if that is less, for a domain or an "
    "attached VM whose guest has not fastballoon's driver; that driver keeps a floor of its own]",
)
@click.option("--drop-cache", is_flag=True, help="First have the guest drop its cache; see: fastballoon drop-cache.")
@click.option("--dry-run", is_flag=True, help="Print what would be done, and do nothing.")
@pass_context
def inflate(ctx: Context, target: int, method: str, floor: int | None, drop_cache: bool, dry_run: bool) -> None:
    """Inflate the balloon, so that the guest's memory goes back to the host.

    Starts the default VM if it does not run. With --drop-cache, a guest that does not drop its cache keeps its
    balloon as it is.

    \b
    Example:
      fastballoon inflate --target 3G
    """
    out = ctx.output
    if dry_run:
        starts = starts_default_vm(ctx)
        commands = dry.inflate(ctx.which, target, method=method, floor=floor, starts=starts, drop_first=drop_cache)
        emit_dry_run(ctx, f"inflate to {target} bytes", commands)
        return
    start_default_vm(ctx)
    with hold(ctx.which, out) as session:
        timeout = ctx.timeout or cache.DEFAULT_SECONDS
        dropped = cache.drop(session, "pagecache", timeout=timeout, progress=out) if drop_cache else None
        result = balloon.inflate(
            session, target, method=method, floor=floor, timeout=ctx.timeout or _TIMEOUT, progress=out
        )
    for remark in result.remarks:
        out.warn(remark)
    if dropped is None:
        out.emit(result.document(), *terminal([single_section(result)]))
    else:
        both = {**result.document(), "drop_cache": dropped.document()}
        out.emit(both, *terminal([single_section(dropped), single_section(result)]))


@click.command()
@click.option("--to", "target", type=SIZE, default=0, help="Size to leave the balloon at.  [default: empty it]")
@click.option("--dry-run", is_flag=True, help="Print what would be done, and do nothing.")
@pass_context
def deflate(ctx: Context, target: int, dry_run: bool) -> None:
    """Deflate the balloon, so that the guest has its memory again.

    \b
    Example:
      fastballoon deflate
    """
    out = ctx.output
    if dry_run:
        emit_dry_run(ctx, f"deflate to {target} bytes", dry.deflate(ctx.which, target))
        return
    # The guest may be in need of memory, and slow to answer: its agent comes after that.
    with hold(ctx.which, out, meet_agent=False) as session:
        result = balloon.deflate(session, target, timeout=ctx.timeout or _TIMEOUT, progress=out)
    out.emit(result.document(), *terminal([single_section(result)]))
