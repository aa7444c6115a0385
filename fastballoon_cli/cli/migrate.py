"""``fastballoon migrate``."""

import click

from fastballoon_cli.cli.common import (
    DURATION,
    RATE,
    Context,
    emit_dry_run,
    pass_context,
    start_default_vm,
    starts_default_vm,
)
from fastballoon_cli.errors import UsageError
from fastballoon_cli.machine.session import hold
from fastballoon_cli.ops import cache
from fastballoon_cli.ops import dry_migrate as dry
from fastballoon_cli.ops import migrate as ops
from fastballoon_cli.results.page.terminal import terminal
from fastballoon_cli.results.report.single import single_section

__all__ = ["migrate"]


#: QEMU takes no more.
_MAX_DOWNTIME = 2000.0


@click.command()
@click.option("--skip-free", is_flag=True, help="Leave out what the guest tells to be free memory.")
@click.option("--drop-cache", is_flag=True, help="First have the guest drop its cache; see: fastballoon drop-cache.")
@click.option("--bandwidth", type=RATE, default=0, metavar="RATE",
              help="Bytes per second at most, such as 256M or 1GiB/s.  [default: no limit]")  # fmt: skip
@click.option("--downtime-limit", type=DURATION, default=0.3, metavar="T",
              help="How long the guest may be paused in the end.  [default: 300ms]")  # fmt: skip
@click.option("--verify", is_flag=True,
              help="Have the guest work on memory meanwhile and check every page of it.")  # fmt: skip
@click.option("--cancel-after", type=DURATION, metavar="T", help="Cancel it after so long, to see what that does.")
@click.option("--dry-run", is_flag=True, help="Print what would be done, and do nothing.")
@pass_context
def migrate(
    ctx: Context,
    *,
    skip_free: bool,
    drop_cache: bool,
    bandwidth: int,
    downtime_limit: float,
    verify: bool,
    cancel_after: float | None,
    dry_run: bool,
) -> None:
    """Migrate the VM to a second QEMU on this host while its guest runs.

    The VM's name, its SSH and its agent follow it. Whatever goes wrong, one QEMU is left and has the guest. Starts the
    default VM if it does not run.

    \b
    Example:
      fastballoon migrate
    """
    out = ctx.output
    if not 0.001 <= downtime_limit <= _MAX_DOWNTIME:
        raise UsageError(
            f"{downtime_limit:g} s cannot be a limit of the downtime", hint="use 1ms to 2000s; QEMU's default is 300ms"
        )
    options = ops.Options(
        skip_free=skip_free,
        bandwidth=bandwidth,
        downtime_s=downtime_limit,
        cancel_after_s=cancel_after,
        verify=verify,
    )
    if dry_run:
        commands = dry.migrate(ctx.vm, options, starts=starts_default_vm(ctx), drop_first=drop_cache)
        emit_dry_run(ctx, "migrate", commands)
        return
    start_default_vm(ctx)
    with hold(ctx.vm, out) as session:
        dropped = cache.drop(session, "pagecache", progress=out) if drop_cache else None
        result = ops.migrate(session, options, timeout=ctx.timeout or ops.DEFAULT_SECONDS, progress=out)
    if result.method == "free-page-hint":
        all_the_same = "" if skip_free else " all the same, without --skip-free"
        out.warn(f"the device was made with free-page-hint=on: what the guest hints is skipped by that{all_the_same}")
    if dropped is None:
        out.emit(result.document(), *terminal([single_section(result)]))
    else:
        both = {**result.document(), "drop_cache": dropped.document()}
        out.emit(both, *terminal([single_section(dropped), single_section(result)]))
