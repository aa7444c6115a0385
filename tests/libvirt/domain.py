"""A domain of the tool's own kernel and image, as somebody may define it who has never heard of the tool."""

import textwrap
from pathlib import Path

from fastballoon_cli import build
from fastballoon_cli.progress import Silent

_XML = """
<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>{name}</name>
  <memory unit='MiB'>{memory_mib}</memory>
  <vcpu>1</vcpu>
{sysinfo}
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
    <kernel>{kernel}</kernel>
    <cmdline>console=ttyS0 root=/dev/vda ro quiet panic=-1 init_on_alloc=0</cmdline>
  </os>
  <features><acpi/></features>
  <cpu mode='custom' match='exact' check='none'><model fallback='allow'>qemu64</model></cpu>
  <on_poweroff>destroy</on_poweroff><on_reboot>destroy</on_reboot><on_crash>destroy</on_crash>
  <devices>
    <emulator>{qemu}</emulator>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw'/>
      <source file='{rootfs}'/>
      <target dev='vda' bus='virtio'/>
      <readonly/>
      <shareable/>
    </disk>
    <controller type='usb' model='none'/>
{interface}
    <serial type='file'><source path='{console}' append='on'/><target port='0'/></serial>
    <memballoon model='virtio'/>
  </devices>
  <qemu:commandline>
{firmware}
  </qemu:commandline>
</domain>
"""
_INTERFACE = """
<interface type='bridge'>
  <mac address='52:54:00:2a:97:51'/>
  <source bridge='br0'/>
  <model type='virtio'/>
  <driver name='qemu'/>
  <rom enabled='no'/>
</interface>
"""
#: What the image's init reads, see the tool's own command line.
_KEYS = ("authorized_keys", "host_key", "agent.pyz")


def domain_xml(
    name: str,
    variant: str,
    console: Path,
    *,
    qemu: str | None = None,
    memory_mib: int = 512,
    furnished: Path | None = None,
    bridged: bool = False,
) -> str:
    """Return a domain's XML: without any word of the tool's features.

    :param qemu: another variant for QEMU alone.
    :param furnished: a folder with keys and agent for the guest.
    :param bridged: whether it has a network.
    """
    which = build.Variant(variant)
    artifact = build.qemu(build.Variant(qemu or variant), Silent())
    entries = [f"<entry name='opt/localhost.fastballoon/{key}' file='{furnished}/{key}'/>" for key in _KEYS]
    sysinfo = f"<sysinfo type='fwcfg'>{''.join(entries)}</sysinfo>" if furnished else ""
    firmware = "".join(f"<qemu:arg value='-L'/><qemu:arg value='{folder}'/>" for folder in artifact.firmware)
    return (
        textwrap.dedent(_XML)
        .strip()
        .format(
            name=name,
            memory_mib=memory_mib,
            sysinfo=sysinfo,
            kernel=build.kernel(which, Silent()).bzimage,
            qemu=artifact.binary,
            rootfs=build.image(Silent()).rootfs,
            interface=_INTERFACE if bridged else "",
            console=console,
            firmware=firmware,
        )
    )
