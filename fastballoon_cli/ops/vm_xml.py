"""Give a domain of libvirt the features of fastballoon's QEMU."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from fastballoon_cli import build
from fastballoon_cli.errors import PreconditionError, QmpError
from fastballoon_cli.libvirt.connection import Connection, virsh
from fastballoon_cli.libvirt.description import FEATURES
from fastballoon_cli.libvirt.domain import LibvirtDomain
from fastballoon_cli.libvirt.extend import Extended, extend
from fastballoon_cli.progress import Progress, Silent
from fastballoon_cli.qemu.features import abilities

__all__ = ["Prepared", "prepare"]

_DEVICE = "virtio-balloon-pci"
#: Of the package qemu-system-x86-fastballoon.
_INSTALLED = Path("/usr/bin/qemu-system-x86_64-fastballoon")


@dataclass(frozen=True)
class Prepared:
    """What was added, or is to be.

    :ivar runs: whether the domain runs, and has to be shut down and started for it to take effect.
    :ivar uri: where it is, as libvirt writes it.
    """

    extended: Extended
    runs: bool
    uri: str


def prepare(uri: str, name: str, *, emulator: Path | None, apply: bool, progress: Progress) -> Prepared:
    """Return what a domain needs, and have libvirt define it so.

    :param uri: as virsh takes it; nothing for libvirt's own default.
    :param emulator: a QEMU with the series, on the domain's host; None for the domain's own if it has it, or else
        the package's, or else the one that was built here.
    :param apply: have libvirt define the domain with it; what runs goes on as it is.
    :raise PreconditionError: there is no such domain, no balloon in it, or no QEMU with the series; or that QEMU lacks
        what the domain has, and libvirt does not define it so.
    """
    connection = Connection(uri)
    domain = LibvirtDomain(connection, connection.find(name))
    xml = domain.defined()
    firmware: tuple[Path, ...] = ()
    features: Collection[str] = FEATURES
    if connection.local:
        own = domain.emulator()
        if emulator is None and not (own and _has_series(own)):
            emulator, firmware = _ours()
        try:
            features = _features(emulator or own or Path())
        except QmpError as e:
            raise PreconditionError(
                f"the emulator does not run: {e.message}", hint="name another one with --emulator", details=e.details
            ) from e
        if not features:
            raise PreconditionError(
                f"{emulator or own} does not have fastballoon's series: its balloon has no '{FEATURES[0]}'",
                hint="name one that has it with --emulator, or build it: fastballoon build qemu",
            )
    extended = extend(
        xml, libvirt_version=connection.version(), emulator=emulator, firmware=firmware, features=features
    )
    if apply and extended.added:
        progress.step(f"Defining '{name}'")
        try:
            connection.define(extended.xml)
        except QmpError as e:
            raise _lacking(name, emulator or domain.emulator(), connection.uri, e) from e
    return Prepared(extended, domain.runs(), connection.uri)


def _lacking(name: str, emulator: Path | None, uri: str, error: QmpError) -> PreconditionError:
    """Return the error that libvirt does not take a domain with an emulator."""
    return PreconditionError(
        f"'{name}' stays as it was, as it cannot have {emulator or 'this emulator'}: {error.message}",
        hint="the QEMU that is built here has no displays, sound or USB redirection: take these devices out of the "
        f"domain ({virsh(uri, 'edit', name)}), or give --emulator a QEMU of your own with the series "
        "(scripts/series apply qemu)",
    )


def _features(emulator: Path) -> list[str]:
    """Return the features of the series that a QEMU has.

    :raise QmpError: it does not run.
    """
    known = abilities(emulator, _DEVICE).properties
    return [feature for feature in FEATURES if feature in known]


def _has_series(emulator: Path) -> bool:
    try:
        return bool(_features(emulator))
    except QmpError:
        return False


def _ours() -> tuple[Path, tuple[Path, ...]]:
    """Return a QEMU with the series, and the folders of its firmware where it does not know them."""
    if _INSTALLED.exists():
        return _INSTALLED, ()
    fast = build.Variant.FAST
    if not build.plan_qemu(fast).cached:
        raise PreconditionError(
            "no QEMU with fastballoon's series has been built here",
            hint="install the package qemu-system-x86-fastballoon, or: fastballoon build qemu; or name one: --emulator "
            "PATH",
        )
    built = build.qemu(fast, Silent())
    return built.binary, tuple(built.firmware)
