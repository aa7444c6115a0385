"""Debian packages of a source that lies in a folder: built and checked in a Debian of their own."""

import shutil
from pathlib import Path

from fastballoon_cli import __version__
from fastballoon_cli.build.chroot import Chroot, run_in_chroot
from fastballoon_cli.build.job import Job
from fastballoon_cli.build.paths import checkout_dir
from fastballoon_cli.build.store import Inputs, publish
from fastballoon_cli.errors import BuildError

__all__ = ["SUITE", "build_packages", "describe", "packaging", "write_changelog"]

SUITE = "trixie"
#: Fixed, so that packages differ only where their content does.
_DATE = "Sun, 01 Nov 2026 00:00:00 +0000"

_SCRIPT = """\
cd /build/source
dpkg-buildpackage --no-sign --build=binary
cd ..
# The project has no address for mail.
no_mail=bogus-mail-host,bogus-mail-host-in-debian-changelog
lintian --fail-on error,warning --allow-root --suppress-tags "$no_mail" ./*.changes
cp ./*.deb out
"""


def _chroot(needs: tuple[str, ...]) -> Chroot:
    return Chroot(suite=SUITE, packages=("build-essential", "debhelper", "lintian", *needs))


def packaging(name: str) -> Path:
    """Return the ``debian`` folder of a package for hosts.

    :raise BuildError: there is none, as this is no checkout.
    """
    folder = checkout_dir() / "packaging" / name / "debian"
    if not folder.is_dir():
        raise BuildError(f"there is no {folder}", hint="make these packages in a checkout")
    return folder


def describe(needs: tuple[str, ...]) -> str:
    """Return all that decides what comes out of :func:`build_packages`, but for the source."""
    return repr((_SCRIPT, _chroot(needs), _DATE, __version__))


def write_changelog(source: Path, name: str, version: str = __version__) -> None:
    """Write a source's ``debian/changelog``."""
    (source / "debian/changelog").write_text(
        f"{name} ({version}) {SUITE}; urgency=medium\n\n"
        f"  * See the history of fastballoon's repository.\n\n"
        f" -- fastballoon <fastballoon@localhost>  {_DATE}\n"
    )


def build_packages(kind: str, inputs: Inputs, scratch: Path, needs: tuple[str, ...], work: Job, *, what: str) -> None:
    """Build what ``scratch/source`` is the source of, and keep the packages as an artifact.

    :param kind, inputs: of the artifact.
    :param scratch: a folder of the caller's for all of this.
    :param needs: packages that the build needs.
    :param what: is built, for messages.
    :raise BuildError: a package cannot be had, the build failed, or lintian has found something.
    """
    work.progress.step(f"make {what}")
    script = scratch / "make-packages"
    script.write_text(_SCRIPT)
    run_in_chroot(_chroot(needs), script, [scratch / "source"], scratch, work, what=what)
    with publish(kind, SUITE, inputs, {}) as folder:
        for package in (scratch / "out").glob("*.deb"):
            shutil.copyfile(package, folder / package.name)
