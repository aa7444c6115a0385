"""``fastballoon bench ...``: measure variants against each other."""

import os
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import click

from fastballoon_cli.cli.common import SIZE, Context, pass_context
from fastballoon_cli.cli.lazy import LazyGroup
from fastballoon_cli.errors import InterruptedByUser
from fastballoon_cli.machine.spec import DEFAULT_MEMORY_BYTES
from fastballoon_cli.ops.bench import run as running
from fastballoon_cli.ops.bench.plan import GUEST_STATES, Bench
from fastballoon_cli.ops.bench.variants import CHOICES, DEFAULTS
from fastballoon_cli.results.files import ResultFile, save
from fastballoon_cli.results.page.terminal import terminal
from fastballoon_cli.results.report.report import report

__all__ = ["bench", "options_of", "run", "warn_if_busy"]


#: Runnable processes for each CPU, over the last minute.
_BUSY = 0.5

_ELSEWHERE = {
    "all": "fastballoon_cli.cli.bench_all:bench_all",
    "migrate": "fastballoon_cli.cli.bench_migrate:bench_migrate",
}


@click.group(cls=LazyGroup, lazy=_ELSEWHERE)
def bench() -> None:
    """Measure variants of the balloon, or of migrations, against each other.

    Every sample is taken on a guest that was booted for it, the variants in turn. Ctrl-C ends a bench early and keeps
    what was measured.

    \b
    Variants:
      fast             both series, page bitmaps
      stock            unmodified kernel and QEMU, page numbers
      fast-pfn         the fast build with the feature off: page numbers, with the times of each phase
      stock-hint       stock with free-page-hint=on, migrations only
      stock-reporting  stock with free-page-reporting=on
      virtio-mem       stock, the same bytes unplugged and plugged
      stock-drop       stock, the cache dropped first by the agent in the guest
      fast-drop        fast, the cache dropped first through the balloon device
      fast-reclaim     fast, four fifths of the cache reclaimed first, the coldest of it
      debian13         that distribution's kernel with our module, our QEMU; also debian12, debian13-backports
      debian13-stock   that kernel with its own driver, unmodified QEMU; also of the others
    """


_STATES = {
    "idle": "idle: as booted.",
    "touched": "touched: memory was filled and freed.",
    "warm": "warm: the same, and the balloon was inflated and deflated once before, as in a VM that runs for long.",
    "movable": "movable: touched, and all that the balloon takes is in ZONE_MOVABLE, as virtio-mem wants it.",
    "fragmented": "fragmented: one page in 64 of it was kept.",
    "cached": "cached: five eighths of the memory are clean page cache, in single pages as ext4 keeps it.",
    "cached-large": "cached-large: the same in large folios, as XFS keeps it.",
}


def options_of(scenario: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return the options that every scenario's command has."""
    options = [
        click.option(
            "--variant",
            "variants",
            multiple=True,
            type=click.Choice(CHOICES[scenario]),
            default=DEFAULTS[scenario],
            show_default=True,
            help="What to measure; can be given several times.",
        ),
        click.option("--init-on-alloc", type=click.Choice(["0", "1"]), default="0", show_default=True,
                     help="The guest kernel's init_on_alloc, a default of distributions."),
        click.option("--memory", type=SIZE, default=DEFAULT_MEMORY_BYTES, help="The guests' memory.  [default: 4G]"),
        click.option("--repeat", type=int, default=5, show_default=True, help="Samples of each variant."),
        click.option("--accel", type=click.Choice(["auto", "kvm", "tcg"]), default="auto", show_default=True,
                     help="auto takes KVM where a guest really boots on it."),
        click.option("--out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
                     help="Where to write the result.  [default: a dated file in this folder]"),
    ]  # fmt: skip
    if scenario != "migrate":
        target = click.option(
            "--target",
            type=SIZE,
            help="Size of the balloon.  [default: 3/4 of the memory; 5/8 of a fragmented guest's]",
        )
        options.insert(3, target)
    if scenario != "migrate":
        states = ("cached", "cached-large") if scenario == "drop-cache" else GUEST_STATES
        state = click.option(
            "--guest-state",
            type=click.Choice(states),
            default="cached" if scenario == "drop-cache" else "touched",
            show_default=True,
            help=" ".join(text for state, text in _STATES.items() if state in states),
        )
        options.insert(1, state)

    def add(command: Callable[..., None]) -> Callable[..., None]:
        for option in reversed(options):
            command = option(command)
        return command

    return add


@bench.command()
@options_of("inflate")
@pass_context
def inflate(ctx: Context, /, **options: Any) -> None:
    """Measure how long it takes until the host has the memory.

    \b
    Example:
      fastballoon bench inflate --variant fast --variant stock
    """
    run(ctx, "inflate", **options)


@bench.command()
@options_of("deflate")
@pass_context
def deflate(ctx: Context, /, **options: Any) -> None:
    """Measure how long it takes until the guest has its memory again, and how long to fill it all once more.

    \b
    Example:
      fastballoon bench deflate --variant fast --variant stock
    """
    run(ctx, "deflate", **options)


@bench.command("drop-cache")
@options_of("drop-cache")
@pass_context
def drop_cache(ctx: Context, /, **options: Any) -> None:
    """Measure whether it pays to drop a guest's cache before its balloon is inflated.

    Five eighths of the guest's memory are clean page cache. It is inflated with and without dropping that first;
    afterwards a reader wants a part of it again.

    \b
    Example:
      fastballoon bench drop-cache
    """
    run(ctx, "drop-cache", **options)


def run(
    ctx: Context,
    scenario: str,
    *,
    variants: tuple[str, ...],
    init_on_alloc: str,
    memory: int,
    out: Path | None,
    target: int | None = None,
    **rest: Any,
) -> None:
    """Run a bench and write its Result file; the options are those of :func:`options_of` and of the scenario."""
    plan = Bench(
        scenario=scenario,
        variants=variants,
        init_on_alloc=init_on_alloc == "1",
        memory_bytes=memory,
        target_bytes=target,
        **rest,
    )
    ctx.own()
    warn_if_busy(ctx)
    path = out or Path(f"bench-{scenario}-{plan.guest_state}-{datetime.now():%Y%m%d-%H%M%S}.json")
    # A folder that can't be written to is said now, not when everything has been measured.
    TemporaryFile(dir=path.parent).close()
    result = running.run(plan, ctx.output, lambda so_far: save(path, so_far.document()))
    document = result.document()
    save(path, document)
    ctx.output.emit(document, *terminal(report([ResultFile(path, "bench", result)]).sections))
    ctx.output.say(f"written to {path}")
    if result.interrupted:
        sys.exit(InterruptedByUser.exit_code)


def warn_if_busy(ctx: Context) -> None:
    """Say it when others keep the host busy: what is measured then is theirs as well."""
    load, cpus = os.getloadavg()[0], os.cpu_count() or 1
    if load > _BUSY * cpus:
        ctx.output.warn(f"the host is busy (load {load:.1f} on {cpus} CPUs): figures will be noisy")
