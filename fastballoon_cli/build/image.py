"""The guest's root file system: a minimal Debian with sshd and Python, read-only, so that two guests can share it."""

import hashlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from fastballoon_cli.build import apt
from fastballoon_cli.build.job import Job, job
from fastballoon_cli.build.mmdebstrap import mmdebstrap, source_line
from fastballoon_cli.build.packages import require
from fastballoon_cli.build.paths import work_root
from fastballoon_cli.build.store import Inputs, find, key_of, publish
from fastballoon_cli.build.variants import Plan
from fastballoon_cli.errors import BuildError
from fastballoon_cli.process import paste
from fastballoon_cli.progress import Progress
from fastballoon_cli.units import GIB

__all__ = ["ImageArtifact", "guest_file", "image", "plan_image"]

#: Raised when what this module does changes what comes out.
_RECIPE = 1
_SUITE = "trixie"
_PACKAGES = ("openssh-server", "python3", "iproute2")
_NEED = 1 * GIB
_IMAGE = "root.erofs"
#: Fixed, so that images differ only where their content does.
_UUID = "fa57ba11-0000-4000-8000-000000000001"

#: name in ``guest_files`` -> where it goes, and its mode
_FILES: dict[str, tuple[str, int]] = {
    "init": ("usr/sbin/init", 0o755),
    "poweroff": ("usr/sbin/poweroff", 0o755),
    "reboot": ("usr/sbin/reboot", 0o755),
    "sshd_config": ("etc/ssh/sshd_config", 0o644),
    "fstab": ("etc/fstab", 0o644),
    "network": ("etc/fastballoon/network", 0o644),
    "hostname": ("etc/hostname", 0o644),
}
#: Nobody reads these in a guest.
_EXCLUDED = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/lintian/*")
#: Not unpacked; the kernel makes the device files.
_LEFT_OUT = ("dev/*", "var/cache/*", "var/lib/apt/lists/*", "var/log/*", "etc/ssh/ssh_host_*", "etc/ssh/moduli")
_NEEDED = ("usr/sbin/init", "usr/sbin/sshd", "usr/bin/python3", "usr/sbin/ip", "usr/sbin/switch_root", "usr/bin/setsid")


@dataclass(frozen=True)
class ImageArtifact:
    """A root file system.

    :param rootfs: an erofs image, to be opened read-only; its init lays a file system in memory over it.
    """

    dir: Path
    rootfs: Path
    key: str


def image(progress: Progress) -> ImageArtifact:
    """Return the guest's root file system, built if it is not there yet.

    :raise PreconditionError: packages or space are missing.
    :raise BuildError: the packages could not be fetched or unpacked.
    """
    if done := _cached():
        return done
    with job("image", "building image", progress, need_bytes=_NEED) as work:
        if done := _cached():
            return done
        require("sources", "image")
        _build(work)
    done = _cached()
    assert done is not None
    return done


def plan_image() -> Plan:
    """Return what :func:`image` would do."""
    if done := _cached():
        return Plan("image", done.dir, [])
    scratch = _scratch()
    debootstrap = _mmdebstrap_command(scratch, "MIRROR", [])
    return Plan("image", None, [paste(debootstrap), paste(_unpack_command(scratch)), paste(_pack_command(scratch))])


def guest_file(name: str) -> bytes:
    """Return a file of ours for guests."""
    return (resources.files("fastballoon_cli.build") / "guest_files" / name).read_bytes()


def _inputs() -> Inputs:
    digest = hashlib.sha256()
    for name in _FILES:
        digest.update(guest_file(name))
    return {
        "recipe": _RECIPE,
        "suite": _SUITE,
        "packages": " ".join(_PACKAGES),
        "files": digest.hexdigest(),
        "placement": repr([_FILES, _EXCLUDED, _LEFT_OUT]),
    }


def _cached() -> ImageArtifact | None:
    key = key_of(_inputs())
    folder = find("image", _SUITE, key)
    return ImageArtifact(folder, folder / _IMAGE, key) if folder else None


def _scratch() -> Path:
    return work_root() / "image"


def _build(work: Job) -> None:
    scratch = _scratch()
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    _fakeroot_state(scratch).touch()
    try:
        work.progress.step(f"install Debian {_SUITE} for the guest")
        mmdebstrap(
            lambda mirror, options: _mmdebstrap_command(scratch, mirror, options),
            work,
            what="the guest",
            scratch=scratch,
        )
        work.progress.step("pack the guest's root file system")
        # Ours first, and nothing is removed later: fakeroot knows files by inode numbers, which are given out again.
        _furnish(scratch / "root")
        work.run(_unpack_command(scratch))
        with publish("image", _SUITE, _inputs(), {"packages": _verify(scratch / "root")}) as folder:
            work.run(_pack_command(scratch))
            packed = scratch / _IMAGE
            packed.chmod(0o444)
            shutil.move(packed, folder / _IMAGE)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _mmdebstrap_command(scratch: Path, mirror: str, options: Sequence[str]) -> list[str | Path]:
    return [
        *("mmdebstrap", "--verbose", "--variant=essential", "--format=tar"),
        *(f"--include={package}" for package in _PACKAGES),
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in _EXCLUDED),
        *options,
        *(_SUITE, scratch / "root.tar", source_line(mirror, _SUITE)),
    ]


def _fakeroot_state(scratch: Path) -> Path:
    """Return the file that remembers which owners a user who is not root would have given to files."""
    return scratch / "fakeroot"


def _as_root(scratch: Path) -> list[str | Path]:
    """Return what to put before a command so that it sees files as root would."""
    if os.geteuid() == 0:
        return []
    state = _fakeroot_state(scratch)
    return ["fakeroot", "-i", state, "-s", state, "--"]


def _unpack_command(scratch: Path) -> list[str | Path]:
    excluded = [f"--exclude=./{pattern}" for pattern in (*_LEFT_OUT, *(place for place, _ in _FILES.values()))]
    return [*_as_root(scratch), "tar", *excluded, "-C", scratch / "root", "-xpf", scratch / "root.tar"]


def _pack_command(scratch: Path) -> list[str | Path]:
    # Not compressed: reading from the host's page cache is cheaper than emulating a decompressor.
    return [*_as_root(scratch), "mkfs.erofs", "-d0", "-x-1", "-U", _UUID, scratch / _IMAGE, scratch / "root"]


def _furnish(root: Path) -> None:
    """Put our files in."""
    for name, (place, mode) in _FILES.items():
        path = root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(guest_file(name))
        path.chmod(mode)
    (root / "root/.ssh").mkdir(mode=0o700, parents=True)


def _verify(root: Path) -> dict[str, str]:
    """Return package -> version.

    :raise BuildError: something that a guest needs is not there.
    """
    if absent := [name for name in _NEEDED if not (root / name).is_file()]:
        raise BuildError(f"the guest's root file system lacks {', '.join(absent)}")
    status = (root / "var/lib/dpkg/status").read_text()
    return {s["Package"]: s["Version"] for s in apt.stanzas(status) if "Version" in s}
