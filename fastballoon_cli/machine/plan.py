"""What a VM that is to be started needs: builds, and a command line."""

import sys
from dataclasses import dataclass
from typing import Any

from fastballoon_cli import build
from fastballoon_cli.errors import UsageError
from fastballoon_cli.host.room import free_port
from fastballoon_cli.machine import accel, registry
from fastballoon_cli.machine.furnish import furnish
from fastballoon_cli.machine.spec import DEFAULT_MEMORY_BYTES, Extras, QemuSpec
from fastballoon_cli.process import paste
from fastballoon_cli.progress import Progress
from fastballoon_cli.qemu.features import abilities, with_features
from fastballoon_cli.units import MIB, format_size

__all__ = ["Request", "StartPlan", "check", "missing", "plan"]

_MIN_MEMORY = 256 * MIB
_BALLOON = "virtio-balloon-pci"


@dataclass(frozen=True, kw_only=True)
class Request(Extras):
    """What a user asks for.

    :ivar guest: a distribution whose kernel it boots, see :class:`fastballoon_cli.build.Distribution`; empty for the
        small one that is built here.
    :ivar kernel, qemu: a variant that a guest can be started with; any pair works.
    :ivar balloon_options: properties for the balloon device, such as ``deflate-on-oom=on``.
    :ivar append: further words for the guest kernel's command line.
    """

    name: str = "default"
    memory_bytes: int = DEFAULT_MEMORY_BYTES
    cpus: int = 2
    accel: str = "auto"
    guest: str = ""
    kernel: str = "fast"
    qemu: str = "fast"
    balloon_options: str = ""
    append: str = ""


@dataclass(frozen=True)
class StartPlan:
    """A VM that could be started now."""

    spec: QemuSpec
    built: dict[str, Any]

    def commands(self) -> list[str]:
        """Return what makes the VM's folder, and QEMU's command line, ready to paste."""
        return [
            paste([sys.executable, "-m", furnish.__module__, self.spec.directory]),
            paste(self.spec.argv()),
        ]


def check(request: Request) -> None:
    """Check what can be checked before anything is built.

    :raise UsageError: a value that cannot be right.
    """
    registry.vm_dir(request.name)
    if request.memory_bytes < _MIN_MEMORY or request.memory_bytes % MIB:
        raise UsageError(
            f"{format_size(request.memory_bytes)} cannot be a VM's memory",
            hint=f"use whole MiB, at least {format_size(_MIN_MEMORY)}",
        )
    build.check_guest_kernel(request.guest, build.Variant(request.kernel))
    if request.cpus < 1:
        raise UsageError(f"{request.cpus} cannot be a number of CPUs", hint="use 1 or more")


def missing(request: Request) -> list[str]:
    """Return the commands that build what the VM needs and is not there, if anything."""
    of = f" --guest {request.guest}" if request.guest else ""
    plans = {
        f"qemu --variant {request.qemu}": build.plan_qemu(build.Variant(request.qemu)),
        f"kernel --variant {request.kernel}{of}": build.plan_guest_kernel(request.guest, build.Variant(request.kernel)),
        "image": build.plan_image(),
    }
    return [f"fastballoon build {what}" for what, plan in plans.items() if not plan.cached]


def plan(request: Request, progress: Progress) -> StartPlan:
    """Build what the VM needs and lay out its command line.

    :raise UsageError: values that cannot be right.
    :raise PreconditionError: KVM asked for and not usable, or a build failed.
    """
    directory = registry.vm_dir(request.name)
    check(request)
    qemu = build.qemu(build.Variant(request.qemu), progress)
    kernel = build.guest_kernel(request.guest, build.Variant(request.kernel), progress)
    image = build.image(progress)
    firmware = tuple(qemu.firmware)
    options = request.balloon_options
    able = abilities(qemu.binary, _BALLOON)
    if request.qemu != build.Variant.STOCK:
        options = with_features(options, able.properties)
    spec = QemuSpec(
        name=request.name,
        binary=qemu.binary,
        firmware=firmware,
        kernel=kernel.bzimage,
        initrd=kernel.initrd,
        rootfs=image.rootfs,
        memory_bytes=request.memory_bytes,
        cpus=request.cpus,
        accel=accel.choose(
            request.accel, qemu=qemu.binary, firmware=firmware, kernel=kernel.bzimage, progress=progress
        ),
        balloon_options=options,
        append=request.append,
        **request.extras(),
        sandbox=able.sandbox,
        ssh_port=free_port(),
        directory=directory,
    )
    built = {
        "qemu_version": qemu.version,
        "qemu_sha256": qemu.sha256,
        "qemu_series_sha256": qemu.series_sha256,
        "kernel_series_sha256": kernel.series_sha256,
        "guest": request.guest or None,
    }
    return StartPlan(spec, built)
