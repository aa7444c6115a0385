"""A QEMU to run upstream's tests with: ours or the unmodified one, behind a script that mends the command line.

The builds here are small and have no firmware of their own, and some machines have a /dev/kvm that boots no guest.
"""

import sys
from pathlib import Path

_SCRIPT = """#!{python} -IS
import os, sys
arguments, more = sys.argv[1:], {more!r}
if not {kvm!r}:
    while (at := next((i for i, a in enumerate(arguments[:-1]) if a == "-accel" and arguments[i + 1].startswith("kvm")),
                      None)) is not None:
        del arguments[at:at + 2]
machine = next((b for a, b in zip(arguments, arguments[1:]) if a in ("-machine", "-M")), "")
if machine.startswith(("pc", "q35")):
    more += {forced!r}
os.execv({binary!r}, [{binary!r}, *more, *arguments])
"""
#: Skipping is on, and there is a device that asks.
FORCED = (
    *("-global", "migration.x-skip-free-pages=on"),
    *("-device", "virtio-balloon-pci,x-page-bitmap=on,x-drop-cache=on,x-free-pages=on"),
)


def wrapped(binary: Path, firmware: list[Path], folder: Path, *, kvm: bool, forced: tuple[str, ...] = ()) -> Path:
    """Write the script into a folder and return its path.

    :param kvm: whether guests boot on KVM here.
    :param forced: further arguments where the machine has PCI.
    """
    more = [word for path in firmware for word in ("-L", str(path))]
    # Debian has their ROMs in a package of its own, and nobody boots from these.
    for card in ("e1000", "e1000e"):
        more += ["-global", f"{card}.romfile="]
    script = folder / "qemu-system-x86_64"
    script.write_text(
        _SCRIPT.format(python=sys.executable, more=more, kvm=kvm, forced=list(forced), binary=str(binary))
    )
    script.chmod(0o755)
    return script
