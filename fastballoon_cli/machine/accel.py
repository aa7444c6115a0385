"""Which accelerator runs guests here: found out by running one, as a /dev/kvm that opens proves nothing."""

import hashlib
import json
import os
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from fastballoon_cli.aside import write_whole
from fastballoon_cli.config import cache_dir
from fastballoon_cli.errors import PreconditionError
from fastballoon_cli.process import Guarded
from fastballoon_cli.progress import Progress

__all__ = ["choose"]

_KVM = Path("/dev/kvm")
#: A guest kernel under working KVM reaches its panic for want of a root in well under a second.
_PROBE_SECONDS = 8
#: Pairs of QEMU and kernel whose probes are remembered: those of a few variants, of a few builds.
_REMEMBERED = 32


def choose(wanted: str, *, qemu: Path, firmware: tuple[Path, ...], kernel: Path, progress: Progress) -> str:
    """Return ``kvm`` or ``tcg`` for ``wanted``, which is one of them or ``auto``.

    Who asks for ``kvm`` has it tried again where it could not be used before.

    :raise PreconditionError: KVM was asked for and runs no guest here.
    """
    if wanted == "tcg":
        return "tcg"
    reason = _why_not_kvm(qemu, firmware, kernel, progress, again=wanted == "kvm")
    if reason is None:
        return "kvm"
    if wanted == "kvm":
        raise PreconditionError(f"KVM cannot be used: {reason}", hint="use --accel tcg (slower), or --accel auto")
    return "tcg"


def _why_not_kvm(
    qemu: Path, firmware: tuple[Path, ...], kernel: Path, progress: Progress, *, again: bool
) -> str | None:
    if not _KVM.exists():
        return f"there is no {_KVM}"
    if not os.access(_KVM, os.R_OK | os.W_OK):
        return f"{_KVM} may not be opened by this user"
    remembered = cache_dir() / "kvm-probe.json"
    key = _probe_key(qemu, kernel)
    known = _recall(remembered)
    if key in known and not (again and known[key]):
        return known[key]
    progress.step("Probing KVM by booting a guest kernel")
    try:
        reason = _probe(qemu, firmware, kernel)
    except subprocess.TimeoutExpired:
        # Nothing to be remembered: the host may have been busy.
        return f"a guest kernel did not boot within {_PROBE_SECONDS} s"
    with suppress(OSError):  # the cache may be another user's
        known.pop(key, None)
        latest = [*known.items(), (key, reason)][-_REMEMBERED:]
        write_whole(remembered, json.dumps(dict(latest)))
    return reason


def _recall(remembered: Path) -> dict[str, str | None]:
    try:
        known = json.loads(remembered.read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _probe_key(qemu: Path, kernel: Path) -> str:
    # A reboot may bring other modules and another nested setting.
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return hashlib.sha256(f"{boot}\n{qemu}\n{kernel}".encode()).hexdigest()


def _probe(qemu: Path, firmware: tuple[Path, ...], kernel: Path) -> str | None:
    """Boot a kernel without a root: it panics, ``panic=-1`` reboots it, and ``-no-reboot`` ends QEMU.

    :raise subprocess.TimeoutExpired: that takes too long.
    """
    argv = [
        str(qemu),
        *("-machine", "pc"),
        *("-accel", "kvm"),
        *("-cpu", "host"),
        *("-m", "256M"),
        *("-nodefaults", "-no-user-config", "-no-reboot"),
        *("-display", "none"),
        *(word for folder in firmware for word in ("-L", str(folder))),
        *("-kernel", str(kernel)),
        *("-append", "console=ttyS0 panic=-1"),
        *("-serial", "stdio"),
    ]
    with tempfile.TemporaryFile() as output:
        guest = Guarded(argv, stdout=output)
        try:
            status = guest.wait(_PROBE_SECONDS)
        finally:
            guest.kill()
        output.seek(0)
        text = output.read().decode(errors="replace")
    if status or "Linux version" not in text:
        last = text.strip().splitlines()[-1:] or ["no output"]
        return f"QEMU ended with status {status}: {last[0]}"
    return None
