"""What each product is built as: with the patch series, without, and for the long proofs in further ways."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from fastballoon_cli.build.packages import Purpose
from fastballoon_cli.build.paths import Product, checkout_dir
from fastballoon_cli.build.series import Series
from fastballoon_cli.build.sources import Source
from fastballoon_cli.build.store import Inputs
from fastballoon_cli.errors import BuildError, UsageError

__all__ = [
    "BOOTABLE",
    "COMMON",
    "KernelRecipe",
    "Plan",
    "QemuRecipe",
    "Recipe",
    "Variant",
    "kernel_recipe",
    "patches_of",
    "qemu_recipe",
    "source_inputs",
    "variants_of",
]


class Variant(StrEnum):
    """``stock`` is the unmodified source with the configuration of ``fast``; all others have the patch series."""

    FAST = "fast"
    STOCK = "stock"
    FAST_DEBUG = "fast-debug"
    FAST_SANITIZED = "fast-sanitized"
    FAST_FUZZ = "fast-fuzz"
    FAST_HOSTILE = "fast-hostile"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a variant of a product is made.

    :ivar patched: it has the patch series.
    :ivar on_top: a folder of the checkout with patches on top of those; None for none.
    :ivar folder: its build folder. Variants with the same configuration share one, so that the second one is an
        incremental build; one with another configuration has its own, so that it does not undo theirs.
    """

    patched: bool = True
    on_top: str | None = None
    folder: str


@dataclass(frozen=True, kw_only=True)
class KernelRecipe(Recipe):
    """A kernel: what it is configured with.

    :ivar fragments: files beside the series, each on top of the one before.
    """

    folder: str = "kernel"
    fragments: tuple[str, ...] = ("guest.config",)


@dataclass(frozen=True, kw_only=True)
class QemuRecipe(Recipe):
    """QEMU: how it is configured, and what is made of it.

    :ivar options: further ones for configure.
    :ivar binary: the program.
    :ivar runs_guests: false for a program that only feeds devices.
    :ivar compiler: what compiles it.
    :ivar packages: what only this variant needs.
    """

    folder: str = "qemu"
    options: tuple[str, ...] = ()
    binary: str = "qemu-system-x86_64"
    runs_guests: bool = True
    compiler: str = "gcc"
    packages: tuple[Purpose, ...] = ()


_KERNELS: Mapping[Variant, KernelRecipe] = {
    Variant.FAST: KernelRecipe(),
    Variant.STOCK: KernelRecipe(patched=False),
    Variant.FAST_DEBUG: KernelRecipe(folder="kernel-debug", fragments=("guest.config", "debug.config")),
}

#: One configuration for both programs, so that they share their objects; libFuzzer comes with clang only.
_SANITIZED = QemuRecipe(
    folder="qemu-sanitized",
    options=("--enable-asan", "--enable-ubsan", "--enable-fuzzing", "--cc=clang", "--cxx=clang++"),
    compiler="clang",
    packages=("sanitize",),
)

_QEMUS: Mapping[Variant, QemuRecipe] = {
    Variant.FAST: QemuRecipe(),
    Variant.STOCK: QemuRecipe(patched=False),
    Variant.FAST_SANITIZED: _SANITIZED,
    Variant.FAST_FUZZ: replace(_SANITIZED, binary="qemu-fuzz-x86_64", runs_guests=False),
    # A device that answers wrongly on demand.
    Variant.FAST_HOSTILE: QemuRecipe(on_top="tests/hostile_host"),
}

#: The variants of either product that a guest can be started with, and those that both have.
BOOTABLE: Mapping[Product, tuple[Variant, ...]] = {
    "kernel": tuple(_KERNELS),
    "qemu": tuple(variant for variant, recipe in _QEMUS.items() if recipe.runs_guests),
}
COMMON = tuple(variant for variant in BOOTABLE["kernel"] if variant in BOOTABLE["qemu"])


@dataclass(frozen=True)
class Plan:
    """What a build would do.

    :param artifact: such as ``kernel-fast``.
    :param directory: of the finished artifact; None if it must be built.
    :param commands: ready to paste, in order; empty if there is nothing to do.
    """

    artifact: str
    directory: Path | None
    commands: list[str]

    @property
    def cached(self) -> bool:
        """Whether there is nothing to do."""
        return self.directory is not None


def variants_of(product: Product) -> tuple[Variant, ...]:
    """Return the variants that a product is built as."""
    recipes: Mapping[Variant, Recipe] = _KERNELS if product == "kernel" else _QEMUS
    return tuple(recipes)


def kernel_recipe(variant: Variant) -> KernelRecipe:
    """Return how a kernel is made.

    :raise UsageError: there is no such kernel.
    """
    if variant not in _KERNELS:
        raise _unknown("kernel", variant)
    return _KERNELS[variant]


def qemu_recipe(variant: Variant) -> QemuRecipe:
    """Return how a QEMU is made.

    :raise UsageError: there is no such QEMU.
    """
    if variant not in _QEMUS:
        raise _unknown("qemu", variant)
    return _QEMUS[variant]


def _unknown(product: Product, variant: Variant) -> UsageError:
    return UsageError(f"there is no {product} '{variant}'", hint=f"choose from {', '.join(variants_of(product))}")


def patches_of(recipe: Recipe, series: Series) -> Series:
    """Return the patches that a variant is made with: those of ``series``, none, or further ones after them.

    :raise BuildError: the further ones are not there.
    """
    patches = list(series.patches) if recipe.patched else []
    if recipe.on_top:
        folder = checkout_dir() / recipe.on_top
        further = sorted(folder.glob("*.patch"))
        if not further:
            raise BuildError(f"there are no patches in {folder}", hint="build this variant in a checkout")
        patches += further
    return replace(series, patches=patches)


def source_inputs(patches: Series, source: Source) -> Inputs:
    """Return the part of a build's inputs that is its source.

    :param patches: as :func:`patches_of` returns them.
    """
    return {
        "source_version": source.version,
        "source_sha256": source.sha256,
        "series_sha256": patches.sha256,
    }
