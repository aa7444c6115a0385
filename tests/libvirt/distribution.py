"""A guest of the distribution's own kernel, and nothing of ours: started by the distribution's own QEMU."""

import gzip
import os
import platform
import re
import shutil
import subprocess
import textwrap
from pathlib import Path

EMULATOR = Path("/usr/bin/qemu-system-x86_64")
_BUSYBOX = Path("/usr/bin/busybox")
_METAPACKAGE = "linux-image-cloud-amd64"
_MODULES = ("virtio_pci", "virtio_balloon")
#: Writes to half of its memory and has it free again: what is never touched, no balloon gives back to the host.
_INIT = """\
#!/bin/sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
for module in {modules}; do modprobe $module; done
mount -t tmpfs -o size=100% tmpfs /touched
dd if=/dev/zero of=/touched/file bs=1M count={touched_mib} 2>/dev/null
rm /touched/file
echo "fastballoon: ready" >/dev/console
while :; do sleep 1000; done
"""
_XML = """
<domain type='qemu'>
  <name>{name}</name>
  <memory unit='MiB'>{memory_mib}</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
    <kernel>{kernel}</kernel>
    <initrd>{initrd}</initrd>
    <cmdline>console=ttyS0 quiet panic=-1</cmdline>
  </os>
  <features><acpi/></features>
  <cpu mode='custom' match='exact' check='none'><model fallback='allow'>qemu64</model></cpu>
  <devices>
    <emulator>{emulator}</emulator>
    <controller type='usb' model='none'/>
    <serial type='file'><source path='{console}' append='on'/><target port='0'/></serial>
    <memballoon model='virtio'/>
  </devices>
</domain>
"""


def lacking() -> str | None:
    """Return why there can be no such guest; None if there can."""
    if platform.freedesktop_os_release().get("ID") != "debian":
        return "this is not Debian, whose kernel is to be fetched by apt-get"
    for path in (EMULATOR, _BUSYBOX):
        if not path.exists():
            return f"there is no {path}: apt-get install qemu-system-x86 busybox-static"
    for program in ("depmod", "cpio"):
        if not shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"):
            return f"there is no '{program}': apt-get install kmod cpio"
    return None


def fetch_kernel(folder: Path) -> Path:
    """Download the distribution's kernel for VMs and unpack it; nothing is installed.

    :return: a folder with ``boot`` and ``lib/modules``.
    """
    depends = _run("apt-cache", "depends", _METAPACKAGE, folder=folder)
    package = re.search(r"Depends: (linux-image-\S+)", depends)
    assert package is not None, depends
    _run("apt-get", "-qq", "download", package[1], folder=folder)
    (archive,) = folder.glob("linux-image-*.deb")
    unpacked = folder / "kernel"
    _run("dpkg", "--extract", str(archive), str(unpacked), folder=folder)
    # Of Debian 13 and later they are compressed, which not every busybox takes.
    for module in unpacked.rglob("*.ko.xz"):
        _run("xz", "--decompress", str(module), folder=folder)
    return unpacked


def make_initrd(kernel: Path, folder: Path, *, touched_mib: int) -> Path:
    """Make a root file system of busybox and of the modules that a balloon needs."""
    root, modules = folder / "root", kernel / "lib/modules"
    (release,) = (path.name for path in modules.iterdir())
    for name in ("bin", "proc", "sys", "dev", "touched"):
        (root / name).mkdir(parents=True)
    shutil.copy2(_BUSYBOX, root / "bin/busybox")
    (root / "bin/sh").symlink_to("busybox")
    (root / "sbin").symlink_to("bin")
    shutil.copytree(modules / release / "kernel/drivers/virtio", root / f"lib/modules/{release}/kernel/drivers/virtio")
    _run("/sbin/depmod", "--basedir", str(root), release, folder=folder)
    init = root / "init"
    init.write_text(_INIT.format(modules=" ".join(_MODULES), touched_mib=touched_mib))
    init.chmod(0o755)
    names = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
    made = subprocess.run(
        ["cpio", "--quiet", "-o", "-H", "newc"], cwd=root, input=names.encode(), capture_output=True, check=True
    )
    initrd = folder / "initrd.gz"
    initrd.write_bytes(gzip.compress(made.stdout, compresslevel=1))
    return initrd


def domain_xml(name: str, kernel: Path, initrd: Path, console: Path, *, memory_mib: int) -> str:
    """Return a domain as its user might write it."""
    (image,) = (kernel / "boot").glob("vmlinuz-*")
    return textwrap.dedent(_XML).format(
        name=name, kernel=image, initrd=initrd, console=console, emulator=EMULATOR, memory_mib=memory_mib
    )


def _run(*words: str, folder: Path) -> str:
    ran = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, f"{' '.join(words)}: exit {ran.returncode}\n{ran.stderr}"
    return ran.stdout
