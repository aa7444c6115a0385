"""``fastballoon drop-cache``."""

import time

import click

from fastballoon_cli.cli.common import Context, emit_dry_run, pass_context
from fastballoon_cli.machine.session import hold
from fastballoon_cli.ops import drop_cache as cache
from fastballoon_cli.ops import dry_run as dry
from fastballoon_cli.results.page.terminal import terminal
from fastballoon_cli.results.report.single import single_section

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
    """
    if dry_run:
        emit_dry_run(ctx, f"drop the cache ({mode})", dry.drop_cache(ctx.which, mode))
        return
    deadline = time.monotonic() + (ctx.timeout or cache.DEFAULT_SECONDS)
    # An agent that does not answer must leave some of the time for the guest's kernel.
    with hold(ctx.which, ctx.output, patience=(deadline - time.monotonic()) / 2) as session:
        timeout = deadline - time.monotonic()
        result = cache.drop(session, mode, timeout=timeout, progress=ctx.output)
    ctx.output.emit(result.document(), *terminal([single_section(result)]))
