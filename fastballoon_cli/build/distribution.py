"""Kernels of distributions for guests: as their packages bring them, with the module of our package."""

import shutil
from collections.abc import Mapping
from enum import StrEnum

from fastballoon_cli.build.chroot import Chroot, run_in_chroot
from fastballoon_cli.build.guest_packages import GuestPackages, cached_guest_packages, guest_packages
from fastballoon_cli.build.image import guest_file
from fastballoon_cli.build.job import job
from fastballoon_cli.build.kernel import KernelArtifact, kernel, plan_kernel
from fastballoon_cli.build.store import Inputs, find, key_of, publish, read_meta
from fastballoon_cli.build.variants import Plan, Variant
from fastballoon_cli.build.workdir import scratch_folder
from fastballoon_cli.errors import UsageError
from fastballoon_cli.progress import Progress
from fastballoon_cli.units import GIB

__all__ = ["Distribution", "check_guest_kernel", "guest_kernel", "plan_guest_kernel"]

#: Raised when what this module does changes what comes out.
_RECIPE = 1
_NEED = 4 * GIB
_SCRIPT, _MODULES = "distribution-kernel.sh", "initramfs-modules"
#: What the script leaves, by what is in it.
_INITRD: Mapping[Variant, str] = {Variant.FAST: "initrd", Variant.STOCK: "initrd-stock"}


class Distribution(StrEnum):
    """Whose kernel a guest boots."""

    DEBIAN12 = "debian12"
    DEBIAN13 = "debian13"
    DEBIAN13_BACKPORTS = "debian13-backports"


def _debian(suite: str, backports: str = "") -> Chroot:
    """Return a Debian with its kernel for VMs and what compiles modules for that."""
    of = f"/{backports}" if backports else ""
    kernel = tuple(f"linux-{what}-cloud-amd64{of}" for what in ("image", "headers"))
    packages = (*kernel, "initramfs-tools", "busybox", "dkms")
    return Chroot(suite=suite, packages=packages, further=(backports,) if backports else ())


_CHROOTS: Mapping[Distribution, Chroot] = {
    Distribution.DEBIAN12: _debian("bookworm"),
    Distribution.DEBIAN13: _debian("trixie"),
    Distribution.DEBIAN13_BACKPORTS: _debian("trixie", "trixie-backports"),
}


def check_guest_kernel(guest: str, variant: Variant) -> None:
    """Check that there is such a kernel, before anything is built.

    :param guest, variant: as for :func:`guest_kernel`.
    :raise UsageError: there is none.
    """
    if guest and variant not in _INITRD:
        raise UsageError(
            f"there is no kernel '{variant}' of {guest}",
            hint="fast is that kernel with our module, stock with its own driver",
        )


def guest_kernel(guest: str, variant: Variant, progress: Progress) -> KernelArtifact:
    """Return what a guest boots, made if it is not there yet.

    :param guest: a :class:`Distribution`, or empty for the small kernel that is built here.
    :param variant: of a distribution, ``fast`` has the module of our package, ``stock`` the driver that came with it.
    :raise UsageError: a distribution has no such variant.
    :raise PreconditionError: packages or space are missing.
    :raise BuildError: sources or packages cannot be had, or something does not compile.
    """
    check_guest_kernel(guest, variant)
    return _make(Distribution(guest), variant, progress) if guest else kernel(variant, progress)


def plan_guest_kernel(guest: str, variant: Variant) -> Plan:
    """Return what :func:`guest_kernel` would do.

    :raise UsageError: as it does.
    """
    check_guest_kernel(guest, variant)
    return _plan(Distribution(guest), variant) if guest else plan_kernel(variant)


def _make(distribution: Distribution, variant: Variant, progress: Progress) -> KernelArtifact:
    packages = guest_packages(progress)
    if done := _cached(distribution, variant, packages):
        return done
    with job(f"kernel-{distribution}", f"building kernel-{distribution}", progress, need_bytes=_NEED) as work:
        if done := _cached(distribution, variant, packages):
            return done
        with scratch_folder(f"distribution-{distribution}") as scratch:
            progress.step(f"install the kernel of {distribution}, and the module for it")
            for name in (_SCRIPT, _MODULES):
                (scratch / name).write_bytes(guest_file(name))
            bring = [scratch / _MODULES, packages.dkms]
            run_in_chroot(
                _CHROOTS[distribution], scratch / _SCRIPT, bring, scratch, work, what=f"the kernel of {distribution}"
            )
            release = (scratch / "out/release").read_text().strip()
            with publish("kernel", distribution, _inputs(distribution, packages), {"release": release}) as folder:
                for made in (scratch / "out").iterdir():
                    shutil.copyfile(made, folder / made.name)
    done = _cached(distribution, variant, packages)
    assert done is not None
    return done


def _plan(distribution: Distribution, variant: Variant) -> Plan:
    packages = cached_guest_packages()
    done = _cached(distribution, variant, packages) if packages else None
    command = f"fastballoon build kernel --guest {distribution}"
    return Plan(f"kernel-{distribution}", done.dir if done else None, [] if done else [command])


def _cached(distribution: Distribution, variant: Variant, packages: GuestPackages) -> KernelArtifact | None:
    key = key_of(_inputs(distribution, packages))
    folder = find("kernel", distribution, key)
    meta = read_meta(folder) if folder else None
    if folder is None or meta is None:
        return None
    series = packages.series_sha256 if variant is Variant.FAST else None
    return KernelArtifact(folder, folder / "bzImage", meta["release"], series, key, folder / _INITRD[variant])


def _inputs(distribution: Distribution, packages: GuestPackages) -> Inputs:
    return {
        "recipe": _RECIPE,
        "chroot": repr(_CHROOTS[distribution]),
        "packages": packages.key,
        **{name: guest_file(name).decode() for name in (_SCRIPT, _MODULES)},
    }
