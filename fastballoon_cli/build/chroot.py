"""Scripts that run in a Debian of their own, which is made for them and gone afterwards."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fastballoon_cli.build.job import Job
from fastballoon_cli.build.mmdebstrap import mmdebstrap, source_line
from fastballoon_cli.build.packages import require

__all__ = ["Chroot", "run_in_chroot"]


@dataclass(frozen=True, kw_only=True)
class Chroot:
    """A Debian to run a script in.

    :ivar suite: such as ``trixie``.
    :ivar packages: installed in it, on top of what apt needs; ``NAME/SUITE`` takes one from another suite.
    :ivar further: suites whose packages are taken where they are asked for by name, such as ``trixie-backports``.
    """

    suite: str
    packages: tuple[str, ...]
    further: tuple[str, ...] = ()


def _command(
    chroot: Chroot, script: Path, bring: Sequence[Path], into: Path, *, mirror: str, options: Sequence[str]
) -> list[str | Path]:
    things = " ".join(map(str, [script, *bring]))
    return [
        *("mmdebstrap", "--verbose", "--variant=apt", "--format=null"),
        # Nobody keeps what is made here: syncing it takes half of the time on a busy disk.
        "--dpkgopt=force-unsafe-io",
        *(f"--include={package}" for package in chroot.packages),
        *options,
        '--customize-hook=mkdir -p "$1/build/out"',
        f"--customize-hook=copy-in {things} /build",
        f'--customize-hook=chroot "$1" sh -eu /build/{script.name}',
        f"--customize-hook=copy-out /build/out {into}",
        *(chroot.suite, "/dev/null", *(source_line(mirror, suite) for suite in (chroot.suite, *chroot.further))),
    ]


def run_in_chroot(chroot: Chroot, script: Path, bring: Sequence[Path], into: Path, work: Job, *, what: str) -> None:
    """Run a script in a Debian that is made for it.

    :param script: for ``sh``; what it is to leave goes to ``/build/out``.
    :param bring: files and folders that it finds in ``/build``.
    :param into: a folder of the caller's for all of this; gets a folder ``out`` with what the script left.
    :param what: that the script makes, for a message.
    :raise PreconditionError: mmdebstrap is missing.
    :raise BuildError: packages cannot be had, or the script failed.
    """
    require("sources", "image")
    scratch = into / "mmdebstrap"
    scratch.mkdir()
    mmdebstrap(
        lambda mirror, options: _command(chroot, script, bring, into, mirror=mirror, options=options),
        work,
        what=what,
        scratch=scratch,
        installed=lambda said: any("hook" in line and script.name in line for line in said),
    )
