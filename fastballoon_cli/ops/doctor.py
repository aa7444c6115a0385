"""What this machine can do, and how to mend what it can't. Looks only: builds nothing and starts no VM."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fastballoon_cli import build
from fastballoon_cli.build.packages import install_line, missing
from fastballoon_cli.config import cache_dir, runtime_dir
from fastballoon_cli.errors import FastballoonError, PreconditionError
from fastballoon_cli.host import procfs
from fastballoon_cli.machine import accel, registry
from fastballoon_cli.machine.registry import Record
from fastballoon_cli.machine.spec import SOCKET_PATH
from fastballoon_cli.ops import status as vm_status
from fastballoon_cli.ops import vm as vm_ops
from fastballoon_cli.ops.findings import Check, Status
from fastballoon_cli.progress import Progress, Silent
from fastballoon_cli.qemu.features import abilities
from fastballoon_cli.units import GIB, MIB, format_size

__all__ = ["examine"]

_BUILD = "fastballoon build"
_BUILD_STOCK = "fastballoon build --variant stock"
#: What building everything from nothing takes: sources, git objects, objects, compiler caches (see each build's need).
_NEED_TO_BUILD = 8 * GIB
#: What guests write: logs, keys, and the next small change of a build.
_NEED_TO_RUN = 1 * GIB
_GUEST = vm_ops.Request().memory_bytes
_SMALLEST_GUEST = 256 * MIB
_BESIDE_GUEST = 512 * MIB
_DEVICE = "virtio-balloon-pci"
#: Property of a patched QEMU's balloon -> what it brings.
_FEATURES = {
    "x-page-bitmap": "page bitmaps",
    "x-drop-cache": "dropping the guest's cache",
    "x-free-pages": "free pages",
}


@dataclass(frozen=True)
class _Built:
    """What would be built, and what is there of it."""

    plans: dict[str, build.Plan]

    def has(self, *artifacts: str) -> bool:
        """Say whether all of these are there."""
        return all(name in self.plans and self.plans[name].cached for name in artifacts)

    @property
    def fast(self) -> bool:
        """Whether all is there that a fast guest needs."""
        return self.has("kernel-fast", "qemu-fast", "image")


def examine(vm: str, progress: Progress) -> list[Check]:
    """Look at everything that the main job, building guests and inflating their balloons, depends on.

    :param vm: the VM whose guest is asked what it has agreed on, if it runs.
    """
    built = _Built(_plans())
    probes: dict[str, Callable[[], Check]] = {
        "accelerator": lambda: _accelerator(built, progress),
        "memory": _memory,
        "disk": lambda: _disk(built),
        "host THP": _thp,
        "packages": lambda: _packages(built),
        "build cache": lambda: _cache(built),
        "QEMU": lambda: _qemu(built),
        "guest": lambda: _guest(built, vm),
        "VM folder": _runtime,
        "SSH": _ssh,
    }
    checks = []
    for name, probe in probes.items():
        progress.step(f"Looking at {name}")
        try:
            checks.append(probe())
        except FastballoonError as e:
            # One thing that cannot be found out is a finding, and no reason to hide the others.
            checks.append(Check(name, Status.FAIL, e.message, e.hint))
        except OSError as e:
            checks.append(Check(name, Status.FAIL, f"cannot be found out: {e}"))
    return checks


def _plans() -> dict[str, build.Plan]:
    plans = {}
    for variant in build.COMMON:
        for plan in (build.plan_kernel, build.plan_qemu):
            try:
                one = plan(variant)
            except PreconditionError:
                continue  # no compiler, say: the packages' line tells
            plans[one.artifact] = one
    image = build.plan_image()
    return {**plans, image.artifact: image}


def _accelerator(built: _Built, progress: Progress) -> Check:
    name = "accelerator"
    if not built.fast:
        return Check(name, Status.WARN, "unknown until there is a guest kernel to boot", _BUILD)
    qemu, kernel = build.qemu(build.Variant.FAST, Silent()), build.kernel(build.Variant.FAST, Silent())
    try:
        accel.choose("kvm", qemu=qemu.binary, firmware=tuple(qemu.firmware), kernel=kernel.bzimage, progress=progress)
    except PreconditionError as e:
        return Check(
            name,
            Status.WARN,
            f"TCG: guests run, slowly. {e.message}",
            "load kvm_intel or kvm_amd and join the group kvm; inside a VM, have its host allow nested virtualization",
        )
    return Check(name, Status.OK, "KVM: a guest kernel was booted on it")


def _memory() -> Check:
    available = procfs.mem_available()
    found = f"{format_size(available)} available"
    fits = (available - _BESIDE_GUEST) // MIB * MIB
    if fits >= _GUEST:
        return Check("memory", Status.OK, found)
    if fits >= _SMALLEST_GUEST:
        hint = f"stop other VMs (fastballoon vm list), or: fastballoon vm start --memory {fits // MIB}M"
        return Check("memory", Status.WARN, f"{found}, too little for the default guest of {format_size(_GUEST)}", hint)
    return Check("memory", Status.FAIL, f"{found}, too little for any guest", "stop other VMs or programs")


def _disk(built: _Built) -> Check:
    folder = _existing(cache_dir())
    free = shutil.disk_usage(folder).free
    found = f"{format_size(free)} free in {folder}"
    need = _NEED_TO_RUN if built.fast else _NEED_TO_BUILD
    if free >= need:
        return Check("disk", Status.OK, found)
    hint = "free some, or set FASTBALLOON_CACHE to a folder on another disk"
    if built.fast:
        return Check("disk", Status.WARN, f"{found}: enough for guests, not for another build", hint)
    return Check("disk", Status.FAIL, f"{found}, and a build needs {format_size(need)}", hint)


def _existing(path: Path) -> Path:
    """Return the nearest folder above that is there."""
    return next(folder for folder in (path, *path.parents) if folder.exists())


def _thp() -> Check:
    setting = procfs.thp_setting()
    if setting in ("always", "madvise"):
        return Check("host THP", Status.OK, setting)
    hint = "as root: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled"
    if setting == "absent":
        hint = "use a host kernel with CONFIG_TRANSPARENT_HUGEPAGE"
    return Check("host THP", Status.WARN, f"{setting}: guests get pages of 4 KiB, which take longer to give back", hint)


def _packages(built: _Built) -> Check:
    absent = missing()
    if not absent:
        return Check("packages", Status.OK, "all that builds and guests need")
    names = ", ".join(package.name for package in absent)
    needed = not built.fast or any("guest" in package.purposes for package in absent)
    status = Status.FAIL if needed else Status.WARN
    what = "" if needed else ", which only another build needs"
    return Check("packages", status, f"missing: {names}{what}", install_line(absent))


def _cache(built: _Built) -> Check:
    sizes = {name: _size(plan.directory) for name, plan in built.plans.items() if plan.directory}
    found = ", ".join(f"{name} {format_size(size)}" for name, size in sizes.items()) or "empty"
    found += f" (in {cache_dir()})"
    if not built.fast:
        return Check("build cache", Status.WARN, found, _BUILD)
    if not built.has(*built.plans):
        return Check("build cache", Status.WARN, f"{found}; a bench needs the unmodified pair, too", _BUILD_STOCK)
    return Check("build cache", Status.OK, found)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _qemu(built: _Built) -> Check:
    if not built.has("qemu-fast"):
        return Check("QEMU", Status.WARN, "not built", f"{_BUILD} qemu")
    qemu = build.qemu(build.Variant.FAST, Silent())
    properties = abilities(qemu.binary, _DEVICE).properties
    having = [what for name, what in _FEATURES.items() if name in properties]
    found = f"{qemu.version}: {', '.join(having) or 'nothing of the series'}"
    if "x-page-bitmap" not in properties:
        return Check("QEMU", Status.FAIL, found, f"remove {qemu.dir}, then: {_BUILD} qemu")
    return Check("QEMU", Status.OK, found)


def _guest(built: _Built, vm: str) -> Check:
    if not built.has("kernel-fast"):
        return Check("guest", Status.WARN, "its kernel is not built", f"{_BUILD} kernel")
    kernel = build.kernel(build.Variant.FAST, Silent())
    found = f"kernel {kernel.release}, series {(kernel.series_sha256 or 'none')[:12]}"
    record = registry.load(vm)
    if not isinstance(record, Record) or not record.alive or not record.ready:
        return Check("guest", Status.OK, f"{found}; VM '{vm}' does not run, so nothing is negotiated")
    status = vm_status.status(vm)
    found += f"; VM '{vm}' has agreed on {status['method']}"
    fast = status["kernel_variant"] == status["qemu_variant"] == "fast"
    if fast and status["method"] != "page-bitmap":
        return Check("guest", Status.WARN, found, f"see the guest's log: fastballoon --vm {vm} vm console --log")
    return Check("guest", Status.OK, found)


def _runtime() -> Check:
    folder = runtime_dir()
    longest = max(len(str(folder / "default" / "99" / name)) for name in ("observer.sock", "migration.sock"))
    if longest >= SOCKET_PATH:
        hint = "set FASTBALLOON_RUNTIME to a shorter path, such as /tmp/fb"
        return Check("VM folder", Status.FAIL, f"{folder}: too long for the path of a unix socket", hint)
    return Check("VM folder", Status.OK, str(folder))


def _ssh() -> Check:
    # The tool itself brings a client of its own, and makes the keys; only people need OpenSSH's.
    if shutil.which("ssh"):
        return Check("SSH", Status.OK, "keys are made per VM; 'vm ssh' uses OpenSSH's client")
    return Check("SSH", Status.WARN, "no client: 'vm ssh' cannot be used", "apt-get install openssh-client")
