"""Compiles the bare guest: a ROM of 64 KiB that QEMU takes for its firmware, most of it empty."""

from pathlib import Path

from fastballoon_cli.process import run

__all__ = ["SLOT_SIZE", "build_image"]

_HERE = Path(__file__).parent
_SOURCES = ("boot.S", "guest.c", "answers.c", "pages.c", "serial.c", "virtio.c")
#: Nothing but the compiler: no library, no unit that the guest would have to switch on, no code that needs relocation.
_FLAGS = (
    *("-m32", "-march=i686", "-mgeneral-regs-only", "-Os", "-std=gnu11", "-Wall", "-Wextra", "-Werror"),
    *("-ffreestanding", "-fno-pic", "-no-pie", "-fno-stack-protector", "-fno-asynchronous-unwind-tables"),
    *("-fcf-protection=none", "-fno-tree-loop-distribute-patterns", "-nostdlib", "-static"),
)
#: Bytes of a request's slot, see docs/protocol.md.
SLOT_SIZE = 32


def build_image(folder: Path) -> Path:
    """Compile the guest in ``folder`` and return the ROM."""
    program, rom = folder / "guest.elf", folder / "guest.rom"
    sources = [_HERE / name for name in _SOURCES]
    linked = ("-Wl,--build-id=none,-z,noexecstack,--no-warn-rwx-segments", "-T", _HERE / "guest.ld", "-o", program)
    run(["gcc", *_FLAGS, f"-DSLOT_SIZE={SLOT_SIZE}", *linked, *sources])
    run(["objcopy", "-O", "binary", "-j", ".text", "-j", ".reset", program, rom])
    return rom
