"""Source trees as git trees: one per product, tag ``base`` for the unmodified source, a branch per patch series.

All variants are checked out in the same tree, so that git touches only the files that differ and the next build is
an incremental one. That is sound because every file that git writes gets a new time, later than all objects so far.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from fastballoon_cli.build.git import git
from fastballoon_cli.build.job import Job
from fastballoon_cli.build.paths import Product, tree_dir, work_dirs
from fastballoon_cli.build.series import Series
from fastballoon_cli.build.sources import Source
from fastballoon_cli.errors import BuildError

__all__ = ["BASE", "apply_series", "checkout", "prepare", "series_branch"]

#: the tag of the unmodified source
BASE = "base"
_STAMP = ".git/fastballoon.json"


def prepare(series: Series, source: Source, job: Job) -> Path:
    """Return the tree of ``source`` as a git tree, imported if it is not there yet.

    :raise BuildError: it cannot be unpacked.
    """
    tree = tree_dir(series.product)
    stamp = {"version": source.version, "sha256": source.sha256}
    if _stamp_of(tree) == stamp:
        _mend(tree)
        return tree
    job.progress.step(f"unpack {series.base.name} {source.version}")
    aside = tree.with_name(f".{tree.name}.new")
    # Objects in the build folders are newer than the files of another source would be: start from nothing.
    for leftover in (aside, *work_dirs(series.product), tree):
        shutil.rmtree(leftover, ignore_errors=True)
    aside.parent.mkdir(parents=True, exist_ok=True)
    try:
        _UNPACK[series.product, source.origin](source, aside, job)
        job.progress.step(f"import {series.base.name} {source.version} into git")
        git(job, aside, ["init", "-q", "-b", "main"])
        git(job, aside, ["add", "--all", "--force"])
        git(job, aside, ["commit", "-q", "-m", f"{series.base.name} {source.version}"])
        git(job, aside, ["tag", BASE])
        (aside / _STAMP).write_text(json.dumps(stamp))
        aside.rename(tree)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    return tree


def _stamp_of(tree: Path) -> object:
    try:
        return json.loads((tree / _STAMP).read_text())
    except (OSError, ValueError):
        return None


def _mend(tree: Path) -> None:
    """Remove what a killed git left; the product's lock is ours, so nobody else is at it."""
    for lock in (tree / ".git").glob("*.lock"):
        lock.unlink()
    for lock in (tree / ".git" / "refs").rglob("*.lock"):
        lock.unlink()
    for folder in ("rebase-apply", "rebase-merge"):
        shutil.rmtree(tree / ".git" / folder, ignore_errors=True)


def _unpack_package(source: Source, into: Path, job: Job) -> None:
    """Unpack ``linux-source-*.deb``, which holds a tarball."""
    package = into.with_name(f"{into.name}-package")
    shutil.rmtree(package, ignore_errors=True)
    try:
        job.run(["dpkg-deb", "-x", source.main_file, package])
        tarball = next(iter(package.glob("usr/src/linux-source-*.tar.*")), None)
        if tarball is None:
            raise BuildError(f"{source.main} holds no tarball of the kernel's source")
        _unpack_tarball(source, into, job, tarball)
    finally:
        shutil.rmtree(package, ignore_errors=True)


def _unpack_tarball(source: Source, into: Path, job: Job, tarball: Path | None = None) -> None:
    into.mkdir()
    job.run(["tar", "--no-same-owner", "--strip-components=1", "-C", into, "-xf", tarball or source.main_file])


def _unpack_dsc(source: Source, into: Path, job: Job) -> None:
    # Not checked again: apt has compared it with the signed lists.
    job.run(["dpkg-source", "--no-check", "-x", source.main_file, into])
    shutil.rmtree(into / ".pc", ignore_errors=True)  # quilt's copies of the files that Debian's patches change


_UNPACK: dict[tuple[Product, str], Callable[[Source, Path, Job], None]] = {
    ("kernel", "debian"): _unpack_package,
    ("kernel", "upstream"): _unpack_tarball,
    ("qemu", "debian"): _unpack_dsc,
    ("qemu", "upstream"): _unpack_tarball,
}


def series_branch(series: Series) -> str:
    """Return the name of the branch that holds the series, or the base's tag if it has no patches."""
    return f"series-{series.sha256[:12]}" if series.sha256 else BASE


def apply_series(series: Series, tree: Path, job: Job) -> None:
    """Apply all patches on top of the base, a commit each, and name the result; does nothing if that was done before.

    :raise BuildError: a patch does not apply; names it.
    """
    branch = series_branch(series)
    if branch in git(job, tree, ["tag", "--list", branch]).split():
        return
    checkout(tree, BASE, job)
    for number, patch in enumerate(series.patches):
        job.progress.step(f"apply {patch.name}", total=len(series.patches))
        job.progress.update(number)
        try:
            git(job, tree, ["am", "-q", "--no-3way", "--committer-date-is-author-date", patch])
        except BuildError as e:
            _mend(tree)
            version = json.loads((tree / _STAMP).read_text())["version"]
            raise BuildError(
                f"patch {patch.name} does not apply to {series.base.name} {version}",
                hint=f"the series was made on {series.base.version}",
                details=e.details,
            ) from e
    # A tag, as a branch could be moved by somebody who works in the tree.
    git(job, tree, ["tag", "--force", branch])


def checkout(tree: Path, reference: str, job: Job) -> None:
    """Make the files of ``tree`` exactly those of ``reference``.

    :raise BuildError: git failed.
    """
    git(job, tree, ["checkout", "-q", "--force", "--detach", reference])
    git(job, tree, ["clean", "-q", "-ffdx"])
