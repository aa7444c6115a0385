"""The package for hosts: the distribution's QEMU with the series, beside its own."""

import re
import shutil
from pathlib import Path

from fastballoon_cli import __version__
from fastballoon_cli.build import sources, trees
from fastballoon_cli.build.debian_package import SUITE, build_packages, describe, packaging, write_changelog
from fastballoon_cli.build.devtree import patched_tree
from fastballoon_cli.build.git import git
from fastballoon_cli.build.job import Job, job
from fastballoon_cli.build.series import Series, load_series
from fastballoon_cli.build.store import Inputs, find, folder_sha256, key_of
from fastballoon_cli.build.variants import Plan, source_inputs
from fastballoon_cli.build.workdir import scratch_folder
from fastballoon_cli.progress import Progress
from fastballoon_cli.units import GIB

__all__ = ["plan_qemu_package", "qemu_package"]

_NEED_BYTES = 6 * GIB
_WHAT = "QEMU's package"


def qemu_package(progress: Progress) -> Path:
    """Return the folder of the package, made if it is not there yet.

    :raise PreconditionError: packages or space are missing.
    :raise BuildError: the series cannot be had, QEMU does not compile, or something in the package is wrong.
    """
    series = load_series("qemu")
    if done := _cached(series):
        return done
    with job("qemu", "building qemu-package", progress, need_bytes=_NEED_BYTES) as work:
        if done := _cached(series):
            return done
        tree = patched_tree(series, work)
        source = sources.obtain(series, work)
        with scratch_folder("qemu-package") as scratch:
            _lay_out(series, source, tree, scratch / "source", work)
            build_packages("qemu-package", _inputs(series, source), scratch, _build_depends(), work, what=_WHAT)
    done = _cached(series)
    assert done is not None
    return done


def plan_qemu_package() -> Plan:
    """Return what :func:`qemu_package` would do."""
    done = _cached(load_series("qemu"))
    return Plan("qemu-package", done, [] if done else ["fastballoon build qemu-package"])


def _build_depends() -> tuple[str, ...]:
    stanza = (
        (packaging("qemu") / "control").read_text().partition("Build-Depends:")[2].partition("\nStandards-Version")[0]
    )
    return tuple(re.findall(r"^ ([a-z0-9.+-]+)", stanza, re.MULTILINE))


def _lay_out(series: Series, source: sources.Source, tree: Path, into: Path, work: Job) -> None:
    into.mkdir()
    archive = into.with_suffix(".tar")
    git(work, tree, ["archive", f"--output={archive}", trees.series_branch(series)])
    work.run(["tar", "-C", into, "-xf", archive])
    archive.unlink()
    copyright_text = (into / "debian/copyright").read_bytes() if (into / "debian/copyright").exists() else b""
    shutil.rmtree(into / "debian", ignore_errors=True)
    shutil.copytree(packaging("qemu"), into / "debian")
    (into / "debian/copyright").write_bytes(copyright_text)
    # After the distribution's own of the same source, and before its next.
    write_changelog(into, "qemu-fastballoon", f"{source.version}+fb{__version__}")


def _inputs(series: Series, source: sources.Source) -> Inputs:
    return {
        **source_inputs(series, source),
        "how": describe(_build_depends()),
        "packaging_sha256": folder_sha256(packaging("qemu")),
    }


def _cached(series: Series) -> Path | None:
    source = sources.fetched(series)
    if source is None:
        return None
    return find("qemu-package", SUITE, key_of(_inputs(series, source)))
