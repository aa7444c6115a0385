"""QEMUs that were started by hand: nobody has said how to log in to their guests, unless a test does."""

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from fastballoon_cli import build
from fastballoon_cli.guest.login import HOST_ALIAS
from fastballoon_cli.host import procfs
from fastballoon_cli.host.room import free_port
from fastballoon_cli.machine.furnish import furnish
from fastballoon_cli.progress import Silent
from fastballoon_cli.qemu.balloon import BalloonDevice
from fastballoon_cli.qemu.qmp import Qmp, connect_when_ready
from tests.conftest import await_true

pytestmark = pytest.mark.guest

MIB, GIB = 1 << 20, 1 << 30
#: What our image's init takes from its QEMU.
_GIVEN = ("authorized_keys", "host_key", "agent.pyz")


@dataclass(frozen=True)
class Foreign:
    """A VM that was attached, by its monitor alone.

    :ivar login: what says how to log in to it.
    """

    name: str
    pid: int
    monitor: Path
    login: tuple[str, ...]


@pytest.fixture(params=["stock", "fast"], scope="module")
def foreign(request, tmp_path_factory, tool):
    """A VM that each test leaves attached, and with an empty balloon."""
    tmp_path = tmp_path_factory.mktemp(request.param)
    variant = build.Variant(request.param)
    qemu, kernel = build.qemu(variant, Silent()), build.kernel(variant, Silent())
    rootfs, monitor = build.image(Silent()).rootfs, tmp_path / "qmp.sock"
    keys, port = tmp_path / "keys", free_port()
    furnish(keys)
    known = (keys / "known_hosts").read_text().replace(HOST_ALIAS, f"[127.0.0.1]:{port}")
    (keys / "known_hosts").write_text(known)
    given = [f"name=opt/localhost.fastballoon/{name},file={keys / name}" for name in _GIVEN]
    features = ",x-page-bitmap=on,x-drop-cache=on" if request.param == "fast" else ""
    process = subprocess.Popen(
        [
            *(str(qemu.binary), "-nodefaults", "-no-user-config", "-display", "none"),
            *("-accel", "tcg,thread=multi", "-smp", "2", "-m", "1G"),
            *(word for folder in qemu.firmware for word in ("-L", str(folder))),
            *("-kernel", str(kernel.bzimage), "-append", "console=ttyS0 root=/dev/vda ro quiet"),
            *("-drive", f"if=none,id=root,file={rootfs},format=raw,readonly=on"),
            *("-device", "virtio-blk-pci,drive=root", "-serial", f"file:{tmp_path / 'console'}"),
            *("-netdev", f"user,id=net0,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:22"),
            *("-device", "virtio-net-pci,netdev=net0,romfile="),
            *(word for one in given for word in ("-fw_cfg", one)),
            # It has another name than the tool would give it.
            *("-device", f"virtio-balloon-pci,id=mine{features}", "-qmp", f"unix:{monitor},server=on,wait=off"),
        ]
    )
    try:
        with connect_when_ready(monitor, deadline=time.monotonic() + 30, alive=lambda: None) as qmp:
            device = BalloonDevice(qmp)
            await_true(device.has_driver, seconds=100, what="the guest's driver")
        # A guest that still boots may be slow to give memory back.
        ready = "fastballoon: ready"
        await_true(lambda: ready in (tmp_path / "console").read_text(errors="replace"), seconds=150, what=ready)
        name = f"foreign-{request.param}"
        attached = tool.ok("vm", "attach", name, "--qmp", str(monitor))
        assert attached["pid"] == process.pid
        login = ("--ssh", f"root@127.0.0.1:{port}", "--identity", f"{keys}/ssh_key", "--known-hosts")
        yield Foreign(name, process.pid, monitor, (*login, f"{keys}/known_hosts"))
        tool.ok("vm", "detach", name)
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


def test_a_vm_that_was_started_by_hand_gives_memory_back(tool, foreign):
    name, pid, monitor = foreign.name, foreign.pid, foreign.monitor
    patched = name.endswith("fast")
    # From the host alone: what the balloon holds is not resident any more.
    result = tool.ok("--vm", name, "inflate", "--target", "512M")
    assert result["method"] == ("page-bitmap" if patched else "pfn")
    assert result["balloon_bytes"] == {"before": 0, "after": 512 * MIB}
    free = result["guest_free_bytes"]
    assert free["before"] - free["after"] == pytest.approx(512 * MIB, abs=64 * MIB)
    assert result["guest_cpu_s"] > 0
    assert result["host_rss_bytes"]["after"] == pytest.approx(procfs.rss_bytes(pid), abs=64 * MIB)
    assert result["provenance"]["guest_memory_from"] == "statistics"
    assert result["provenance"]["guest_memory_age_s"] < 3

    status = tool.ok("vm", "status", name)
    assert (status["balloon_bytes"], status["memory_bytes"], status["cpus"]) == (512 * MIB, GIB, 2)
    (listed,) = [one for one in tool.ok("vm", "list")["vms"] if one["name"] == name]
    assert listed["state"] == "running"

    result = tool.ok("--vm", name, "deflate")
    assert result["balloon_bytes"]["after"] == 0
    assert result["guest_free_bytes"]["after"] - free["after"] == pytest.approx(512 * MIB, abs=64 * MIB)
    with Qmp(monitor) as qmp:
        assert BalloonDevice(qmp).stats().interval_s == 0

    if patched:
        dropped = tool.ok("--vm", name, "drop-cache")
        assert dropped["method"] == "balloon"
        assert dropped["freed_bytes"] > 0
    else:
        tool.refused(5, "--vm", name, "drop-cache")


def test_while_somebody_works_with_its_monitor_it_is_busy(tool, foreign):
    name, monitor = foreign.name, foreign.monitor
    with Qmp(monitor):
        assert "is busy" in tool.refused(4, "--vm", name, "inflate", "--target", "512M")["message"]
        (listed,) = [one for one in tool.ok("vm", "list")["vms"] if one["name"] == name]
        assert listed["state"] == "busy"
    assert tool.ok("vm", "status", name)["balloon_bytes"] == 0


def test_who_says_how_to_log_in_has_what_the_agent_tells(tool, foreign):
    name = f"{foreign.name}-ssh"
    attached = tool.ok("--timeout", "60", "vm", "attach", name, "--qmp", str(foreign.monitor), *foreign.login)
    assert attached["ssh"] == foreign.login[1]
    assert tool.run("--vm", name, "vm", "ssh", "--", "hostname").out == "fastballoon\n"
    begun = time.time()
    try:
        assert tool.ok("--vm", name, "vm", "touch", "--size", "256M", "--verify")["mismatches"] == 0
        result = tool.ok("--vm", name, "inflate", "--target", "512M")
        free, origin = result["guest_free_bytes"], result["provenance"]
        assert free["before"] - free["after"] == pytest.approx(512 * MIB, abs=64 * MIB)
        assert (origin["guest_memory_from"], origin["guest_memory_age_s"]) == ("agent", None)
        assert origin["guest_kernel"]
        phases = result["phases_s"]
        assert (phases["allocate"] is not None) == foreign.name.endswith("fast")
        # Nobody had to ask the balloon for statistics: what there is of them is from when the driver has started.
        assert tool.ok("vm", "status", name)["guest_stats"]["age_s"] > time.time() - begun
        assert tool.ok("--vm", name, "deflate")["guest_free_bytes"]["after"] > free["after"]
        dropped = tool.ok("--vm", name, "drop-cache")
        assert dropped["method"] == ("balloon" if foreign.name.endswith("fast") else "agent")
        assert dropped["freed_bytes"] > 0
    finally:
        tool.ok("vm", "detach", name)
