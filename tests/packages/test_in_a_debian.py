"""The packages for hosts, in a Debian 13 that has nothing of ours: installed, used, upgraded, removed."""

import json
import re
import textwrap
from pathlib import Path

import pytest

from fastballoon_cli import build
from fastballoon_cli.build.chroot import Chroot, run_in_chroot
from fastballoon_cli.build.job import job
from fastballoon_cli.progress import Silent

pytestmark = [pytest.mark.guest, pytest.mark.long]

SCRIPT = Path(__file__).with_name("in-a-debian.sh")
#: Of a backport, as the tool needs a library that Debian 13 itself does not have.
DEBIAN = Chroot(
    suite="trixie",
    packages=(
        "libvirt-daemon",
        "libvirt-daemon-driver-qemu",
        "libvirt-clients",
        "qemu-system-x86",
        "python3-libvirt",
        "apparmor",
    ),
    further=("trixie-backports",),
)
#: As somebody may define it who has never heard of fastballoon: with a display and USB.
DOMAIN = """
<domain type='qemu'>
  <name>d</name>
  <memory unit='MiB'>512</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <kernel>/build/bzImage</kernel>
    <initrd>/build/initrd</initrd>
    <cmdline>console=ttyS0 root=/dev/vda ro quiet panic=-1 net.ifnames=0</cmdline>
  </os>
  <features><acpi/></features>
  <cpu mode='custom' match='exact' check='none'><model fallback='allow'>qemu64</model></cpu>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw'/>
      <source file='/build/root.erofs'/>
      <target dev='vda' bus='virtio'/>
      <readonly/>
    </disk>
    <controller type='usb' model='qemu-xhci'/>
    <serial type='file'><source path='/build/out/console' append='on'/><target port='0'/></serial>
    <graphics type='vnc' autoport='yes'/>
    <video><model type='virtio'/></video>
    <memballoon model='virtio'/>
  </devices>
</domain>
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What the script has left, by name."""
    into = tmp_path_factory.mktemp("debian")
    kernel = build.guest_kernel("debian13", build.Variant.FAST, Silent())
    folders = (build.qemu_package(Silent()), build.tool_package(Silent()))
    packages = [package for folder in folders for package in folder.glob("*.deb") if "dbgsym" not in package.name]
    (into / "domain.xml").write_text(textwrap.dedent(DOMAIN))
    bring = [*packages, into / "domain.xml", kernel.bzimage, kernel.initrd, build.image(Silent()).rootfs]
    with job("in-a-debian", "trying the packages", Silent(), need_bytes=4 << 30) as work:
        run_in_chroot(DEBIAN, SCRIPT, bring, into, work, what="a host of libvirt's")
    return {path.name: path.read_text() for path in (into / "out").iterdir()}


@pytest.mark.timeout(1200)
def test_a_domain_of_libvirts_gives_memory_by_page_bitmaps(found):
    inflated = json.loads(found["inflated.json"])
    assert (inflated["method"], inflated["balloon_bytes"]["after"]) == ("page-bitmap", 256 << 20)
    checks = {check["name"]: check["status"] for check in json.loads(found["doctor.json"])["checks"]}
    assert (checks["device"], checks["page bitmaps"]) == ("ok", "ok")
    assert "<emulator>/usr/bin/qemu-system-x86_64-fastballoon</emulator>" in found["domain.xml"]


def test_the_installed_command_ends_as_the_one_of_a_checkout_does(found):
    assert found["code-of-a-failure"] == "3\n"


def test_the_profile_of_libvirts_guests_lets_them_run_it(found):
    (rule,) = [line for line in found["apparmor"].splitlines() if "qemu-system-x86_64-fastballoon" in line]
    assert re.match(r"Perms:\s+rmx:rmx\s", rule), rule


def test_an_upgrade_leaves_a_running_guest_and_its_balloon_alone(found):
    assert json.loads(found["deflated.json"])["balloon_bytes"] == {"before": 256 << 20, "after": 0}


def test_what_they_bring_is_in_folders_of_their_own_and_gone_when_they_are_removed(found):
    brought = found["brought"].split()
    assert "/usr/bin/fastballoon" in brought
    assert "/usr/bin/qemu-system-x86_64-fastballoon" in brought
    assert "/etc/apparmor.d/abstractions/libvirt-qemu.d/fastballoon" in brought
    assert [path for path in brought if "fastballoon" not in path] == []
    assert found["left"] == ""
