"""A guest that is paused gets its memory back all the same; what is told of it, and of what the host gained."""

import os
import time
from contextlib import contextmanager
from functools import partial

import pytest

from fastballoon_cli.errors import QmpError
from fastballoon_cli.machine import registry
from fastballoon_cli.qemu import migration
from fastballoon_cli.qemu.qmp import Qmp
from tests.conftest import await_true

pytestmark = pytest.mark.guest

MIB = 1 << 20
FAST_MEMORY = "512M"


@contextmanager
def observing(vm):
    with Qmp(registry.load(vm).spec.observer_socket) as qmp:
        yield qmp


def size(tool, vm):
    return tool.ok("vm", "status", vm)["balloon_bytes"]


def test_a_deflation_of_a_paused_guest_takes_effect_when_it_runs(tool, fast):
    tool.ok("--vm", fast, "inflate", "--target", "256M")
    with observing(fast) as qmp:
        qmp.execute("stop")
    error = tool.refused(6, "--vm", fast, "deflate", "--to", "64M")
    assert "QEMU says 'paused'" in error["message"]
    assert size(tool, fast) == 256 * MIB
    assert tool.ok("vm", "status", fast)["state"] == "paused"
    assert "paused" in tool.refused(3, "--vm", fast, "inflate", "--target", "300M")["message"]
    assert tool.refused(6, "--vm", fast, "deflate")["exit_code"] == 6
    with observing(fast) as qmp:
        qmp.execute("cont")
    await_true(lambda: size(tool, fast) == 0, seconds=5, what="an empty balloon")


def test_a_qemu_that_was_stopped_is_named(tool, fast):
    pid = registry.load(fast).pid
    os.kill(pid, 19)
    try:
        assert f"kill -CONT {pid}" in tool.refused(4, "--vm", fast, "deflate")["hint"]
        listed = tool.ok("vm", "list")["vms"]
        assert {one["name"]: one["state"] for one in listed}[fast] == "does not answer"
    finally:
        os.kill(pid, 18)


def test_statistics_go_on_after_a_migration_and_their_age_is_told(tool, fast, boot):
    boot("polled", "--variant", "stock", "--memory", "512M")

    def answered_since(vm, moment):
        age = tool.ok("vm", "status", vm)["guest_stats"]["age_s"]
        return age is not None and time.time() - age > moment

    for vm in ("polled", fast):
        asked = {"path": "/machine/peripheral/balloon0", "property": "guest-stats-polling-interval", "value": 1}
        with observing(vm) as qmp:
            qmp.execute("qom-set", asked)
        tool.ok("--vm", vm, "migrate")
        check = partial(answered_since, vm, time.time())
        await_true(check, seconds=20, what="statistics after the migration")
        stats = tool.ok("vm", "status", vm)["guest_stats"]
        assert stats["interval_s"] == 1
        assert stats["values"]["stat-total-memory"] > 256 * MIB


def test_a_host_that_gains_nothing_is_told(tool, boot):
    """A guest that has just booted has touched little of what it gives."""
    boot("untouched", "--memory", "1G")
    given = tool.ok("--vm", "untouched", "inflate", "--target", "512M")
    assert given["host_rss_bytes"]["before"] - given["host_rss_bytes"]["after"] < 256 * MIB
    (remark,) = given["remarks"]
    assert "the rest it did not hold" in remark
    assert tool.ok("--vm", "untouched", "deflate")["remarks"] == []
    tool.ok("--vm", "untouched", "vm", "touch")
    assert tool.ok("--vm", "untouched", "inflate", "--target", "512M")["remarks"] == []


def test_during_a_background_snapshot_the_host_gains_nothing_and_is_told(tool, boot, tmp_path):
    # A snapshot of a guest that has been migrated before is over too soon.
    name = "snapped"
    boot(name, "--memory", "1G")
    tool.ok("--vm", name, "vm", "touch")
    with observing(name) as qmp:
        try:
            migration.set_capabilities(qmp, {"background-snapshot": True})
            migration.set_limits(qmp, bandwidth=MIB, downtime_s=0.3)
            qmp.execute("migrate", {"uri": f"file:{tmp_path}/snapshot"})
            await_true(lambda: migration.query(qmp).status == "active", what="the snapshot")
        except QmpError as e:
            pytest.skip(f"this host's kernel takes no snapshots in the background: {e.message}")
    assert "busy with another migration or a snapshot" in tool.refused(3, "--vm", name, "migrate")["message"]
    with observing(name) as qmp:
        assert migration.query(qmp).status == "active"
    result = tool.ok("--vm", name, "inflate", "--target", "256M")
    with observing(name) as qmp:
        assert migration.query(qmp).status == "active"
    (remark,) = result["remarks"]
    assert "must not discard memory at present" in remark
    gained = result["host_rss_bytes"]["before"] - result["host_rss_bytes"]["after"]
    assert gained < 128 * MIB
    with observing(name) as qmp:
        migration.cancel(qmp)
        await_true(lambda: migration.query(qmp).ended, what="the end of the snapshot")
        migration.set_capabilities(qmp, {"background-snapshot": False})
    before = result["host_rss_bytes"]["before"]
    await_true(lambda: tool.ok("vm", "status", name)["host_rss_bytes"] < before - 200 * MIB, what="what was inhibited")
    tool.ok("--vm", name, "deflate")
    assert tool.ok("--vm", name, "vm", "touch", "--verify")["mismatches"] == 0
