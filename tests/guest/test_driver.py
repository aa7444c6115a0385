"""The guest's driver goes on doing what a balloon driver must, with page bitmaps."""

import pytest

from fastballoon_cli.ops import balloon, cache, vm
from fastballoon_cli.ops.session import hold
from fastballoon_cli.progress import Silent
from tests.conftest import await_true, kernel_warnings

pytestmark = pytest.mark.guest

GIB = 1 << 30
#: Of the guest that the tests share, see conftest.py.
FAST_MEMORY = "2G"


def test_kunit_cases_pass(tool, boot):
    boot("kunit", "--memory", "1G", "--append", "kunit.enable=1")
    results = tool.in_guest("kunit", "cat /sys/kernel/debug/kunit/*/results")
    lines = [line for line in results.splitlines() if line.strip().startswith(("ok ", "not ok "))]
    assert len(lines) >= 8, results
    for suite in ("virtio_balloon_bitmap", "virtio_balloon_host_req", "balloon_compaction", "free_page_map"):
        assert suite in results, results
    assert not [line for line in lines if line.strip().startswith("not ok")], results


def test_compaction_moves_pages_of_the_balloon(tool, fast):
    # A target of single pages beside one of large blocks, so that there is something to move.
    with hold(fast, Silent(), need_agent=True) as session:
        balloon.inflate(session, GIB + 4096 * 511, progress=Silent())
        balloon.deflate(session, GIB + 4096 * 10, progress=Silent())
        before = session.agent.call("balloon")
        for _ in range(5):
            session.agent.call("compact", timeout=60)
        after = session.agent.call("balloon")
        assert after["num_pages"] == before["num_pages"]
        assert balloon.deflate(session, progress=Silent()).balloon_bytes.after == 0
        assert vm.touch(session.agent, Silent(), verify=True)["mismatches"] == 0
    assert kernel_warnings(tool, fast) == []


def test_unbinding_the_driver_gives_everything_back_and_binding_it_fills_the_balloon_again(tool, fast):
    tool.ok("--vm", fast, "inflate", "--target", "1536M")
    driver = "/sys/bus/virtio/drivers/virtio_balloon"
    device = tool.in_guest(fast, f"basename {driver}/virtio*").strip()
    small = int(tool.in_guest(fast, "grep MemTotal /proc/meminfo").split()[1])
    tool.in_guest(fast, f"echo {device} > {driver}/unbind")
    whole = int(tool.in_guest(fast, "grep MemTotal /proc/meminfo").split()[1])
    assert whole - small == 3 * GIB // 2048
    error = tool.refused(3, "--vm", fast, "deflate")
    assert "no driver in the guest" in error["message"]
    tool.in_guest(fast, f"echo {device} > {driver}/bind")
    await_true(lambda: tool.ok("vm", "status", fast)["balloon_bytes"] == 3 * GIB // 2, what="the balloon to fill again")
    assert tool.ok("--vm", fast, "deflate")["balloon_bytes"]["after"] == 0
    assert kernel_warnings(tool, fast) == []


def test_the_balloon_survives_suspend(tool, fast):
    tool.ok("--vm", fast, "inflate", "--target", "1G")
    # pm_test goes through freeze and restore of every device and comes back by itself.
    tool.in_guest(
        fast, "echo devices > /sys/power/pm_test && echo freeze > /sys/power/state && echo none > /sys/power/pm_test"
    )
    await_true(lambda: tool.ok("vm", "status", fast)["balloon_bytes"] == GIB, what="the balloon to be filled again")
    deflated = tool.ok("--vm", fast, "deflate")
    assert deflated["method"] == "page-bitmap"
    assert deflated["balloon_bytes"]["after"] == 0
    assert kernel_warnings(tool, fast) == []


def test_requests_to_drop_caches_survive_suspend_and_unbinding(tool, boot):
    boot("drop", "--memory", "1G")
    driver = "/sys/bus/virtio/drivers/virtio_balloon"
    device = tool.in_guest("drop", f"basename {driver}/virtio*").strip()
    for stir in (
        "echo devices > /sys/power/pm_test && echo freeze > /sys/power/state && echo none > /sys/power/pm_test",
        f"echo {device} > {driver}/unbind && echo {device} > {driver}/bind",
    ):
        # Enough to drop that it may be at it when the driver has to stop.
        tool.in_guest("drop", "cat /dev/vda > /dev/null; ls -R /usr > /dev/null")
        with hold("drop", Silent()) as session:
            session.qmp.execute("x-balloon-drop-cache", {"mode": "all"})
        tool.in_guest("drop", stir)
        # All slots are there again: one more than there are.
        with hold("drop", Silent(), need_agent=True) as session:
            for _ in range(5):
                assert cache.drop(session, "pagecache", progress=Silent()).method == "balloon"
    assert kernel_warnings(tool, "drop") == []


def test_a_guest_out_of_memory_takes_its_balloon_back(tool, boot):
    boot("oom", "--memory", "1G", "--balloon-options", "deflate-on-oom=on")
    tool.ok("--vm", "oom", "inflate", "--target", "640M")
    # More than is left beside the balloon; the agent's worker would be killed if the balloon did not yield.
    tool.in_guest("oom", "python3 -c 'b = bytearray(500 << 20); print(len(b))'")
    assert tool.ok("vm", "status", "oom")["balloon_bytes"] < 640 << 20
    assert not [line for line in kernel_warnings(tool, "oom") if "WARNING" in line or "BUG" in line]
