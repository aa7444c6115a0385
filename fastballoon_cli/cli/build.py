"""``fastballoon build``: what a guest needs, fetched, patched and built."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.table import Table

from fastballoon_cli import build as builds
from fastballoon_cli.build import Plan, Variant
from fastballoon_cli.cli.common import Context, pass_context
from fastballoon_cli.units import format_duration

__all__ = ["build"]

_PRODUCTS = ("kernel", "qemu", "image")


@click.command()
@click.argument("product", type=click.Choice(_PRODUCTS), required=False)
@click.option("--variant", type=click.Choice([v.value for v in Variant]), default="fast", show_default=True,
              help="fast has our patch series, stock is the unmodified source. For the long proofs, on top of fast: "
                   "fast-debug is a kernel that checks itself; fast-sanitized, fast-fuzz and fast-hostile are QEMUs "
                   "with sanitizers, for fuzzing, and with a device that answers wrongly.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Print what would be run, and run nothing.")
@pass_context
def build(ctx: Context, /, product: str | None, variant: str, dry_run: bool) -> None:
    """Fetch, patch and build what a guest needs: PRODUCT, or all that there are of the variant.

    What was built before is found again; it can be interrupted at any time.

    \b
    Example:
      fastballoon build kernel --variant stock
    """
    chosen = Variant(variant)
    products = [product] if product else _products(chosen)
    if dry_run:
        _show_plans(ctx, [_plan(p, chosen) for p in products])
        return
    # All are planned before the first is built: then it is known which were there.
    cached = {p: _plan(p, chosen).cached for p in products}
    artifacts = []
    for p in products:
        begun = time.monotonic()
        directory = _make(p, chosen, ctx)
        seconds = time.monotonic() - begun
        artifacts.append({"product": p, "directory": str(directory), "cached": cached[p], "duration_s": seconds})
    document = {"schema_version": 1, "operation": "build", "variant": variant, "artifacts": artifacts}
    ctx.output.emit(document, _table(artifacts))


def _products(variant: Variant) -> list[str]:
    """Return what there is of a variant; the image is the same for all."""
    there = {"kernel": variant in builds.variants_of("kernel"), "qemu": variant in builds.variants_of("qemu")}
    return [product for product in _PRODUCTS if there.get(product, True)]


def _plan(product: str, variant: Variant) -> Plan:
    planners: dict[str, Callable[[], Plan]] = {
        "kernel": lambda: builds.plan_kernel(variant),
        "qemu": lambda: builds.plan_qemu(variant),
        "image": builds.plan_image,
    }
    return planners[product]()


def _make(product: str, variant: Variant, ctx: Context) -> Path:
    if product == "kernel":
        return builds.kernel(variant, ctx.output).dir
    return builds.qemu(variant, ctx.output).dir if product == "qemu" else builds.image(ctx.output).dir


def _show_plans(ctx: Context, plans: list[Plan]) -> None:
    listed = [{"artifact": p.artifact, "cached": p.cached, "commands": p.commands} for p in plans]
    document = {"schema_version": 1, "operation": "build", "dry_run": True, "artifacts": listed}
    lines = [line for p in plans for line in (f"# {p.artifact}: {p.directory or 'to be built'}", *p.commands)]
    ctx.output.emit(document, *(click.unstyle(line) for line in lines))


def _table(artifacts: list[dict[str, Any]]) -> Table:
    table = Table("what", "where", "how", box=box.SIMPLE)
    for one in artifacts:
        how = "was there" if one["cached"] else f"built in {format_duration(one['duration_s'])}"
        table.add_row(one["product"], one["directory"], how)
    return table
