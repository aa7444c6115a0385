"""``fastballoon drop-cache``."""

import time

import click

from fastballoon_cli.cli.common import Context, pass_context
from fastballoon_cli.cli.many import Task, carry_out
from fastballoon_cli.machine.session import hold
from fastballoon_cli.ops import drop_cache as cache
from fastballoon_cli.ops import dry_run as dry
from fastballoon_cli.progress import Progress
from fastballoon_cli.results.many import Done

__all__ = ["drop_cache"]


@click.command("drop-cache")
@click.option(
    "--mode",
    type=click.Choice(list(cache.MODES)),
    default="pagecache",
    show_default=True,
    help="pagecache: clean pages of files and disks. slab: dentries, inodes and other slab that can be reclaimed.",
)
@click.option("--dry-run", is_flag=True, help="Print what would be done, and do nothing.")
@pass_context
def drop_cache(ctx: Context, mode: str, dry_run: bool) -> None:
    """Have the guest drop its cache, the cheapest memory to get back.

    Asks the guest's kernel through the balloon device, which may refuse; where guest and QEMU have not agreed on that,
    an agent in the guest does it: fastballoon's, or QEMU's of a VM that was attached with --qga. What the guest has
    freed goes back to the host when the balloon takes it.

    \b
    Example:
      fastballoon drop-cache --mode all
      fastballoon --all drop-cache
    """

    def work(name: str, progress: Progress) -> Done:
        deadline = time.monotonic() + (ctx.timeout or cache.DEFAULT_SECONDS)
        # An agent that does not answer must leave some of the time for the guest's kernel.
        patience = (deadline - time.monotonic()) / 2
        with hold(ctx.find(name), progress, patience=patience, hurry=ctx.several) as session:
            return Done(cache.drop(session, mode, timeout=deadline - time.monotonic(), progress=progress))

    def plan(name: str) -> list[str]:
        return dry.drop_cache(ctx.find(name), mode)

    action = f"drop the cache ({mode})"
    task = Task(operation="drop-cache", action=action, title="Dropping the caches", work=work, plan=plan)
    carry_out(ctx, task, dry_run=dry_run)
