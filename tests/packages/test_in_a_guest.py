"""The packages for guests, in a Debian 13 as it boots: driver and agent come by themselves, without a login."""

import subprocess
import time
from pathlib import Path

import pytest

from fastballoon_cli import build
from fastballoon_cli.build.chroot import Chroot, run_in_chroot
from fastballoon_cli.build.job import job
from fastballoon_cli.errors import GuestError
from fastballoon_cli.guest.port import NAME, open_agent
from fastballoon_cli.progress import Silent
from fastballoon_cli.qemu.qmp import connect_when_ready

pytestmark = [pytest.mark.guest, pytest.mark.long]

MIB = 1 << 20
SCRIPT = Path(__file__).with_name("in-a-guest.sh")
DEBIAN = Chroot(
    suite="trixie",
    packages=("linux-image-cloud-amd64", "linux-headers-cloud-amd64", "systemd-sysv", "udev", "e2fsprogs"),
)
#: For systemd and all that it starts, without KVM.
BOOT_SECONDS = 300


@pytest.fixture(scope="module")
def debian(tmp_path_factory):
    into = tmp_path_factory.mktemp("guest")
    packages = list(build.guest_packages(Silent()).dir.glob("*.deb"))
    with job("in-a-guest", "trying the guest's packages", Silent(), need_bytes=6 << 30) as work:
        run_in_chroot(DEBIAN, SCRIPT, packages, into, work, what="a guest with the packages")
    return into / "out"


@pytest.fixture(scope="module")
def web(debian, tool):
    """A VM that was attached by its monitor and the agent's port, and boots as Debian does."""
    qemu = build.qemu(build.Variant.FAST, Silent())
    monitor, port = debian / "qmp.sock", debian / "agent.sock"
    features = "x-page-bitmap=on,x-drop-cache=on,x-free-pages=on"
    process = subprocess.Popen(
        [
            *(str(qemu.binary), "-nodefaults", "-no-user-config", "-display", "none"),
            *("-accel", "tcg,thread=multi", "-smp", "2", "-m", "1G"),
            *(word for folder in qemu.firmware for word in ("-L", str(folder))),
            *("-kernel", str(debian / "vmlinuz"), "-initrd", str(debian / "initrd")),
            *("-append", "console=ttyS0 root=/dev/vda rw", "-serial", f"file:{debian / 'console'}"),
            *("-drive", f"if=none,id=root,file={debian / 'disk'},format=raw", "-device", "virtio-blk-pci,drive=root"),
            *("-device", f"virtio-balloon-pci,{features}", "-qmp", f"unix:{monitor},server=on,wait=off"),
            *("-chardev", f"socket,id=agent,path={port},server=on,wait=off", "-device", "virtio-serial-pci"),
            *("-device", f"virtserialport,chardev=agent,name={NAME}"),
        ]
    )
    try:
        connect_when_ready(monitor, deadline=time.monotonic() + 30, alive=lambda: None).close()
        _await_agent(port, debian / "console")
        tool.ok("vm", "attach", "web", "--qmp", str(monitor), "--agent", str(port))
        yield "web"
        tool.ok("vm", "detach", "web")
    finally:
        process.kill()
        process.wait()


def _await_agent(port, console):
    end = time.monotonic() + BOOT_SECONDS
    while True:
        try:
            open_agent(port).close()
        except GuestError as e:
            assert time.monotonic() < end, f"{e.message}\n{console.read_text(errors='replace')[-2000:]}"
        else:
            return


@pytest.mark.timeout(1200)
def test_the_driver_speaks_in_page_bitmaps(tool, web):
    checks = {check["name"]: check for check in tool.ok("--vm", web, "doctor", "--guest")["checks"]}
    assert "our module" in checks["driver"]["found"]
    for name in ("driver", "page bitmaps", "dropping the cache", "free pages"):
        assert checks[name]["status"] == "ok", checks[name]


def test_the_agent_tells_what_the_guest_has(tool, web):
    inflated = tool.ok("--vm", web, "inflate", "--target", "256M")
    assert (inflated["method"], inflated["balloon_bytes"]["after"]) == ("page-bitmap", 256 * MIB)
    assert inflated["provenance"]["guest_memory_from"] == "agent"
    assert inflated["provenance"]["guest_kernel"].endswith("-cloud-amd64")
    free = inflated["guest_free_bytes"]
    assert free["before"] - free["after"] == pytest.approx(256 * MIB, abs=64 * MIB)
    assert tool.ok("--vm", web, "drop-cache")["method"] == "balloon"
    assert tool.ok("--vm", web, "deflate")["balloon_bytes"]["after"] == 0


def test_debians_own_test_of_dkms_packages_passes(debian):
    assert "I: PASS fastballoon/" in (debian / "dkms-autopkgtest").read_text()


def test_nothing_of_them_is_left_when_they_are_removed(debian):
    assert (debian / "left").read_text() == ""
