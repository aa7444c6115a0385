"""The patch series themselves, and the tools that handle them."""

import shutil
from pathlib import Path

import pytest

from fastballoon_cli.build import devtree, series_dir
from fastballoon_cli.build.checks import check_series
from fastballoon_cli.build.devtree import export_series, make_tree
from fastballoon_cli.build.git import ENVIRONMENT
from fastballoon_cli.build.paths import Product
from fastballoon_cli.build.series import Series, load_series
from fastballoon_cli.errors import BuildError
from fastballoon_cli.process import run
from fastballoon_cli.progress import Silent

pytestmark = [pytest.mark.patches, pytest.mark.timeout(2400)]

_PRODUCTS: list[Product] = ["kernel", "qemu"]


@pytest.mark.parametrize("product", _PRODUCTS)
def test_series_applies_and_is_clean(product: Product) -> None:
    check_series(product, Silent(), build_each=False)


@pytest.mark.long
@pytest.mark.parametrize("product", _PRODUCTS)
def test_every_patch_builds_by_itself(product: Product) -> None:
    check_series(product, Silent())


@pytest.mark.parametrize("product", _PRODUCTS)
def test_cover_letter_lists_every_patch(product: Product) -> None:
    cover = next(series_dir(product).glob("0000-*"), None)
    assert cover is not None, "the series has no cover letter"
    text = " ".join(cover.read_text().split())
    for patch in load_series(product).patches:
        headers = patch.read_text().partition("\n---\n")[0].partition("Subject: ")[2].partition("\n\n")[0]
        subject = " ".join(headers.split()).partition("] ")[2]
        assert subject in text, f"{cover.name} does not list '{subject}'"


def _content(folder: Path) -> dict[str, list[str]]:
    """Return what matters in each patch: object names, dates and hunks' neighbours depend on where it was exported."""
    return {
        p.name: [
            line for line in p.read_text().splitlines() if line[:1] in "+-" and not line.startswith(("+++", "---"))
        ]
        for p in sorted(folder.glob("*.patch"))
        if not p.name.startswith("0000-")
    }


def test_series_to_tree_and_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """QEMU's, as it is the smaller tree."""
    copy = tmp_path / "series"
    shutil.copytree(series_dir("qemu"), copy)
    monkeypatch.setattr(devtree, "load_series", lambda product: load_series(product, copy))
    tree = tmp_path / "tree"
    make_tree("qemu", tree, Silent())
    before = _content(copy)

    export_series("qemu", tree, Silent())
    assert _content(copy) == before
    assert [p.name for p in copy.glob("0000-*")] == [p.name for p in series_dir("qemu").glob("0000-*")]

    with pytest.raises(BuildError, match="is there already"):
        make_tree("qemu", tree, Silent())

    (tree / "VERSION").write_text("changed\n")
    with pytest.raises(BuildError, match="not committed"):
        export_series("qemu", tree, Silent())

    run(["git", "commit", "-qam", "one more"], cwd=tree, env=ENVIRONMENT)
    names = export_series("qemu", tree, Silent())
    assert len(names) == len(before) + 1
    assert names[-1].endswith("-one-more.patch")


def test_patch_that_does_not_apply_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = load_series("qemu")
    bad = tmp_path / "0001-bad.patch"
    bad.write_text(
        "From 0000000000000000000000000000000000000000 Mon Sep 17 00:00:00 2001\n"
        "From: A <a@b>\nDate: Wed, 1 Jan 2025 00:00:00 +0000\nSubject: [PATCH] bad\n\nWords.\n---\n"
        "diff --git a/VERSION b/VERSION\n--- a/VERSION\n+++ b/VERSION\n@@ -1 +1 @@\n-no such line\n+other\n-- \n"
    )
    series = Series("qemu", tmp_path, whole.base, whole.upstream, [bad])
    monkeypatch.setattr(devtree, "load_series", lambda product: series)
    with pytest.raises(BuildError, match=r"patch 0001-bad\.patch does not apply to qemu") as error:
        make_tree("qemu", tmp_path / "tree", Silent())
    assert error.value.exit_code == 3
    assert not (tmp_path / "tree").exists()
