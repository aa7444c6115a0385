"""What each variant is made of."""

import itertools
from pathlib import Path

import pytest

from fastballoon_cli.build import BOOTABLE, COMMON, Variant, series_dir, variants, variants_of
from fastballoon_cli.build.series import load_series
from fastballoon_cli.build.trees import BASE, series_branch
from fastballoon_cli.build.variants import kernel_recipe, patches_of, qemu_recipe
from fastballoon_cli.errors import BuildError, UsageError

KERNELS, QEMUS = variants_of("kernel"), variants_of("qemu")


def test_every_variant_is_one_of_some_product():
    assert set(Variant) == {*KERNELS, *QEMUS}
    assert COMMON == (Variant.FAST, Variant.STOCK)
    assert Variant.FAST_DEBUG in BOOTABLE["kernel"]
    assert Variant.FAST_FUZZ not in BOOTABLE["qemu"]


@pytest.mark.parametrize(("product", "recipe"), [("kernel", kernel_recipe), ("qemu", qemu_recipe)])
def test_stock_has_no_patch_and_fast_all(product, recipe):
    series = load_series(product)
    stock = patches_of(recipe(Variant.STOCK), series)
    assert (stock.patches, stock.sha256, series_branch(stock)) == ([], None, BASE)
    assert patches_of(recipe(Variant.FAST), series) == series


def test_the_debug_kernel_has_the_patches_of_fast():
    series = load_series("kernel")
    assert patches_of(kernel_recipe(Variant.FAST_DEBUG), series) == series


def test_the_hostile_qemu_has_further_patches_and_another_sum():
    series = load_series("qemu")
    hostile = patches_of(qemu_recipe(Variant.FAST_HOSTILE), series)
    count = len(series.patches)
    assert hostile.patches[:count] == series.patches
    assert len(hostile.patches) > count
    assert hostile.sha256 != series.sha256


def test_without_a_checkout_the_hostile_qemu_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(variants, "checkout_dir", lambda: tmp_path)
    with pytest.raises(BuildError, match="no patches in") as error:
        patches_of(qemu_recipe(Variant.FAST_HOSTILE), load_series("qemu"))
    assert error.value.hint == "build this variant in a checkout"


def test_who_shares_a_build_folder_has_the_same_configuration():
    for one, other in itertools.combinations(map(kernel_recipe, KERNELS), 2):
        assert (one.folder == other.folder) == (one.fragments == other.fragments)
    for first, second in itertools.combinations(map(qemu_recipe, QEMUS), 2):
        assert (first.folder == second.folder) == (first.options == second.options)


def test_the_build_folders_of_a_product_are_found_by_its_name():
    """Another source empties them all."""
    assert all(kernel_recipe(v).folder.split("-")[0] == "kernel" for v in KERNELS)
    assert all(qemu_recipe(v).folder.split("-")[0] == "qemu" for v in QEMUS)


def test_the_fragments_are_there():
    for variant in KERNELS:
        for name in kernel_recipe(variant).fragments:
            assert Path(series_dir("kernel") / name).read_text().startswith("#")


@pytest.mark.parametrize(("recipe", "variant"), [(kernel_recipe, Variant.FAST_FUZZ), (qemu_recipe, Variant.FAST_DEBUG)])
def test_what_a_product_is_not_built_as_is_refused(recipe, variant):
    with pytest.raises(UsageError, match=f"there is no .* '{variant}'") as error:
        recipe(variant)
    assert error.value.exit_code == 2
    assert error.value.hint is not None
    assert error.value.hint.startswith("choose from fast, stock, ")
