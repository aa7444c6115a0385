"""``fastballoon build``: what a guest needs, fetched, patched and built."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.table import Table

from fastballoon_cli import build as builds
from fastballoon_cli.build import Distribution, Plan, Variant
from fastballoon_cli.cli.common import Context, pass_context
from fastballoon_cli.units import format_duration

__all__ = ["build"]

_PRODUCTS = ("kernel", "qemu", "image")
#: Made only when they are asked for, as no guest that is built here needs them: for guests, for hosts.
_PACKAGES = ("guest-packages", "tool-package", "qemu-package")


@click.command()
@click.argument("product", type=click.Choice((*_PRODUCTS, "packages", *_PACKAGES)), required=False)
@click.option("--variant", type=click.Choice([v.value for v in Variant]), default="fast", show_default=True,
              help="fast has our patch series, stock is the unmodified source. For the long proofs, on top of fast: "
                   "fast-debug is a kernel that checks itself; fast-sanitized, fast-fuzz and fast-hostile are QEMUs "
                   "with sanitizers, for fuzzing, and with a device that answers wrongly.")  # fmt: skip
@click.option("--guest", type=click.Choice([d.value for d in Distribution]),
              help="That distribution's kernel, with our driver as a module.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Print what would be run, and run nothing.")
@pass_context
def build(ctx: Context, /, product: str | None, variant: str, guest: str | None, dry_run: bool) -> None:
    """Fetch, patch and build what a guest needs: PRODUCT, or all that there are of the variant.

    PRODUCT packages makes Debian packages, for guests and hosts that are not built here.

    What was built before is found again; it can be interrupted at any time.

    \b
    Example:
      fastballoon build kernel --variant stock
    """
    chosen = Variant(variant)
    products = _products(product, chosen)
    if dry_run:
        _show_plans(ctx, [_plan(p, chosen, guest) for p in products])
        return
    # All are planned before the first is built: then it is known which were there.
    cached = {p: _plan(p, chosen, guest).cached for p in products}
    artifacts = []
    for p in products:
        begun = time.monotonic()
        directory = _make(p, chosen, guest, ctx)
        seconds = time.monotonic() - begun
        artifacts.append({"product": p, "directory": str(directory), "cached": cached[p], "duration_s": seconds})
    document = {"schema_version": 1, "operation": "build", "variant": variant, "artifacts": artifacts}
    ctx.output.emit(document, _table(artifacts))


def _products(product: str | None, variant: Variant) -> list[str]:
    """Return what is asked for: all that there is of a variant unless told; the image is the same for all."""
    if product:
        return list(_PACKAGES) if product == "packages" else [product]
    there = {"kernel": variant in builds.variants_of("kernel"), "qemu": variant in builds.variants_of("qemu")}
    return [one for one in _PRODUCTS if there.get(one, True)]


def _plan(product: str, variant: Variant, guest: str | None) -> Plan:
    planners: dict[str, Callable[[], Plan]] = {
        "kernel": lambda: builds.plan_guest_kernel(guest or "", variant),
        "qemu": lambda: builds.plan_qemu(variant),
        "image": builds.plan_image,
        "guest-packages": builds.plan_guest_packages,
        "tool-package": builds.plan_tool_package,
        "qemu-package": builds.plan_qemu_package,
    }
    return planners[product]()


def _make(product: str, variant: Variant, guest: str | None, ctx: Context) -> Path:
    makers: dict[str, Callable[[], Path]] = {
        "kernel": lambda: builds.guest_kernel(guest or "", variant, ctx.output).dir,
        "qemu": lambda: builds.qemu(variant, ctx.output).dir,
        "image": lambda: builds.image(ctx.output).dir,
        "guest-packages": lambda: builds.guest_packages(ctx.output).dir,
        "tool-package": lambda: builds.tool_package(ctx.output),
        "qemu-package": lambda: builds.qemu_package(ctx.output),
    }
    return makers[product]()


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
