"""``fastballoon inflate`` and ``fastballoon deflate``."""

import click

from fastballoon_cli.cli.common import SIZE, Context, pass_context, starts_default_vm
from fastballoon_cli.cli.many import Task, carry_out
from fastballoon_cli.machine.session import hold
from fastballoon_cli.ops import balloon
from fastballoon_cli.ops import drop_cache as cache
from fastballoon_cli.ops import dry_run as dry
from fastballoon_cli.progress import Progress
from fastballoon_cli.results.many import Done

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
      fastballoon --all inflate --target 3G
    """

    def work(name: str, progress: Progress) -> Done:
        with hold(ctx.find(name), progress, hurry=ctx.several) as session:
            timeout = ctx.timeout or cache.DEFAULT_SECONDS
            dropped = cache.drop(session, "pagecache", timeout=timeout, progress=progress) if drop_cache else None
            timeout = ctx.timeout or _TIMEOUT
            moved = balloon.inflate(session, target, method=method, floor=floor, timeout=timeout, progress=progress)
            return Done(moved, dropped)

    def plan(name: str) -> list[str]:
        starts = starts_default_vm(ctx)
        return dry.inflate(ctx.find(name), target, method=method, floor=floor, starts=starts, drop_first=drop_cache)

    action = f"inflate to {target} bytes"
    task = Task(operation="inflate", action=action, title="Inflating the balloons", work=work, plan=plan, starts=True)
    carry_out(ctx, task, dry_run=dry_run)


@click.command()
@click.option("--to", "target", type=SIZE, default=0, help="Size to leave the balloon at.  [default: empty it]")
@click.option("--dry-run", is_flag=True, help="Print what would be done, and do nothing.")
@pass_context
def deflate(ctx: Context, target: int, dry_run: bool) -> None:
    """Deflate the balloon, so that the guest has its memory again.

    \b
    Example:
      fastballoon deflate
      fastballoon --all deflate
    """

    def work(name: str, progress: Progress) -> Done:
        # The guest may be in need of memory, and slow to answer: its agent comes after that.
        with hold(ctx.find(name), progress, meet_agent=False, hurry=ctx.several) as session:
            return Done(balloon.deflate(session, target, timeout=ctx.timeout or _TIMEOUT, progress=progress))

    def plan(name: str) -> list[str]:
        return dry.deflate(ctx.find(name), target)

    action = f"deflate to {target} bytes"
    task = Task(operation="deflate", action=action, title="Deflating the balloons", work=work, plan=plan)
    carry_out(ctx, task, dry_run=dry_run)
