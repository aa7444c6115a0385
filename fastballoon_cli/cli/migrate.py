"""``fastballoon migrate``."""

import click

from fastballoon_cli.cli.common import DURATION, RATE, Context, pass_context, qmp_line, start_default_vm
from fastballoon_cli.errors import UsageError
from fastballoon_cli.host import free_pages, vms
from fastballoon_cli.ops import cache
from fastballoon_cli.ops import migrate as ops
from fastballoon_cli.ops.session import hold
from fastballoon_cli.ops.vm import free_port
from fastballoon_cli.process import paste
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
        _dry_run(ctx, options, drop_cache=drop_cache)
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


def _dry_run(ctx: Context, options: ops.Options, *, drop_cache: bool) -> None:
    record = vms.load(ctx.vm)
    if record and record.alive:
        successor = record.spec.successor(free_port())
        source, destination, meeting = record.spec.qmp_socket, successor.qmp_socket, successor.migration_socket
        commands = [paste(successor.argv())]
    else:
        folder = vms.vm_dir(ctx.vm)
        source, destination, meeting = folder / "0/qmp.sock", folder / "1/qmp.sock", folder / "1/migration.sock"
        commands = [f"fastballoon vm start --name {ctx.vm}"]
    knows_of_free_pages = record is None or record.qemu != "stock"
    if drop_cache:
        commands.append(qmp_line(source, "x-balloon-drop-cache", mode="pagecache"))
    limits = {"max-bandwidth": options.bandwidth, "downtime-limit": round(options.downtime_s * 1000)}
    if knows_of_free_pages:
        states = [{"capability": free_pages.CAPABILITY, "state": options.skip_free}]
        commands.append(qmp_line(source, "migrate-set-capabilities", capabilities=states))
    commands += [
        qmp_line(source, "migrate-set-parameters", **limits),
        qmp_line(destination, "migrate-incoming", uri=f"unix:{meeting}"),
        qmp_line(source, "migrate", uri=f"unix:{meeting}"),
    ]
    ctx.output.emit({"schema_version": 1, "dry_run": True, "action": "migrate", "commands": commands}, *commands)
