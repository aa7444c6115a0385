"""``fastballoon reclaim``."""

import time

import click

from fastballoon_cli.cli.common import SIZE, Context, pass_context
from fastballoon_cli.cli.many import Task, carry_out
from fastballoon_cli.machine.session import hold
from fastballoon_cli.ops import dry_run as dry
from fastballoon_cli.ops import reclaim as reclaiming
from fastballoon_cli.ops.drop_cache import DEFAULT_SECONDS
from fastballoon_cli.progress import Progress
from fastballoon_cli.results.many import Done

__all__ = ["reclaim"]


@click.command()
@click.argument("size", type=SIZE)
@click.option("--anonymous", is_flag=True, help="Memory of processes as well, as far as the guest has swap for it.")
@click.option("--dry-run", is_flag=True, help="Print what would be done, and do nothing.")
@pass_context
def reclaim(ctx: Context, size: int, anonymous: bool, dry_run: bool) -> None:
    """Have the guest free SIZE of memory, what it has not used for the longest time first.

    Its caches, unless --anonymous; what it uses stays. The guest's kernel is asked through the balloon device, and may
    refuse. What the guest has freed goes back to the host when the balloon takes it.

    \b
    Example:
      fastballoon reclaim 2G
      fastballoon --all reclaim 512M
    """
    reclaiming.check(size)

    def work(name: str, progress: Progress) -> Done:
        deadline = time.monotonic() + (ctx.timeout or DEFAULT_SECONDS)
        # An agent that does not answer must leave some of the time for the guest's kernel.
        patience = (deadline - time.monotonic()) / 2
        with hold(ctx.find(name), progress, patience=patience, hurry=ctx.several) as session:
            timeout = deadline - time.monotonic()
            return Done(reclaiming.reclaim(session, size, anonymous=anonymous, timeout=timeout, progress=progress))

    def plan(name: str) -> list[str]:
        return dry.reclaim(ctx.find(name), size, anonymous=anonymous)

    action, title = f"reclaim {size} bytes", "Reclaiming memory"
    carry_out(ctx, Task(operation="reclaim", action=action, title=title, work=work, plan=plan), dry_run=dry_run)
