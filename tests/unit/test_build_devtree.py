"""The commits of a tree as a series of patches, on a tree that takes no time to make."""

import subprocess
from pathlib import Path

import pytest

from fastballoon_cli.build import devtree
from fastballoon_cli.build.series import Base, Series
from fastballoon_cli.progress import Silent


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A tree with a tag 'base' and one commit after it, of a series that has two older patches."""
    monkeypatch.setenv("FASTBALLOON_CACHE", str(tmp_path / "cache"))
    folder, directory = tmp_path / "tree", tmp_path / "series"
    folder.mkdir()
    directory.mkdir()
    for name in ("0000-cover-letter.patch", "0001-old.patch", "0002-older.patch"):
        (directory / name).write_text("old\n")

    def git(*words):
        me = ("-c", "user.name=n", "-c", "user.email=n@n")
        subprocess.run(["git", *me, *words], cwd=folder, check=True, capture_output=True)

    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "base")
    git("tag", "base")
    for name in ("old", "new"):
        (folder / name).write_text("new\n")
        git("add", name)
        git("commit", "-q", "-m", name)

    def load(product):
        patches = sorted(path for path in directory.glob("*.patch") if not path.name.startswith("0000"))
        return Series("qemu", directory, Base(*[""] * 6), None, patches)

    monkeypatch.setattr(devtree, "load_series", load)
    return folder


def names(tree):
    return sorted(path.name for path in (tree.parent / "series").iterdir())


def test_the_series_is_replaced_and_its_cover_letter_stays(tree):
    assert devtree.export_series("qemu", tree, Silent()) == ["0001-old.patch", "0002-new.patch"]
    assert names(tree) == ["0000-cover-letter.patch", "0001-old.patch", "0002-new.patch"]
    assert "+new" in (tree.parent / "series" / "0001-old.patch").read_text()


def test_an_export_that_is_cut_short_has_removed_nothing(tree, monkeypatch):
    before = names(tree)

    def cut(path, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "rename", cut)
    with pytest.raises(KeyboardInterrupt):
        devtree.export_series("qemu", tree, Silent())
    assert names(tree) == before
