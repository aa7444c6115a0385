"""``fastballoon bench migrate``: measure migrations against each other."""

from typing import Any

import click

from fastballoon_cli.cli.bench import options_of, run
from fastballoon_cli.cli.common import RATE, SIZE, Context, pass_context
from fastballoon_cli.ops.bench.plan import MIGRATE_STATES

__all__ = ["bench_migrate"]


@click.command("migrate")
@options_of("migrate")
@click.option(
    "--guest-state",
    type=click.Choice(MIGRATE_STATES),
    default="touched",
    show_default=True,
    help="idle: as booted. touched: five eighths of the memory were written to and freed. fragmented: one page in 64 "
    "of them was kept. cached: they are clean page cache. churning: touched, and processes that work on memory, every "
    "page of which is checked.",
)
@click.option("--balloon", "balloon_bytes", type=SIZE, default=0, help="Inflate the balloon to so much before.")
@click.option("--bandwidth", type=RATE, default=0, metavar="RATE",
              help="Bytes per second at most, such as 256M or 1GiB/s.  [default: no limit]")  # fmt: skip
@pass_context
def bench_migrate(ctx: Context, /, **options: Any) -> None:
    """Measure how long a migration takes and how much it sends.

    A guest that is migrated needs its memory twice.

    \b
    Example:
      fastballoon bench migrate --variant stock --variant stock-hint --bandwidth 256M
    """
    run(ctx, "migrate", **options)
