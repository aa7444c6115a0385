"""A domain that has nothing of ours: the distribution's QEMU, the distribution's kernel, no agent, no network."""

import pytest

from tests.libvirt import distribution
from tests.libvirt.conftest import At, define, start

pytestmark = [pytest.mark.long]

MIB = 1 << 20


@pytest.fixture(scope="module")
def plain(tool, host, folder):
    if reason := distribution.lacking():
        pytest.skip(reason)
    place = folder / "distribution"
    place.mkdir()
    kernel = distribution.fetch_kernel(place)
    initrd = distribution.make_initrd(kernel, place, touched_mib=500)
    console = folder / "plain.console"
    define(host, folder, "plain", distribution.domain_xml("plain", kernel, initrd, console, memory_mib=1024))
    start(host, folder, "plain")
    yield At(tool, host, "plain")
    host.virsh("destroy", "plain")
    host.virsh("undefine", "plain")


def test_it_gives_memory_back_and_has_it_again(plain):
    shown = plain.ok("vm", "status")
    assert (shown["state"], shown["method"], shown["memory_bytes"]) == ("running", "pfn", 1024 * MIB)

    given = plain.ok("inflate", "--target", "512M")
    assert (given["method"], given["balloon_bytes"]) == ("pfn", {"before": 0, "after": 512 * MIB})
    rss = given["host_rss_bytes"]
    assert rss["before"] - rss["after"] > 300 * MIB
    free = given["guest_free_bytes"]
    assert free["before"] - free["after"] == pytest.approx(512 * MIB, abs=64 * MIB)
    assert given["guest_cpu_s"] > 0
    assert given["provenance"]["guest_memory_from"] == "statistics"

    taken = plain.ok("deflate")
    assert taken["balloon_bytes"] == {"before": 512 * MIB, "after": 0}
    free = taken["guest_free_bytes"]
    assert free["after"] - free["before"] == pytest.approx(512 * MIB, abs=64 * MIB)
    assert taken["guest_cpu_s"] > 0


def test_it_is_approached_no_further_than_what_the_guest_can_spare(plain):
    # The guest tells its figures once a second, and is asked before each step.
    ran = plain.run("inflate", "--target", "1000M")
    assert ran.code == 6, ran.out
    assert "available" in ran.document["error"]["message"]
    assert plain.ok("deflate")["balloon_bytes"]["after"] == 0
