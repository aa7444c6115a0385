"""The main job on real guests."""

import pytest

from tests.conftest import drops_its_cache_by, kernel_warnings

pytestmark = pytest.mark.guest

GIB = 1 << 30


def test_inflating_a_touched_guest_gives_the_host_its_memory_and_deflating_gives_it_back(tool, fast):
    memory_before = tool.in_guest(fast, "grep MemTotal /proc/meminfo")
    touched = tool.ok("--vm", fast, "vm", "touch")
    assert touched["bytes"] > 3.5 * GIB

    inflated = tool.ok("--vm", fast, "inflate", "--target", "3G")
    assert inflated["schema_version"] == 1
    assert inflated["operation"] == "inflate"
    assert inflated["method"] == "page-bitmap"
    assert inflated["balloon_bytes"] == {"before": 0, "after": 3221225472}
    rss = inflated["host_rss_bytes"]
    assert rss["before"] - rss["after"] >= 2.9 * GIB
    free = inflated["guest_free_bytes"]
    assert abs(free["before"] - free["after"] - 3 * GIB) < 0.1 * GIB
    phases = {name: value for name, value in inflated["phases_s"].items() if value is not None}
    assert set(phases) == {"allocate", "send", "translate", "discard", "other"}
    assert sum(phases.values()) == pytest.approx(inflated["duration_s"], rel=0.05)
    # What is not in whole pageblocks is little and stays with the guest: it would take most of the messages.
    assert inflated["counts"]["messages"] == inflated["counts"]["kicks"] <= 3
    # The host does at most 16 MiB at a time.
    assert 3 * GIB // (16 << 20) <= inflated["counts"]["discards"] <= 2 * 3 * GIB // (16 << 20)
    assert inflated["guest_memory"]["of"] == "left"
    assert (inflated["guest_memory"]["bytes"][0], inflated["guest_memory"]["bytes"][-1]) == (4 * GIB, GIB)
    assert inflated["provenance"]["clock"] == "qemu"
    assert inflated["provenance"]["kernel_series_sha256"]

    # MemTotal is what the guest may use: all that is in the balloon is taken off, to the page.
    total = tool.in_guest(fast, "grep MemTotal /proc/meminfo")
    assert int(memory_before.split()[1]) - int(total.split()[1]) == 3 * GIB // 1024

    deflated = tool.ok("--vm", fast, "deflate")
    assert deflated["balloon_bytes"] == {"before": 3221225472, "after": 0}
    assert tool.in_guest(fast, "grep MemTotal /proc/meminfo") == memory_before
    written = tool.ok("--vm", fast, "vm", "touch", "--verify")
    assert written["bytes"] > 3.5 * GIB
    assert written["mismatches"] == 0
    assert kernel_warnings(tool, fast) == []


def test_the_unmodified_pair_speaks_page_numbers_and_is_at_least_10_times_slower(tool, fast, boot):
    boot("s", "--variant", "stock", "--memory", "2G")
    durations = {}
    for vm in (fast, "s"):
        touched = tool.ok("--vm", vm, "vm", "touch", "--size", "1600M")
        assert touched["bytes"] == 1600 << 20
        result = tool.ok("--vm", vm, "inflate", "--target", "1536M")
        assert result["balloon_bytes"]["after"] == 1536 << 20
        durations[vm] = result["duration_s"]
        if vm == "s":
            assert result["method"] == "pfn"
            assert result["host_rss_bytes"]["before"] - result["host_rss_bytes"]["after"] >= 1.45 * GIB
            assert set(result["phases_s"].values()) == {None}
        assert tool.ok("--vm", vm, "deflate")["balloon_bytes"]["after"] == 0
    assert durations["s"] >= 10 * durations[fast], durations


@pytest.mark.parametrize(
    ("kernel", "qemu", "reason"),
    [
        ("fast", "stock", "this QEMU (stock) does not have them"),
        ("stock", "fast", "the guest's kernel (stock) does not have them"),
    ],
)
def test_mixed_pairs_fall_back_to_page_numbers_and_to_the_agent_and_say_why(tool, boot, kernel, qemu, reason):
    boot("mixed", "--kernel", kernel, "--qemu", qemu, "--memory", "1G")
    assert (
        reason in tool.refused(3, "--vm", "mixed", "inflate", "--target", "512M", "--method", "page-bitmap")["message"]
    )
    inflated = tool.ok("--vm", "mixed", "inflate", "--target", "512M")
    assert inflated["method"] == "pfn"
    assert inflated["balloon_bytes"]["after"] == 512 << 20
    assert inflated["counts"]["messages"] == 512  # of 256 pages each
    assert tool.ok("--vm", "mixed", "deflate")["balloon_bytes"]["after"] == 0
    assert tool.ok("--vm", "mixed", "vm", "touch", "--verify")["mismatches"] == 0
    drops_its_cache_by(tool, "mixed", "agent")
    assert kernel_warnings(tool, "mixed") == []


def test_the_feature_can_be_left_off(tool, boot):
    boot("off", "--balloon-options", "x-page-bitmap=off", "--memory", "1G")
    error = tool.refused(3, "--vm", "off", "inflate", "--target", "512M", "--method", "page-bitmap")
    assert "x-page-bitmap=off" in error["message"]
    inflated = tool.ok("--vm", "off", "inflate", "--target", "512M", "--method", "pfn")
    assert inflated["method"] == "pfn"
    phases = {name: value for name, value in inflated["phases_s"].items() if value is not None}
    assert sum(phases.values()) == pytest.approx(inflated["duration_s"], rel=0.05)


def test_steps_to_any_page_are_exact(tool, fast):
    for target in (4096, 12288, (1 << 30) + 4096, 3 * GIB - 4096):
        assert tool.ok("--vm", fast, "inflate", "--target", str(target))["balloon_bytes"]["after"] == target
    for target in (2 * GIB + 8192, 4096, 0):
        assert tool.ok("--vm", fast, "deflate", "--to", str(target))["balloon_bytes"]["after"] == target
    again = tool.ok("--vm", fast, "deflate")
    assert again["balloon_bytes"] == {"before": 0, "after": 0}
    assert again["duration_s"] == 0


def test_a_target_that_leaves_the_guest_too_little_ends_short_and_says_so(tool, boot):
    boot("tight", "--memory", "1G")
    ran = tool.run("--vm", "tight", "inflate", "--target", "1020M")
    assert ran.code == 6
    assert "the balloon stopped at" in ran.document["error"]["message"]
    status = tool.ok("vm", "status", "tight")
    assert 0 < status["balloon_bytes"] < 1020 << 20
    assert tool.ok("--vm", "tight", "deflate")["balloon_bytes"]["after"] == 0
