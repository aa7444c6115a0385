"""A patch series as a git tree to work in, and back."""

import shutil
import tempfile
from pathlib import Path

from fastballoon_cli.build import sources, trees
from fastballoon_cli.build.git import git
from fastballoon_cli.build.job import Job, job
from fastballoon_cli.build.packages import require
from fastballoon_cli.build.paths import Product, checked_cache_dir
from fastballoon_cli.build.series import Series, load_series
from fastballoon_cli.errors import BuildError
from fastballoon_cli.progress import Progress
from fastballoon_cli.units import GIB

__all__ = ["default_tree", "export_series", "make_tree", "patched_tree"]

#: the branch that holds the series in a tree made here
BRANCH = "series"


def default_tree(product: Product) -> Path:
    """Return the folder of the tree when none is named."""
    return checked_cache_dir() / "dev" / product


def patched_tree(series: Series, work: Job) -> Path:
    """Return the shared tree with the series applied, under the product's lock.

    :raise BuildError: the source cannot be had, or a patch does not apply.
    """
    require("sources")
    tree = trees.prepare(series, sources.obtain(series, work), work)
    trees.apply_series(series, tree, work)
    return tree


def make_tree(product: Product, folder: Path, progress: Progress) -> None:
    """Make ``folder`` a git tree: tag ``base`` is the unmodified source, branch ``series`` has a commit per patch.

    :raise BuildError: it exists, or a patch does not apply.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BuildError(f"{folder} is there already", hint="name another folder, or remove it")
    series = load_series(product)
    with job(product, f"applying the series of {product}", progress, need_bytes=4 * GIB) as work:
        tree = patched_tree(series, work)
        progress.step(f"copy to {folder}")
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            git(work, tree, ["clone", "-q", "--no-checkout", tree, folder])
            git(work, folder, ["remote", "remove", "origin"])
            git(work, folder, ["checkout", "-q", "-b", BRANCH, trees.series_branch(series)])
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise


def export_series(product: Product, folder: Path, progress: Progress) -> list[str]:
    """Write the commits after ``base`` in ``folder`` to the checkout's series, and return the patches' names.

    The cover letter stays as it is.

    :raise BuildError: ``folder`` is no such tree, or has changes that are not committed.
    """
    series = load_series(product)
    with job(f"{product}-series", f"exporting the series of {product}", progress, need_bytes=0) as work:
        if not (folder / ".git").exists():
            raise BuildError(f"{folder} is no git tree", hint=f"make one with: scripts/series apply {product}")
        if changes := git(work, folder, ["status", "--porcelain", "--untracked-files=no"]):
            raise BuildError(f"{folder} has changes that are not committed", details=changes)
        git(
            work, folder, ["merge-base", "--is-ancestor", trees.BASE, "HEAD"], hint="the branch must grow out of 'base'"
        )
        with tempfile.TemporaryDirectory(dir=series.directory, prefix=".export-") as scratch:
            # Without a length, git takes one that depends on how much else is in the tree.
            form = ["-q", "--zero-commit", "--no-numbered", "--no-signature", "--abbrev=12"]
            git(work, folder, ["format-patch", *form, "-o", scratch, f"{trees.BASE}..HEAD"])
            made = sorted(Path(scratch).glob("*.patch"))
            for patch in made:
                patch.rename(series.directory / patch.name)
            # Last, so that there is a whole series at any time.
            for old in series.patches:
                if old.name not in {patch.name for patch in made}:
                    old.unlink()
    return [patch.name for patch in made]
