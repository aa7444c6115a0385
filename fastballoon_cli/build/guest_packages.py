"""The packages for guests: made in a Debian of their own, of the series and of ``guest_module``."""

from dataclasses import dataclass
from pathlib import Path

from fastballoon_cli.build import module, sources
from fastballoon_cli.build.debian_package import SUITE, build_packages, describe, write_changelog
from fastballoon_cli.build.devtree import patched_tree
from fastballoon_cli.build.job import job
from fastballoon_cli.build.series import Series, load_series
from fastballoon_cli.build.store import Inputs, find, key_of
from fastballoon_cli.build.variants import Plan, source_inputs
from fastballoon_cli.build.workdir import scratch_folder
from fastballoon_cli.progress import Progress
from fastballoon_cli.units import GIB

__all__ = ["GuestPackages", "cached_guest_packages", "guest_packages", "plan_guest_packages"]

_NEEDS = ("dh-dkms", "dh-python", "python3")
_NEED_BYTES = 4 * GIB
_WHAT = "the guest's packages"


@dataclass(frozen=True)
class GuestPackages:
    """Debian packages.

    :ivar series_sha256: of the patches that the driver is made of.
    """

    dir: Path
    series_sha256: str | None
    key: str

    @property
    def dkms(self) -> Path:
        """The module's sources, which are compiled where this is installed."""
        return next(self.dir.glob("fastballoon-dkms_*.deb"))


def guest_packages(progress: Progress) -> GuestPackages:
    """Return the packages, made if they are not there yet.

    :raise PreconditionError: packages or space are missing.
    :raise BuildError: the series cannot be had, or something in a package is wrong.
    """
    series = load_series("kernel")
    if done := _cached(series):
        return done
    with job("kernel", "building guest-packages", progress, need_bytes=_NEED_BYTES) as work:
        if done := _cached(series):
            return done
        tree = patched_tree(series, work)
        source = sources.obtain(series, work)
        with scratch_folder("guest-packages") as scratch:
            module.assemble(series, tree, scratch / "source", work)
            write_changelog(scratch / "source", "fastballoon-guest")
            build_packages("guest-packages", _inputs(series, source), scratch, _NEEDS, work, what=_WHAT)
    done = _cached(series)
    assert done is not None
    return done


def cached_guest_packages() -> GuestPackages | None:
    """Return the packages if they are there."""
    return _cached(load_series("kernel"))


def plan_guest_packages() -> Plan:
    """Return what :func:`guest_packages` would do."""
    done = cached_guest_packages()
    return Plan("guest-packages", done.dir if done else None, [] if done else ["fastballoon build guest-packages"])


def _inputs(series: Series, source: sources.Source) -> Inputs:
    return {
        **source_inputs(series, source),
        "how": describe(_NEEDS),
        "own_sha256": module.own_sha256(),
    }


def _cached(series: Series) -> GuestPackages | None:
    source = sources.fetched(series)
    if source is None:
        return None
    key = key_of(_inputs(series, source))
    folder = find("guest-packages", SUITE, key)
    return GuestPackages(folder, series.sha256, key) if folder else None
