"""Dropping the guest's cache from the host, on real guests."""

import threading
import time

import pytest

from fastballoon_cli.errors import QmpError
from fastballoon_cli.host import procfs
from fastballoon_cli.machine.session import connect_agent, hold
from fastballoon_cli.ops import drop_cache as cache
from fastballoon_cli.progress import Silent
from fastballoon_cli.qemu import drop_cache
from fastballoon_cli.qemu.qmp import Qmp
from tests.conftest import await_true, kernel_warnings

pytestmark = pytest.mark.guest

GIB = 1 << 30
CACHED = GIB
PARAMETER = "/sys/module/virtio_balloon/parameters/drop_cache"


@pytest.fixture(scope="module")
def caching(tool, keep):
    """A fast guest with something to read and something to write."""
    yield keep("caching", memory_bytes=2 * GIB, zero_disk_bytes=4 * GIB, scratch_disk_bytes=64 << 20)
    tool.ok("vm", "stop", "caching")


def fill_cache(name, size=CACHED):
    with hold(name, Silent(), need_agent=True) as session:
        assert session.agent.call("cache", size=size, timeout=100)["bytes"] >= 0.99 * size


@pytest.mark.parametrize("mode", ["pagecache", "all"])
def test_the_cache_is_gone_and_the_freed_bytes_are_true(tool, caching, mode):
    fill_cache(caching)
    dropped = tool.ok("--vm", caching, "drop-cache", "--mode", mode)
    assert dropped["operation"] == "drop-cache"
    assert dropped["method"] == "balloon"
    assert dropped["mode"] == mode
    cached, free = dropped["guest_cached_bytes"], dropped["guest_free_bytes"]
    assert cached["before"] >= CACHED
    assert cached["before"] - cached["after"] >= 0.95 * CACHED
    assert dropped["freed_bytes"] == pytest.approx(cached["before"] - cached["after"], rel=0.05)
    assert free["after"] - free["before"] == pytest.approx(dropped["freed_bytes"], rel=0.05)
    assert kernel_warnings(tool, caching) == []


def test_the_page_cache_can_be_dropped_by_itself(tool, caching):
    fill_cache(caching, GIB // 4)
    tool.in_guest(caching, "find / -xdev > /dev/null")

    def entries():
        return int(tool.in_guest(caching, "cat /proc/sys/fs/dentry-state").split()[0])

    before = entries()
    dropped = tool.ok("--vm", caching, "drop-cache", "--mode", "pagecache")
    assert dropped["freed_bytes"] >= 0.24 * GIB
    assert entries() >= 0.9 * before > 1000


def test_slab_can_be_dropped_by_itself(tool, caching):
    fill_cache(caching, GIB // 2)
    tool.in_guest(caching, "find / -xdev > /dev/null")
    dropped = tool.ok("--vm", caching, "drop-cache", "--mode", "slab")
    assert dropped["guest_cached_bytes"]["after"] >= 0.45 * GIB
    assert tool.ok("--vm", caching, "drop-cache")["guest_cached_bytes"]["after"] < 0.1 * GIB


def test_what_is_written_meanwhile_is_not_lost(tool, caching):
    with hold(caching, Silent(), need_agent=True) as session, connect_agent(session.record, timeout=20) as writer:
        result = {}
        thread = threading.Thread(
            target=lambda: result.update(writer.call("rewrite", size=48 << 20, seconds=10, timeout=60))
        )
        thread.start()
        drops = 0
        while thread.is_alive() and drops < 40:
            assert cache.drop(session, "all", progress=Silent()).method == "balloon"
            drops += 1
        thread.join()
    assert drops >= 20
    assert result["written"] >= 48
    assert result["mismatches"] == 0
    assert kernel_warnings(tool, caching) == []


def test_a_thousand_requests_leave_the_guest_responsive(tool, caching):
    fill_cache(caching, GIB // 2)
    with hold(caching, Silent(), need_agent=True) as session:
        before = session.agent.call("balloon")
        begun = time.monotonic()
        accepted = 0
        for _ in range(1000):
            try:
                session.qmp.execute("x-balloon-drop-cache", {"mode": "pagecache"})
                accepted += 1
            except QmpError as e:
                assert "pending" in e.message or "busy" in e.message
        asked = time.monotonic() - begun
        session.agent.call("hello", timeout=5)

        def settled():
            return not session.qmp.execute("x-query-balloon-drop-cache")["pending"]

        await_true(settled, seconds=15, what="the guest's answers")
        after = session.agent.call("balloon")
        rose = {name: after[name] - before[name] for name in after if name.startswith("host_requests_")}
        took = time.monotonic() - begun
    assert asked < 10
    # One at a time and no more than five a second; whatever else came was refused as busy.
    assert 1 <= rose["host_requests_done"] <= took * 5 + 1
    assert rose["host_requests_done"] + rose["host_requests_busy"] == accepted
    assert kernel_warnings(tool, caching) == []


def test_a_guest_may_refuse(tool, caching):
    tool.in_guest(caching, f"echo N > {PARAMETER}")
    error = tool.refused(5, "--vm", caching, "drop-cache")
    assert "refuses" in error["message"]
    assert PARAMETER in error["hint"]
    # Who asks for both gets both or neither.
    tool.refused(5, "--vm", caching, "inflate", "--target", "1G", "--drop-cache")
    assert tool.ok("vm", "status", caching)["balloon_bytes"] == 0
    tool.in_guest(caching, f"echo Y > {PARAMETER}")
    assert tool.ok("--vm", caching, "drop-cache")["method"] == "balloon"


def test_a_paused_guest_is_not_waited_for(tool, caching):
    with hold(caching, Silent()) as session:
        socket = session.record.spec.qmp_socket
    with Qmp(socket) as qmp:
        qmp.execute("stop")
    try:
        begun = time.monotonic()
        error = tool.refused(3, "--timeout", "30", "--vm", caching, "drop-cache")
        assert time.monotonic() - begun < 6
        assert "paused" in error["message"]
    finally:
        with Qmp(socket) as qmp:
            qmp.execute("cont")
    fill_cache(caching, GIB // 2)
    assert tool.ok("--vm", caching, "drop-cache")["freed_bytes"] >= 0.45 * GIB


def test_dropping_the_cache_and_inflating_is_one_command(tool, caching):
    fill_cache(caching)
    result = tool.ok("--vm", caching, "inflate", "--target", "1G", "--drop-cache")
    assert result["operation"] == "inflate"
    assert result["balloon_bytes"]["after"] == GIB
    assert result["drop_cache"]["operation"] == "drop-cache"
    assert result["drop_cache"]["freed_bytes"] >= 0.95 * CACHED
    # 1 GiB is left to the guest; QEMU's own memory comes on top of that.
    pid = tool.ok("vm", "status", caching)["pid"]
    assert procfs.mapping_rss_bytes(pid, 2 * GIB) <= 1.1 * GIB
    assert tool.ok("--vm", caching, "deflate")["balloon_bytes"]["after"] == 0


def test_unbinding_the_driver_ends_a_request(tool, caching):
    driver = "/sys/bus/virtio/drivers/virtio_balloon"
    device = tool.in_guest(caching, f"basename {driver}/virtio*").strip()
    for _ in range(2):
        fill_cache(caching, GIB // 2)
        with hold(caching, Silent(), need_agent=True) as session:
            ended = []
            thread = threading.Thread(
                target=lambda: ended.append(drop_cache.request(session.qmp, "all", timeout=20).status)  # noqa: B023
            )
            thread.start()
            tool.in_guest(caching, f"echo {device} > {driver}/unbind")
            thread.join()
        assert ended[0] in {"done", "reset"}
        tool.in_guest(caching, f"echo {device} > {driver}/bind")
        assert tool.ok("--vm", caching, "drop-cache")["method"] == "balloon"
    assert kernel_warnings(tool, caching) == []


@pytest.mark.long
def test_the_feature_can_be_left_off(tool, boot):
    boot("nodrop", "--balloon-options", "x-drop-cache=off", "--memory", "512M")
    assert tool.ok("--vm", "nodrop", "drop-cache")["method"] == "agent"
    assert tool.ok("--vm", "nodrop", "inflate", "--target", "256M")["method"] == "page-bitmap"
