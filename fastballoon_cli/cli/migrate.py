"""``fastballoon migrate``."""

import re

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
from fastballoon_cli.libvirt.migration import Way
from fastballoon_cli.machine.domain import Domain
from fastballoon_cli.machine.session import hold, open_monitor
from fastballoon_cli.ops import drop_cache as cache
from fastballoon_cli.ops import dry_migrate as dry
from fastballoon_cli.ops import migrate as ops
from fastballoon_cli.ops import migrate_domain as domains
from fastballoon_cli.results.migration import MigrateResult
from fastballoon_cli.results.model import DropCacheResult
from fastballoon_cli.results.page.terminal import terminal
from fastballoon_cli.results.report.single import single_section

__all__ = ["migrate"]


#: QEMU takes no more.
_MAX_DOWNTIME = 2000.0
#: What libvirt takes for a QEMU's address; without a port, it chooses one.
_ADDRESS = re.compile(r"(tcp|rdma)://[^/\s]+|unix:///\S+")


@click.command()
@click.option("--skip-free", is_flag=True, help="Leave out what the guest tells to be free memory.")
@click.option("--drop-cache", is_flag=True, help="First have the guest drop its cache; see: fastballoon drop-cache.")
@click.option("--bandwidth", type=RATE, default=0, metavar="RATE",
              help="Bytes per second at most, such as 256M or 1GiB/s.  [default: no limit]")  # fmt: skip
@click.option("--downtime-limit", type=DURATION, default=0.3, metavar="T",
              help="How long the guest may be paused in the end.  [default: 300ms]")  # fmt: skip
@click.option("--verify", is_flag=True,
              help="Have the guest work on memory meanwhile and check every page of it.")  # fmt: skip
@click.option("--cancel-after", type=DURATION, metavar="T", help="Cancel the migration after T, as a test.")
@click.option("--to", metavar="URI", help="Where a domain of libvirt goes, as virsh names it: qemu+ssh://other/system.")
@click.option("--tls", is_flag=True,
              help="Encrypt a domain's memory, with the certificates that both hosts have for libvirt.")  # fmt: skip
@click.option("--parallel", type=click.IntRange(1, 255), metavar="N", help="Send a domain over N connections.")
@click.option("--direct", is_flag=True,
              help="Connect to both daemons from here, where a domain's own cannot log in at the other.")  # fmt: skip
@click.option("--migrate-uri", metavar="URI",
              help="Where to send a domain's memory, if the host's name does not resolve: tcp://10.0.0.2.")  # fmt: skip
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
    to: str | None,
    tls: bool,
    parallel: int | None,
    direct: bool,
    migrate_uri: str | None,
    dry_run: bool,
) -> None:
    """Migrate the VM to a second QEMU on this host while its guest runs, or a domain of libvirt to another host.

    The VM's name, its SSH and its agent follow it. Whatever goes wrong, one QEMU is left and has the guest. Starts the
    default VM if it does not run. A domain needs --connect and --to.

    \b
    Example:
      fastballoon migrate
      fastballoon --connect qemu:///system --vm web migrate --to qemu+ssh://other/system
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
    which = ctx.which
    if isinstance(which, Domain):
        way = Way(
            bandwidth=bandwidth,
            downtime_s=downtime_limit,
            parallel=parallel or 0,
            tls=tls,
            direct=direct,
            address=_address(migrate_uri),
        )
        _to_another_host(ctx, which, to, options, way, drop_cache=drop_cache, dry_run=dry_run)
        return
    if to or tls or parallel or direct or migrate_uri:
        raise UsageError(
            "--to, --tls, --parallel, --direct and --migrate-uri are for domains of libvirt",
            hint="say which libvirt: --connect URI",
        )
    if dry_run:
        commands = dry.migrate(which, options, starts=starts_default_vm(ctx), drop_first=drop_cache)
        emit_dry_run(ctx, "migrate", commands)
        return
    start_default_vm(ctx)
    with hold(which, out) as session:
        dropped = cache.drop(session, "pagecache", progress=out) if drop_cache else None
        result = ops.migrate(session, options, timeout=ctx.timeout or ops.DEFAULT_SECONDS, progress=out)
    if result.method == "free-page-hint":
        all_the_same = "" if skip_free else " all the same, without --skip-free"
        out.warn(f"the device was made with free-page-hint=on: what the guest hints is skipped by that{all_the_same}")
    _emit(ctx, result, dropped)


def _address(uri: str | None) -> str | None:
    """Check where memory is to be sent."""
    if uri is None or _ADDRESS.fullmatch(uri):
        return uri
    raise UsageError(
        f"'{uri}' is no place to send memory to", hint="name one as virsh's --migrateuri does, such as tcp://10.0.0.2"
    )


def _to_another_host(
    ctx: Context, machine: Domain, to: str | None, options: ops.Options, way: Way, *, drop_cache: bool, dry_run: bool
) -> None:
    if not to:
        raise UsageError(
            "a domain of libvirt is migrated to another host", hint="say which: --to qemu+ssh://other/system"
        )
    if options.verify and machine.login is None:
        raise UsageError(
            "to verify a domain's memory takes an agent in its guest", hint="say how to log in: --ssh and --identity"
        )
    if dry_run:
        with open_monitor(machine, looking=True) as monitor:
            emit_dry_run(ctx, "migrate", domains.plan(monitor, machine, to, options, way))
        return
    timeout = ctx.timeout or ops.DEFAULT_SECONDS
    with hold(machine, ctx.output) as session:
        dropped = cache.drop(session, "pagecache", progress=ctx.output) if drop_cache else None
        result = domains.migrate(session, machine, to, options, way, timeout=timeout, progress=ctx.output)
    _emit(ctx, result, dropped)


def _emit(ctx: Context, result: MigrateResult, dropped: DropCacheResult | None) -> None:
    sections = [single_section(dropped)] if dropped else []
    document = result.document() | ({"drop_cache": dropped.document()} if dropped else {})
    ctx.output.emit(document, *terminal([*sections, single_section(result)]))
