"""The system packages that builds and guests need: which are missing, and the line that installs them."""

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from fastballoon_cli.errors import PreconditionError

__all__ = ["PACKAGES", "Package", "install_line", "missing", "require"]

Purpose = Literal["venv", "sources", "kernel", "qemu", "image", "guest", "sanitize", "libvirt", "distribution"]
#: What only the long proofs, or the tests with libvirt's daemon need; installed when these are run.
_ON_DEMAND: frozenset[Purpose] = frozenset({"sanitize", "libvirt", "distribution"})

_LIB = "usr/lib/x86_64-linux-gnu"


@dataclass(frozen=True)
class Package:
    """A Debian package.

    :param probe: a program's name, or a pattern of a file below ``/`` if it has a slash: its presence means that the
        package, or something as good, is installed. Cheaper than asking dpkg, and true on other distributions too.
    """

    name: str
    purposes: tuple[Purpose, ...]
    probe: str

    @property
    def present(self) -> bool:
        """Whether the probe finds something."""
        if "/" in self.probe:
            return next(Path("/").glob(self.probe), None) is not None
        # Debian keeps some programs out of an ordinary user's PATH.
        return shutil.which(self.probe, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is not None


PACKAGES: tuple[Package, ...] = (
    Package("git", ("sources",), "git"),
    Package("xz-utils", ("sources",), "xz"),
    Package("dpkg-dev", ("sources",), "dpkg-source"),
    Package("debian-archive-keyring", ("sources",), "usr/share/keyrings/debian-archive-keyring.*"),
    Package("ca-certificates", ("sources",), "etc/ssl/certs/ca-certificates.crt"),
    Package("gcc", ("kernel", "qemu", "libvirt"), "gcc"),
    Package("libc6-dev", ("kernel", "qemu"), "usr/include/stdio.h"),
    Package("ccache", ("kernel", "qemu"), "ccache"),
    Package("make", ("kernel", "qemu"), "make"),
    Package("flex", ("kernel", "qemu"), "flex"),
    Package("bison", ("kernel", "qemu"), "bison"),
    Package("bc", ("kernel",), "bc"),
    Package("perl", ("kernel", "qemu"), "perl"),
    Package("libelf-dev", ("kernel",), "usr/include/gelf.h"),
    Package("libssl-dev", ("kernel",), "usr/include/openssl/ssl.h"),
    Package("python3-venv", ("venv", "qemu"), "usr/lib/python3*/ensurepip"),
    Package("pkgconf", ("qemu", "libvirt"), "pkg-config"),
    Package("libglib2.0-dev", ("qemu",), f"{_LIB}/pkgconfig/glib-2.0.pc"),
    Package("libslirp-dev", ("qemu",), f"{_LIB}/pkgconfig/slirp.pc"),
    Package("zlib1g-dev", ("qemu",), f"{_LIB}/pkgconfig/zlib.pc"),
    Package("libseccomp-dev", ("qemu",), f"{_LIB}/pkgconfig/libseccomp.pc"),
    Package("libgnutls28-dev", ("qemu",), f"{_LIB}/pkgconfig/gnutls.pc"),
    Package("mmdebstrap", ("image",), "mmdebstrap"),
    Package("erofs-utils", ("image",), "mkfs.erofs"),
    Package("fakeroot", ("image",), "fakeroot"),
    Package("clang", ("sanitize",), "clang"),
    Package("libclang-rt-dev", ("sanitize",), "usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.fuzzer-x86_64.a"),
    Package("libvirt-daemon-driver-qemu", ("libvirt",), f"{_LIB}/libvirt/connection-driver/libvirt_driver_qemu.so"),
    Package("libvirt-daemon", ("libvirt",), "libvirtd"),
    Package("libvirt-clients", ("libvirt",), "virsh"),
    Package("libvirt-dev", ("libvirt",), f"{_LIB}/pkgconfig/libvirt.pc"),
    Package("python3-dev", ("libvirt",), "usr/include/python3*/Python.h"),
    Package("iproute2", ("libvirt",), "ip"),
    Package("openssh-client", ("libvirt",), "ssh"),
    Package("qemu-system-x86", ("distribution",), "usr/bin/qemu-system-x86_64"),
    Package("busybox-static", ("distribution",), "usr/bin/busybox"),
    Package("kmod", ("distribution",), "depmod"),
    Package("cpio", ("distribution",), "cpio"),
    Package("seabios", ("guest",), "usr/share/seabios/bios-256k.bin"),
    Package("qemu-system-data", ("guest",), "usr/share/qemu/linuxboot_dma.bin"),
)
#: mmdebstrap makes a root file system without being root with the help of this.
_NOT_ROOT = Package("uidmap", ("image",), "newuidmap")


def missing(purposes: Iterable[Purpose] | None = None) -> list[Package]:
    """Return the packages that are not installed, of all but the long proofs' purposes unless some are named."""
    wanted = {*get_args(Purpose)} - _ON_DEMAND if purposes is None else set(purposes)
    candidates = (*PACKAGES, _NOT_ROOT) if os.geteuid() else PACKAGES
    return [p for p in candidates if wanted & set(p.purposes) and not p.present]


def install_line(packages: Iterable[Package]) -> str:
    """Return the command that installs ``packages``, ready to paste."""
    sudo = "sudo " if os.geteuid() else ""
    return f"{sudo}apt-get install --no-install-recommends -y {' '.join(p.name for p in packages)}"


def require(*purposes: Purpose) -> None:
    """See that all packages of these purposes are there.

    :raise PreconditionError: some are missing; its hint installs them.
    """
    if absent := missing(purposes):
        names = ", ".join(p.name for p in absent)
        raise PreconditionError(f"missing packages: {names}", hint=f"run: {install_line(absent)}")
