"""A domain of libvirt, driven by the tool: what any user of virsh has."""

import pytest

from fastballoon_cli import build
from fastballoon_cli.progress import Silent
from tests.conftest import await_true

MIB = 1 << 20


def test_it_is_listed_and_shown(stock):
    (one,) = stock.ok("vm", "list")["vms"]
    assert (one["name"], one["state"], one["accel"], one["cpus"]) == ("stock", "running", "tcg", 1)
    assert (one["memory_bytes"], one["balloon_bytes"], one["method"]) == (512 * MIB, 0, "pfn")
    assert 64 * MIB < one["host_rss_bytes"] < 600 * MIB
    assert one["uuid"] == stock.host.virsh("domuuid", "stock").strip()
    shown = stock.ok("vm", "status", "stock")
    assert shown.keys() == one.keys()
    assert shown["uri"] == stock.host.uri


def test_an_unmodified_one_gives_memory_back_by_page_numbers_and_is_not_tainted(stock):
    given = stock.ok("inflate", "--target", "256M")
    assert (given["vm"], given["method"]) == ("stock", "pfn")
    assert given["balloon_bytes"] == {"before": 0, "after": 256 * MIB}
    free = given["guest_free_bytes"]
    assert free["before"] - free["after"] == pytest.approx(256 * MIB, abs=48 * MIB)
    assert given["host_rss_bytes"]["before"] > 0
    assert given["guest_cpu_s"] > 0
    assert given["provenance"]["guest_memory_from"] == "statistics"
    assert given["provenance"]["guest_memory_age_s"] < 3
    # QEMU tells libvirt of a balloon's size once a second at most.
    await_true(
        lambda: "balloon.current=262144" in stock.host.virsh("domstats", "--balloon", "stock"),
        seconds=10,
        what="the size that libvirt knows",
    )
    assert stock.ok("vm", "status")["balloon_bytes"] == 256 * MIB

    taken = stock.ok("deflate")
    assert taken["balloon_bytes"] == {"before": 256 * MIB, "after": 0}
    assert "period" not in stock.host.virsh("dumpxml", "stock")  # asked as often as before: never
    assert "custom-monitor" not in (stock.host.folder / "log" / "qemu" / "stock.log").read_text()


def test_what_it_cannot_do_is_refused(stock):
    assert "/proc/sys/vm/drop_caches" in stock.refused(5, "drop-cache")["hint"]
    assert "not below the VM's memory" in stock.refused(2, "inflate", "--target", "512M")["message"]
    assert "virsh" in stock.refused(2, "vm", "stop")["hint"]
    assert (
        "there is no domain 'nobody'"
        in stock.tool.refused(3, "--connect", stock.host.uri, "--vm", "nobody", "inflate", "--target", "256M")[
            "message"
        ]
    )


def test_a_paused_one_is_named_as_such(stock):
    stock.host.virsh("suspend", "stock")
    try:
        error = stock.refused(3, "inflate", "--target", "256M")
        assert "paused" in error["message"]
        assert "resume stock" in error["hint"]
        assert stock.ok("vm", "status")["state"] == "paused"
    finally:
        stock.host.virsh("resume", "stock")


def test_one_with_the_features_moves_in_bitmaps_and_drops_its_cache(fast):
    shown = fast.ok("vm", "status")
    assert (shown["method"], shown["drop_cache_method"], shown["skip_free_method"]) == (
        "page-bitmap",
        "balloon",
        "free-pages",
    )
    given = fast.ok("inflate", "--target", "256M")
    assert given["method"] == "page-bitmap"
    assert given["balloon_bytes"] == {"before": 0, "after": 256 * MIB}
    assert 0 < given["counts"]["messages"] < 100
    assert given["provenance"]["clock"] == "qemu"
    assert given["provenance"]["device_options"]["x-drop-cache"] is True
    assert fast.ok("deflate")["balloon_bytes"]["after"] == 0
    dropped = fast.ok("drop-cache")
    assert dropped["method"] == "balloon"
    assert dropped["freed_bytes"] > 0


def test_what_a_domain_has_is_not_added_again(fast):
    before = fast.host.virsh("dumpxml", "--inactive", "fast")
    assert fast.ok("vm", "xml", "--apply") == {"schema_version": 1, "vm": "fast", "added": "", "applied": False}
    assert fast.host.virsh("dumpxml", "--inactive", "fast") == before


def test_what_a_domain_lacks_is_printed_and_not_defined(stock):
    before = stock.host.virsh("dumpxml", "--inactive", "stock")
    added = stock.ok("vm", "xml", "stock")["added"]
    assert "<emulator>" in added
    assert "<qemu:property name='x-page-bitmap' type='bool' value='true'/>" in added
    assert stock.host.virsh("dumpxml", "--inactive", "stock") == before
    unmodified = str(build.qemu(build.Variant.STOCK, Silent()).binary)
    assert "does not have fastballoon's series" in stock.refused(3, "vm", "xml", "--emulator", unmodified)["message"]
    assert "does not run" in stock.refused(3, "vm", "xml", "--emulator", "/bin/true")["message"]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("inflate", "--target", "128M"), ("setmem", "stock", "393216KiB", "--live")),
        (("deflate",), ("setmem", "stock", "524288KiB", "--live")),
    ],
)
def test_a_dry_run_prints_what_virsh_would_do(stock, command, words):
    (line,) = (one for one in stock.ok(*command, "--dry-run")["commands"] if not one.startswith("#"))
    assert line.split()[3:] == list(words)
    stock.host.run(*line.replace(stock.host.uri, "qemu:///system").replace("'", "").split())


def test_all_domains_at_once(fast, stock):
    at = ("--connect", stock.host.uri, "--all")
    given = stock.tool.ok(*at, "inflate", "--target", "128M")
    assert [(one["vm"], one["method"]) for one in given["vms"]] == [("fast", "page-bitmap"), ("stock", "pfn")]
    assert given["balloon_bytes"] == {"before": 0, "after": 256 * MIB}
    stock.host.virsh("suspend", "stock")
    try:
        ran = stock.tool.run(*at, "inflate", "--target", "256M")
    finally:
        stock.host.virsh("resume", "stock")
    assert ran.code == 3
    assert ran.document["vms"][0]["balloon_bytes"]["after"] == 256 * MIB
    assert "resume stock" in ran.document["vms"][1]["error"]["hint"]
    assert stock.tool.ok(*at, "deflate")["balloon_bytes"] == {"before": 384 * MIB, "after": 0}
