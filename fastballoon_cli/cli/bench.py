"""``fastballoon bench ...``: measure variants against each other."""

import json
import os
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from fastballoon_cli.cli.common import SIZE, Context, pass_context
from fastballoon_cli.errors import InterruptedByUser
from fastballoon_cli.ops import bench as ops
from fastballoon_cli.results.bench import BenchResult
from fastballoon_cli.results.render_bench import bench_tables
from fastballoon_cli.units import GIB

__all__ = ["bench"]


@click.group()
def bench() -> None:
    """Measure variants of the balloon against each other.

    Every sample is taken on a guest that was booted for it, the variants in turn. Ctrl-C ends a bench early and keeps
    what was measured.

    \b
    Variants:
      fast             both series, page bitmaps
      stock            unmodified kernel and QEMU, page numbers
      fast-pfn         the fast build with the feature off: page numbers, with the times of each phase
      stock-reporting  stock with free-page-reporting=on
      virtio-mem       stock, the same bytes unplugged and plugged
    """


def _options(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed((
        click.option(
            "--variant",
            "variants",
            multiple=True,
            type=click.Choice(list(ops.VARIANTS)),
            default=ops.DEFAULT_VARIANTS,
            show_default=True,
            help="What to measure; can be given several times.",
        ),
        click.option(
            "--guest-state",
            type=click.Choice(ops.GUEST_STATES),
            default="touched",
            show_default=True,
            help="idle: as booted. touched: memory was filled and freed. fragmented: one page in 64 of it was kept. "
            "cached: five eighths of the memory are clean page cache.",
        ),
        click.option("--init-on-alloc", type=click.Choice(["0", "1"]), default="0", show_default=True,
                     help="The guest kernel's init_on_alloc, a default of distributions."),
        click.option("--memory", type=SIZE, default=4 * GIB, help="The guests' memory.  [default: 4G]"),
        click.option("--target", type=SIZE,
                     help="Size of the balloon.  [default: 3/4 of the memory; 5/8 of a fragmented guest's]"),
        click.option("--repeat", type=int, default=5, show_default=True, help="Samples of each variant."),
        click.option("--accel", type=click.Choice(["auto", "kvm", "tcg"]), default="auto", show_default=True,
                     help="auto takes KVM where a guest really boots on it."),
        click.option("--out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
                     help="Where to write the result.  [default: a dated file in this folder]"),
    )):  # fmt: skip
        command = option(command)
    return command


@bench.command()
@_options
@pass_context
def inflate(ctx: Context, /, **options: Any) -> None:
    """Measure how long it takes until the host has the memory.

    \b
    Example:
      fastballoon bench inflate --variant fast --variant stock
    """
    _run(ctx, "inflate", **options)


@bench.command()
@_options
@pass_context
def deflate(ctx: Context, /, **options: Any) -> None:
    """Measure how long it takes until the guest has its memory again, and how long to fill it all once more.

    \b
    Example:
      fastballoon bench deflate --variant fast --variant stock
    """
    _run(ctx, "deflate", **options)


def _run(
    ctx: Context,
    scenario: str,
    *,
    variants: tuple[str, ...],
    init_on_alloc: str,
    memory: int,
    target: int | None,
    out: Path | None,
    **rest: Any,
) -> None:
    plan = ops.Bench(
        scenario=scenario,
        variants=tuple(dict.fromkeys(variants)),
        init_on_alloc=init_on_alloc == "1",
        memory_bytes=memory,
        target_bytes=target,
        **rest,
    )
    path = out or Path(f"bench-{scenario}-{plan.guest_state}-{datetime.now():%Y%m%d-%H%M%S}.json")
    # A folder that can't be written to is said now, not when everything has been measured.
    path.touch()
    try:
        result = ops.run(plan, ctx.output)
    except BaseException:
        if not path.stat().st_size:
            path.unlink()
        raise
    _write(path, result)
    ctx.output.emit(result.document(), *bench_tables(result))
    ctx.output.say(f"written to {path}")
    if result.interrupted:
        sys.exit(InterruptedByUser.exit_code)


def _write(path: Path, result: BenchResult) -> None:
    """Write aside and rename, so that there is never half a result."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(json.dumps(result.document(), indent=1) + "\n")
    aside.rename(path)
