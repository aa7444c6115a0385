"""The QEMU command line of a VM: data in, argv out. Nothing here touches the machine."""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from fastballoon_cli.qemu.virtio_mem import VIRTIO_MEM_ID
from fastballoon_cli.units import GIB, MIB

__all__ = ["BALLOON_ID", "DEFAULT_MEMORY_BYTES", "SOCKET_PATH", "SSH_GUEST_PORT", "Extras", "QemuSpec"]

#: QOM id of the balloon device, below /machine/peripheral.
BALLOON_ID = "balloon0"
SSH_GUEST_PORT = 22
#: Of a guest for which no other size was asked.
DEFAULT_MEMORY_BYTES = 4 * GIB
#: A unix socket's path may have so many bytes, the 0 at its end included.
SOCKET_PATH = 108
_HINT_THREAD = "hints"

_SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
#: "opt/" and a reversed domain name (docs/specs/fw_cfg.rst), below a top-level domain that is nobody's.
_FW_CFG = "opt/localhost.fastballoon"
#: The plainest one: "max" has string instructions and vector units that TCG runs slower than plain loops.
_TCG_CPU = "qemu64"
#: A guest kernel looks whether its timer's interrupts and its clock come as they should. Where the host is busy,
#: emulated ones come late: the kernel panics while it boots, or leaves its clock for one that is slow to read.
_TCG_KERNEL_ARGS = "no_timer_check tsc=reliable"


@dataclass(frozen=True, kw_only=True)
class Extras:
    """What only some guests have, all of it absent by default: as it is asked for, so it is run.

    :ivar pluggable_bytes: how much of the memory is lent by a virtio-mem device, all of it at first; 0 for no such
        device.
    :ivar zero_disk_bytes: size of a second disk that reads as zeros and lies nowhere; 0 for none.
    :ivar zero_image: an image of :func:`fastballoon_cli.build.zeros` that is the second disk instead; None for none.
    :ivar zero_disk_leaves_buffers: that disk is read in no time and leaves in memory whatever was there.
    :ivar scratch_disk_bytes: size of a further disk that keeps what is written and goes with the VM; 0 for none.
    :ivar shared_memory: the guest's memory is a memfd, as for a device that runs in another process (vhost-user).
    """

    pluggable_bytes: int = 0
    zero_disk_bytes: int = 0
    zero_image: Path | None = None
    scratch_disk_bytes: int = 0
    zero_disk_leaves_buffers: bool = False
    shared_memory: bool = False

    def extras(self) -> dict[str, Any]:
        """Return these by their names, to be handed on."""
        return {one.name: getattr(self, one.name) for one in fields(Extras)}


@dataclass(frozen=True, kw_only=True)
class QemuSpec(Extras):
    """Everything that decides how a guest is run.

    :ivar firmware: folders for ``-L``, searched in order.
    :ivar initrd: of a kernel that needs modules to find its root file system; None for none.
    :ivar accel: ``kvm`` or ``tcg``, already decided.
    :ivar balloon_options: properties of virtio-balloon-pci, ready to append to ``-device``; may be empty.
    :ivar memory_bytes: all of the guest's memory, what virtio-mem can take away included.
    :ivar sandbox: QEMU confines itself by seccomp, as a guest that takes it over is not to start programs.
    :ivar append: further words for the guest kernel's command line.
    :ivar ssh_port: port on 127.0.0.1 that is forwarded to the guest's sshd.
    :ivar directory: the VM's own folder; sockets, logs and keys live there.
    :ivar generation: 0 for the QEMU that boots the guest. Each migration adds 1; all but the first wait for a guest.
    """

    name: str
    binary: Path
    firmware: tuple[Path, ...]
    kernel: Path
    initrd: Path | None = None
    rootfs: Path
    memory_bytes: int
    cpus: int
    accel: str
    balloon_options: str
    append: str
    ssh_port: int
    directory: Path
    sandbox: bool = False
    generation: int = 0

    def successor(self, ssh_port: int) -> "QemuSpec":
        """Return what a QEMU must be like for this one to migrate its guest there.

        :param ssh_port: its own port on 127.0.0.1, as this QEMU still has the other one.
        """
        return replace(self, generation=self.generation + 1, ssh_port=ssh_port)

    @property
    def process_directory(self) -> Path:
        """The folder of this one QEMU process, in the VM's own: while it migrates, a VM has two of them."""
        return self.directory / str(self.generation)

    @property
    def qmp_socket(self) -> Path:
        """Monitor of whoever holds the VM's lock."""
        return self.process_directory / "qmp.sock"

    @property
    def observer_socket(self) -> Path:
        """Monitor of those who only look: one client per socket, a second would hang."""
        return self.process_directory / "observer.sock"

    @property
    def console_socket(self) -> Path:
        """The guest's serial console."""
        return self.process_directory / "console.sock"

    @property
    def migration_socket(self) -> Path:
        """Where this QEMU waits for its guest, unless it boots it itself."""
        return self.process_directory / "migration.sock"

    @property
    def console_log(self) -> Path:
        """All that the guest ever wrote to its serial console."""
        return self.directory / "console.log"

    @property
    def qemu_log(self) -> Path:
        """QEMU's own output."""
        return self.process_directory / "qemu.log"

    @property
    def scratch_disk(self) -> Path:
        """A file of :attr:`scratch_disk_bytes`, if there is such a disk."""
        return self.directory / "scratch.img"

    def fw_cfg_file(self, name: str) -> Path:
        """Return where a file lies that the guest's init reads from fw_cfg."""
        return self.directory / name

    def argv(self) -> list[str]:
        """Return the command line, one option per line of this method."""
        accel = "tcg,thread=multi" if self.accel == "tcg" else self.accel
        thread = f"iothread={_HINT_THREAD}" if self._hint_thread() else ""
        balloon = ",".join(filter(None, [f"virtio-balloon-pci,id={BALLOON_ID}", self.balloon_options, thread]))
        clock = _TCG_KERNEL_ARGS if self.accel == "tcg" else ""
        # udev in a distribution's initramfs would call the network card otherwise.
        names = "net.ifnames=0" if self.initrd else ""
        words = ["console=ttyS0 root=/dev/vda ro quiet panic=-1", names, clock, self.append]
        kernel_args = " ".join(filter(None, words))
        return [
            str(self.binary),
            *("-name", self.name),
            *self._machine(),
            *("-accel", accel),
            *("-cpu", "host" if self.accel == "kvm" else _TCG_CPU),
            *("-smp", str(self.cpus)),
            *("-m", self._memory()),
            *("-nodefaults", "-no-user-config"),
            *("-display", "none"),
            *(("-sandbox", _SANDBOX) if self.sandbox else ()),
            *(word for folder in self.firmware for word in ("-L", str(folder))),
            *("-kernel", str(self.kernel)),
            *(("-initrd", str(self.initrd)) if self.initrd else ()),
            *("-append", kernel_args),
            *("-drive", f"if=none,id=root,file={_comma(self.rootfs)},format=raw,readonly=on"),
            *("-device", "virtio-blk-pci,drive=root"),
            *("-netdev", f"user,id=net0,restrict=on,hostfwd=tcp:127.0.0.1:{self.ssh_port}-:{SSH_GUEST_PORT}"),
            *("-device", "virtio-net-pci,netdev=net0,romfile="),
            *("-device", "virtio-rng-pci"),
            *self._hint_thread(),
            *("-device", balloon),
            *self._virtio_mem(),
            *self._zero_disk(),
            *self._scratch_disk(),
            *self._fw_cfg("authorized_keys"),
            *self._fw_cfg("host_key"),
            *self._fw_cfg("agent.pyz"),
            *(
                "-chardev",
                self._socket("console", self.console_socket) + f",logfile={_comma(self.console_log)},logappend=on",
            ),
            *("-serial", "chardev:console"),
            *("-chardev", self._socket("qmp", self.qmp_socket), "-mon", "chardev=qmp,mode=control"),
            *("-chardev", self._socket("observer", self.observer_socket), "-mon", "chardev=observer,mode=control"),
            *(("-incoming", "defer") if self.generation else ()),
        ]

    def _machine(self) -> tuple[str, ...]:
        if not self.shared_memory:
            return ("-machine", "pc")
        size = (self.memory_bytes - self.pluggable_bytes) // MIB
        backend = f"memory-backend-memfd,id=ram,size={size}M,share=on"
        return ("-object", backend, "-machine", "pc,memory-backend=ram")

    def _memory(self) -> str:
        base = (self.memory_bytes - self.pluggable_bytes) // MIB
        return f"{base}M,maxmem={self.memory_bytes // MIB}M" if self.pluggable_bytes else f"{base}M"

    def _hint_thread(self) -> tuple[str, ...]:
        options = self.balloon_options.split(",")
        # QEMU takes the hints in a thread of its own and refuses the property without one.
        if "free-page-hint=on" not in options or any(option.startswith("iothread=") for option in options):
            return ()
        return ("-object", f"iothread,id={_HINT_THREAD}")

    def _virtio_mem(self) -> tuple[str, ...]:
        if not self.pluggable_bytes:
            return ()
        size = f"{self.pluggable_bytes // MIB}M"
        return (
            *("-object", f"memory-backend-ram,id={VIRTIO_MEM_ID}-ram,size={size}"),
            *("-device", f"virtio-mem-pci,id={VIRTIO_MEM_ID},memdev={VIRTIO_MEM_ID}-ram,requested-size={size}"),
        )

    def _zero_disk(self) -> tuple[str, ...]:
        if self.zero_image:
            image = f"if=none,id=zeros,file={_comma(self.zero_image)},format=raw,readonly=on"
            return ("-drive", image, "-device", "virtio-blk-pci,drive=zeros")
        if not self.zero_disk_bytes:
            return ()
        # Without read-zeroes the guest's buffers stay as they are, and the host does not hold those never written to.
        zeroes = "off" if self.zero_disk_leaves_buffers else "on"
        disk = f"driver=null-co,node-name=zeros,size={self.zero_disk_bytes},read-zeroes={zeroes}"
        return ("-blockdev", disk, "-device", "virtio-blk-pci,drive=zeros")

    def _scratch_disk(self) -> tuple[str, ...]:
        if not self.scratch_disk_bytes:
            return ()
        drive = f"if=none,id=scratch,file={_comma(self.scratch_disk)},format=raw"
        return ("-drive", drive, "-device", "virtio-blk-pci,drive=scratch,serial=scratch")

    def _fw_cfg(self, name: str) -> tuple[str, str]:
        return ("-fw_cfg", f"name={_FW_CFG}/{name},file={_comma(self.fw_cfg_file(name))}")

    @staticmethod
    def _socket(chardev_id: str, path: Path) -> str:
        return f"socket,id={chardev_id},path={_comma(path)},server=on,wait=off"


def _comma(path: Path) -> str:
    """Double the commas, as QEMU's option syntax wants it."""
    return str(path).replace(",", ",,")
