"""The main job on real guests."""

import pytest

from tests.conftest import drops_its_cache_by, kernel_warnings

pytestmark = pytest.mark.guest

MIB, GIB = 1 << 20, 1 << 30
#: Of the guest that the tests share, see conftest.py.
FAST_MEMORY = "1G"


@pytest.mark.our_kernel("its own share of 1 GiB, and the number of messages, are larger")
@pytest.mark.parametrize("memory", [GIB, pytest.param(4 * GIB, marks=pytest.mark.long)], ids=["1G", "4G"])
def test_inflating_a_touched_guest_gives_the_host_its_memory_and_deflating_gives_it_back(tool, keep, memory):
    fast = keep("fast" if memory == GIB else "large", "--memory", str(memory))
    target = memory // 4 * 3
    memory_before = tool.in_guest(fast, "grep MemTotal /proc/meminfo")
    touched = tool.ok("--vm", fast, "vm", "touch")
    assert touched["bytes"] > 0.75 * memory

    inflated = tool.ok("--vm", fast, "inflate", "--target", str(target))
    assert inflated["schema_version"] == 1
    assert inflated["operation"] == "inflate"
    assert inflated["method"] == "page-bitmap"
    assert inflated["balloon_bytes"] == {"before": 0, "after": target}
    rss = inflated["host_rss_bytes"]
    assert rss["before"] - rss["after"] >= 0.95 * target
    free = inflated["guest_free_bytes"]
    assert abs(free["before"] - free["after"] - target) < 100 * MIB
    phases = {name: value for name, value in inflated["phases_s"].items() if value is not None}
    assert set(phases) == {"allocate", "send", "translate", "discard", "other"}
    assert sum(phases.values()) == pytest.approx(inflated["duration_s"], rel=0.05)
    # What is not in whole pageblocks is little and stays with the guest: it would take most of the messages.
    # A device that is at work on a message already needs no kick for the next.
    assert 1 <= inflated["counts"]["kicks"] <= inflated["counts"]["messages"] <= 3
    # 64 MiB at a time at most, and on average more than 1 MiB in a row.
    assert target >> 26 <= inflated["counts"]["discards"] < target >> 20
    assert inflated["guest_memory"]["of"] == "left"
    assert (inflated["guest_memory"]["bytes"][0], inflated["guest_memory"]["bytes"][-1]) == (memory, memory // 4)
    assert inflated["provenance"]["clock"] == "qemu"
    assert inflated["provenance"]["kernel_series_sha256"]

    # MemTotal is what the guest may use: all that is in the balloon is taken off, to the page.
    total = tool.in_guest(fast, "grep MemTotal /proc/meminfo")
    assert int(memory_before.split()[1]) - int(total.split()[1]) == target // 1024

    deflated = tool.ok("--vm", fast, "deflate")
    assert deflated["balloon_bytes"] == {"before": target, "after": 0}
    assert tool.in_guest(fast, "grep MemTotal /proc/meminfo") == memory_before
    written = tool.ok("--vm", fast, "vm", "touch", "--verify")
    assert written["bytes"] > 0.75 * memory
    assert written["mismatches"] == 0
    assert kernel_warnings(tool, fast) == []


@pytest.mark.long
def test_the_unmodified_pair_speaks_page_numbers_and_is_at_least_10_times_slower(tool, fast, boot):
    boot("s", "--variant", "stock", "--memory", "1G")
    durations = {}
    for vm in (fast, "s"):
        touched = tool.ok("--vm", vm, "vm", "touch", "--size", "640M")
        assert touched["bytes"] == 640 * MIB
        result = tool.ok("--vm", vm, "inflate", "--target", "512M")
        assert result["balloon_bytes"]["after"] == 512 * MIB
        durations[vm] = result["duration_s"]
        if vm == "s":
            assert result["method"] == "pfn"
            assert result["host_rss_bytes"]["before"] - result["host_rss_bytes"]["after"] >= 480 * MIB
            assert set(result["phases_s"].values()) == {None}
        assert tool.ok("--vm", vm, "deflate")["balloon_bytes"]["after"] == 0
    assert durations["s"] >= 10 * durations[fast], durations
    drops_its_cache_by(tool, "s", "agent")


@pytest.mark.parametrize(
    ("kernel", "qemu", "reason"),
    [
        ("fast", "stock", "this QEMU (stock) does not have them"),
        ("stock", "fast", "the guest's kernel (stock) does not have them"),
    ],
)
def test_mixed_pairs_fall_back_to_page_numbers_and_to_the_agent_and_say_why(tool, boot, kernel, qemu, reason):
    boot("mixed", "--kernel", kernel, "--qemu", qemu, "--memory", "512M")
    assert (
        reason in tool.refused(3, "--vm", "mixed", "inflate", "--target", "256M", "--method", "page-bitmap")["message"]
    )
    inflated = tool.ok("--vm", "mixed", "inflate", "--target", "256M")
    assert inflated["method"] == "pfn"
    assert inflated["balloon_bytes"]["after"] == 256 * MIB
    assert inflated["counts"]["messages"] == 256  # of 256 pages each
    assert tool.ok("--vm", "mixed", "deflate")["balloon_bytes"]["after"] == 0
    assert tool.ok("--vm", "mixed", "vm", "touch", "--verify")["mismatches"] == 0
    drops_its_cache_by(tool, "mixed", "agent")
    assert kernel_warnings(tool, "mixed") == []


def test_the_feature_can_be_left_off(tool, boot):
    boot("off", "--balloon-options", "x-page-bitmap=off,x-drop-cache=off", "--memory", "512M")
    assert tool.ok("--vm", "off", "drop-cache")["method"] == "agent"
    error = tool.refused(3, "--vm", "off", "inflate", "--target", "256M", "--method", "page-bitmap")
    assert "x-page-bitmap=off" in error["message"]
    inflated = tool.ok("--vm", "off", "inflate", "--target", "256M", "--method", "pfn")
    assert inflated["method"] == "pfn"
    phases = {name: value for name, value in inflated["phases_s"].items() if value is not None}
    assert sum(phases.values()) == pytest.approx(inflated["duration_s"], rel=0.05)


@pytest.mark.our_kernel("it uses more of its memory for itself", "debian13-backports")
def test_steps_to_any_page_are_exact(tool, fast):
    for target in (4096, 12288, 512 * MIB + 4096, 768 * MIB - 4096):
        assert tool.ok("--vm", fast, "inflate", "--target", str(target))["balloon_bytes"]["after"] == target
    for target in (512 * MIB + 8192, 4096, 0):
        assert tool.ok("--vm", fast, "deflate", "--to", str(target))["balloon_bytes"]["after"] == target
    again = tool.ok("--vm", fast, "deflate")
    assert again["balloon_bytes"] == {"before": 0, "after": 0}
    assert again["duration_s"] == 0
