"""Live migrations of real guests: what follows the guest, and whether its memory is whole."""

import subprocess
from pathlib import Path

import pytest

from fastballoon_cli.machine import registry
from fastballoon_cli.machine.session import connect_agent, hold
from fastballoon_cli.ops import migrate, vm
from fastballoon_cli.progress import Silent
from fastballoon_cli.qemu import migration
from fastballoon_cli.qemu.qmp import Qmp
from tests.conftest import kernel_warnings, qemus_below
from tests.guest.migrating import MIB, SLOW, begin, generation, let_go, one_qemu_has_the_guest

pytestmark = pytest.mark.guest


@pytest.fixture(scope="module")
def moving(tool):
    """A guest of the unmodified pair that every test leaves running, in whichever QEMU."""
    request = vm.Request(
        name="moving", memory_bytes=1024 * MIB, kernel="stock", qemu="stock", scratch_disk_bytes=64 * MIB
    )
    vm.start(request, Silent())
    yield "moving"
    assert kernel_warnings(tool, "moving") == []
    tool.ok("vm", "stop", "moving")
    assert "moving" not in tool.folders()
    assert not qemus_below(tool.runtime / "moving")


def test_there_and_back_with_name_ssh_and_agent(tool, moving):
    pids = [registry.load(moving).pid]
    marker = tool.in_guest(moving, "date +%s%N > /run/marker; cat /run/marker")
    for balloon in (0, 256 * MIB):
        before = generation(moving)
        result = tool.ok("--vm", moving, "migrate")
        assert (result["operation"], result["vm"]) == ("migrate", moving)
        assert (result["method"], result["skip_free"], result["verified"]) == ("precopy", False, None)
        assert 0 < result["setup_s"] < result["total_s"] < 60
        assert 0 < result["downtime_s"] < 5
        assert 0 < result["guest_paused_s"] < 5
        assert result["guest_cpu_s"] > 0
        ram = result["ram"]
        assert ram["total_bytes"] >= 1024 * MIB
        assert ram["normal_pages"] * 4096 < ram["transferred_bytes"] < ram["total_bytes"]
        assert ram["normal_pages"] + ram["zero_pages"] >= 1024 * MIB // 4096 - 1
        assert ram["passes"] >= 2
        assert ram["skipped_free_pages"] is None
        assert 0 < result["guest_min_free_bytes"] <= result["guest_free_bytes"]["before"] * 1.05
        curve = result["guest_memory"]
        assert (curve["of"], len(curve["seconds"])) == ("free", len(curve["bytes"]))
        assert 0 <= curve["seconds"][0] <= curve["seconds"][-1] <= result["total_s"]
        assert result["guest_min_free_bytes"] <= min(curve["bytes"])
        assert result["provenance"]["bandwidth_bytes_per_s"] == 0
        one_qemu_has_the_guest(tool, moving, generation=before + 1)
        status = tool.ok("vm", "status", moving)
        assert status["balloon_bytes"] == balloon
        assert status["pid"] not in pids
        pids.append(status["pid"])
        assert [it["pid"] for it in tool.ok("vm", "list")["vms"] if it["name"] == moving] == [status["pid"]]
        assert tool.in_guest(moving, "cat /run/marker") == marker
        # The agent works, and what else a VM can do.
        if not balloon:
            tool.ok("--vm", moving, "inflate", "--target", "256M")
    assert tool.ok("--vm", moving, "deflate")["balloon_bytes"]["after"] == 0


def test_limits_are_kept_and_told(tool, moving):
    tool.ok("--vm", moving, "vm", "touch", "--size", "256M")
    result = tool.ok("--vm", moving, "migrate", "--bandwidth", "200MiB/s", "--downtime-limit", "50ms", "--drop-cache")
    assert result["provenance"]["bandwidth_bytes_per_s"] == 200 * MIB
    assert result["provenance"]["downtime_limit_s"] == 0.05
    assert result["ram"]["transferred_bytes"] >= 256 * MIB
    # What is sent while the guest is paused knows no limit.
    assert result["ram"]["transferred_bytes"] / result["total_s"] <= 1.3 * 200 * MIB
    assert result["drop_cache"]["method"] == "agent"


def test_skipping_what_nobody_tells_of_is_refused(tool, moving):
    error = tool.refused(3, "--vm", moving, "migrate", "--skip-free")
    assert "have agreed on no way to tell of them" in error["message"]
    assert "free-page-hint=on" in error["hint"]


def test_free_page_hinting_is_used_and_named_and_refused_with_postcopy(tool, boot):
    boot("hint", "--variant", "stock", "--memory", "512M", "--balloon-options", "free-page-hint=on")
    for postcopy in (True, False):
        with Qmp(registry.load("hint").spec.qmp_socket) as qmp:
            migration.set_capabilities(qmp, {"postcopy-ram": postcopy})
        assert tool.ok("vm", "status", "hint")["skip_free_method"] == "free-page-hint"
        if postcopy:
            assert "none with postcopy-ram" in tool.refused(3, "--vm", "hint", "migrate", "--skip-free")["message"]
    tool.ok("--vm", "hint", "vm", "touch", "--size", "300M")
    # So slow that hints win the race against the memory that they are about, on a busy host too.
    asked = tool.ok("--vm", "hint", "migrate", "--skip-free", "--bandwidth", "64M")
    assert (asked["method"], asked["skip_free"]) == ("free-page-hint", True)
    assert asked["ram"]["transferred_bytes"] < 250 * MIB
    ran = tool.run("--vm", "hint", "migrate")
    assert ran.code == 0
    assert (ran.document["method"], ran.document["skip_free"]) == ("free-page-hint", False)
    assert "all the same, without --skip-free" in ran.err


def test_what_the_guest_writes_meanwhile_is_whole(tool, moving):
    result = tool.ok("--vm", moving, "migrate", "--verify", "--bandwidth", "256M", "--downtime-limit", "20ms")
    assert result["verified"]["mismatches"] == 0
    assert result["verified"]["pages"] > 10_000
    assert result["ram"]["passes"] >= 3
    assert tool.in_guest(moving, "ls -A /run/fastballoon /run/fastballoon/jobs").split() == [
        *("/run/fastballoon:", "agent.pyz", "jobs", "/run/fastballoon/jobs:")
    ]
    # A migration that was given up must not have hurt memory either.
    assert tool.run("--vm", moving, "migrate", "--verify", *SLOW, "--cancel-after", "200ms").code == 7


#: What does to a page of the workload, behind its back, what a lost page would look like.
SPOIL = {
    "disk": "disk=$(basename $(dirname $(grep -l scratch /sys/block/*/serial))); "
    "dd if=/dev/zero bs=4096 seek=100 count=1 conv=notrunc of=/dev/$disk",
    "anonymous": r"""python3 -c '
import json
pid = json.load(open("/run/fastballoon/jobs/churn-allocate-1.json"))["pid"]
spoilt = 0
with open(f"/proc/{pid}/mem", "r+b", buffering=0) as memory:
    for line in open(f"/proc/{pid}/maps"):
        area, rights, _, device, inode, *name = line.split()
        begin, end = (int(it, 16) for it in area.split("-"))
        if rights == "rw-p" and inode == "0" and not name and not (end - begin) % (1 << 20):
            memory.seek(begin + 4096 * 10)
            page = memory.read(4096)
            # Python keeps its own objects in areas of such sizes, too; these have no stamp of owner 1.
            if page[:8] == page[-8:] and page[7] == 1:
                memory.seek(begin + 4096 * 10)
                memory.write(bytes(4096))
                spoilt += 1
assert spoilt
'""",
}


@pytest.mark.parametrize("what", SPOIL)
def test_a_page_that_is_lost_is_found(tool, moving, what):
    process, since = begin(tool, moving, "--verify")
    tool.in_guest(moving, SPOIL[what])
    let_go(moving)
    ran = tool.finish(process, since=since)
    assert ran.code == 9, ran.out + ran.err
    assert "are not what was written to them" in ran.document["error"]["message"]


def test_a_worker_that_dies_is_no_proof_that_all_is_well(tool, moving):
    process, since = begin(tool, moving, "--verify")
    tool.in_guest(moving, r"kill -9 $(sed 's/.*pid\": \([0-9]*\).*/\1/' /run/fastballoon/jobs/churn-mapped.json)")
    let_go(moving)
    ran = tool.finish(process, since=since)
    assert ran.code == 9, ran.out + ran.err
    assert "churn-mapped died or hang" in ran.document["error"]["message"]


@pytest.mark.parametrize("times", [3, pytest.param(30, marks=pytest.mark.long)])
def test_many_migrations_in_a_row_leave_nothing_behind(tool, moving, times):
    """One workload through all of them; each has three passes or more."""
    options = migrate.Options(bandwidth=400 * MIB, downtime_s=0.02)
    files = len(list(Path("/proc/self/fd").iterdir()))
    with hold(moving, Silent(), need_agent=True) as session:
        session.agent.call("churn_start", rate=48 * MIB, seconds=300, size=96 * MIB, timeout=40)
        session.agent.close()
        session.agent = None  # to connect to a guest whose code is translated anew takes seconds
        passes = [migrate.migrate(session, options, progress=Silent()).ram.passes for _ in range(times)]
        session.agent = connect_agent(session.record, timeout=20)
        checked = session.agent.call("churn_finish", timeout=90)
    assert min(passes) >= 3
    assert (checked["mismatches"], checked["failed"]) == (0, [])
    assert checked["pages"] > 1500 * times
    one_qemu_has_the_guest(tool, moving)
    assert len(list(Path("/proc/self/fd").iterdir())) <= files + 2
    running = subprocess.check_output(["ps", "-eo", "args"], text=True).splitlines()
    assert not [line for line in running if "guardian.py" in line and str(tool.runtime / moving) in line]
