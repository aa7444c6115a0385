"""The guest's driver goes on doing what a balloon driver must, with page bitmaps."""

import pytest

from fastballoon_cli.machine.session import connect_agent, hold
from fastballoon_cli.ops import balloon, migrate
from fastballoon_cli.ops import drop_cache as cache
from fastballoon_cli.progress import Silent
from fastballoon_cli.qemu.balloon import BalloonDevice
from tests.conftest import await_true, kernel_warnings

pytestmark = pytest.mark.guest

MIB, GIB = 1 << 20, 1 << 30
#: Blocks of that order stay where they are when memory is compacted; 2 MiB.
_PAGEBLOCK_ORDER = 9
#: Of the guest that the tests share, see conftest.py.
FAST_MEMORY = "2G"
PM_TEST = "it has no suspend that is only a test (CONFIG_PM_DEBUG)"


@pytest.mark.our_kernel("the cases of the series are built into ours")
def test_kunit_cases_pass(tool, boot):
    # With memory that the kernel can't use for itself, which is the last that it wants back.
    boot("kunit", "--memory", "1G", "--append", "kunit.enable=1 movablecore=192M")
    results = tool.in_guest("kunit", "cat /sys/kernel/debug/kunit/*/results")
    lines = [line for line in results.splitlines() if line.strip().startswith(("ok ", "not ok "))]
    assert len(lines) >= 8, results
    for suite in ("virtio_balloon_bitmap", "virtio_balloon_host_req", "balloon_blocks", "free_page_map"):
        assert suite in results, results
    assert not [line for line in lines if line.strip().startswith("not ok")], results
    assert not [line for line in lines if "SKIP" in line], results


@pytest.mark.our_kernel("from 7.2 on, what a module has in the balloon stays where it is", "debian13-backports")
def test_compaction_moves_pages_of_the_balloon(tool, boot):
    # In a guest whose free memory is in pieces the balloon is, too, so that there is something to move.
    boot("pieces", "--memory", "512M")
    with hold("pieces", Silent(), need_agent=True) as session:
        session.agent.call("fragment", every=64, timeout=100)
        # What is left of it when the larger blocks are out again lies here and there among what is free.
        balloon.inflate(session, 320 * MIB, progress=Silent())
        balloon.deflate(session, 128 * MIB, progress=Silent())
        before, events = session.agent.call("balloon"), session.agent.call("vmstat")
        assert any(before[f"blocks_order_{order}"] for order in range(_PAGEBLOCK_ORDER))
        for _ in range(5):
            session.agent.call("compact", timeout=60)
            if session.agent.call("vmstat")["balloon_migrate"] > events["balloon_migrate"]:
                break
        moved = session.agent.call("vmstat")["balloon_migrate"]
        assert moved > events["balloon_migrate"]
        # The host knows where they are now: what it leaves out is exactly the balloon. The kernel compacts of its
        # own accord too, and a page that it moves right then is on neither side; so until none is moved meanwhile.
        for _ in range(10):
            moved = session.agent.call("vmstat")["balloon_migrate"]
            skipped = migrate.migrate(session, migrate.Options(), progress=Silent()).skipped_balloon_pages
            session.agent = session.agent or connect_agent(session.record, timeout=20)
            moved_meanwhile = session.agent.call("vmstat")["balloon_migrate"] - moved
            assert abs(skipped - before["num_pages"]) <= moved_meanwhile
            if not moved_meanwhile:
                break
        assert not moved_meanwhile
        assert session.agent.call("balloon")["num_pages"] == before["num_pages"]
        assert balloon.deflate(session, progress=Silent()).balloon_bytes.after == 0
    assert kernel_warnings(tool, "pieces") == []


def test_driver_and_device_count_the_same(tool, fast):
    size, page = GIB + 4096 * 511, 4096
    with hold(fast, Silent(), need_agent=True) as session:
        device = BalloonDevice(session.qmp)
        events, driver, queues = session.agent.call("vmstat"), session.agent.call("balloon"), device.counters()
        balloon.inflate(session, size, progress=Silent())
        balloon.deflate(session, progress=Silent())
        cache.drop(session, "all", progress=Silent())
        events_after, driver_after, queues_after = (
            session.agent.call("vmstat"),
            session.agent.call("balloon"),
            device.counters(),
        )
        rose = {name: driver_after[name] - driver[name] for name in driver_after if name in driver}
        for way, phase in (("inflate", "allocate"), ("deflate", "release")):
            before, after = getattr(queues, way), getattr(queues_after, way)
            assert rose[f"{way}_pages"] == after.pages - before.pages == size // page
            assert rose[f"{way}_messages"] == after.messages - before.messages > 0
            assert rose[f"{way}_kicks"] >= after.kicks - before.kicks > 0
            assert rose[f"{way}_rejected"] == after.errors - before.errors == 0
            assert min(rose[f"{way}_{name}_ns"] for name in (phase, "send", "ack")) > 0
            assert after.translate_ns > before.translate_ns
        assert queues_after.inflate.discard_ns > queues.inflate.discard_ns
        # What is left of a block that is cut goes in again.
        went = [events_after[f"balloon_{way}"] - events[f"balloon_{way}"] for way in ("inflate", "deflate")]
        assert went[0] == went[1] >= size // page
        assert driver_after["num_pages"] == sum(driver_after[f"blocks_order_{order}"] for order in range(11)) == 0
        assert (rose["host_requests"], rose["host_requests_done"]) == (1, 1)
        assert rose["drop_cache_pages"] > 0
        assert rose["drop_cache_ns"] > 0

        before = driver_after
        told = migrate.migrate(session, migrate.Options(skip_free=True, bandwidth=256 << 20), progress=Silent())
        session.agent = session.agent or connect_agent(session.record, timeout=20)
        after = session.agent.call("balloon")
        rose = {name: after[name] - before[name] for name in after if name in before}
        assert rose["free_pages_pages"] * page >= told.told_free_bytes > 0
        assert rose["free_pages_requests"] > 0
        assert rose["free_pages_messages"] > 0
        assert rose["free_pages_rejected"] == 0
        assert min(rose[f"free_pages_{name}"] for name in ("looked_at", "gather_ns", "locks", "lock_ns")) > 0
        assert 0 < after["free_pages_lock_max_ns"] < after["free_pages_lock_ns"]


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


@pytest.mark.our_kernel(PM_TEST)
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


@pytest.mark.our_kernel(PM_TEST)
def test_requests_to_drop_caches_survive_suspend_and_unbinding(tool, fast):
    driver = "/sys/bus/virtio/drivers/virtio_balloon"
    device = tool.in_guest(fast, f"basename {driver}/virtio*").strip()
    for stir in (
        "echo devices > /sys/power/pm_test && echo freeze > /sys/power/state && echo none > /sys/power/pm_test",
        f"echo {device} > {driver}/unbind && echo {device} > {driver}/bind",
    ):
        # Enough to drop that it may be at it when the driver has to stop.
        tool.in_guest(fast, "cat /dev/vda > /dev/null; ls -R /usr > /dev/null")
        with hold(fast, Silent()) as session:
            session.qmp.execute("x-balloon-drop-cache", {"mode": "all"})
        tool.in_guest(fast, stir)
        # All slots are there again: one more than there are.
        with hold(fast, Silent(), need_agent=True) as session:
            for _ in range(5):
                assert cache.drop(session, "pagecache", progress=Silent()).method == "balloon"
    assert kernel_warnings(tool, fast) == []
