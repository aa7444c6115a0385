"""Migrations of domains of a libvirt that is made up: what is said to it, how they end, and what is told of them."""

import json
import time

import pytest

from fastballoon_cli.ops import migrate_domain
from tests.unit.fake_libvirt import FAR, OURS, Domain, LibvirtError, at, ok, refused
from tests.unit.made import GIB

pytestmark = pytest.mark.usefixtures("runtime")

MIB = 1 << 20


def test_a_migration_says_to_libvirt_what_it_was_asked(fastballoon, binding, web):
    binding.daemon(FAR)
    options = ("--bandwidth", "100M", "--downtime-limit", "200ms", "--parallel", "4", "--tls")
    result = ok(fastballoon, "migrate", "--to", FAR, *options)
    assert binding.said("migrateSetMaxDowntime") == [["migrateSetMaxDowntime", 200, 0]]
    flags = 1 | 2 | 8 | 16 | 131072 | 65536
    assert binding.said("migrateToURI3") == [["migrateToURI3", FAR, {"bandwidth": 100, "parallel": 4}, flags]]
    assert (result["total_s"], result["downtime_s"], result["guest_paused_s"]) == (1.5, 0.04, None)
    assert result["ram"]["transferred_bytes"] == 7 * MIB
    assert (result["provenance"]["destination"], result["provenance"]["host"]) == (FAR, "far")
    assert result["guest_free_bytes"]["after"] == 300 * MIB


def test_one_that_fails_says_why_and_where_the_guest_is(fastballoon, binding, web):
    binding.daemon(FAR)
    web.migrates = LibvirtError("unable to connect to server at 'far:49152'")
    error = refused(fastballoon, 7, "migrate", "--to", FAR)
    assert error["message"] == (
        "the migration failed: libvirt refused: unable to connect to server at 'far:49152'; "
        "the guest runs on where it was"
    )
    assert "--migrate-uri tcp://" in error["hint"]
    web.migrates = LibvirtError("Unable to resolve address 'far' service '49152': Name or service not known")
    assert "--migrate-uri tcp://" in refused(fastballoon, 7, "migrate", "--to", FAR)["hint"]
    web.migrates = LibvirtError(f"Failed to connect to remote libvirt URI {FAR}: Cannot recv data: Permission denied")
    assert "--direct" in refused(fastballoon, 7, "migrate", "--to", FAR)["hint"]
    web.migrates = LibvirtError("Unsafe migration: Migration without shared storage is unsafe")
    assert "NFS" in refused(fastballoon, 7, "migrate", "--to", FAR, "--tls")["hint"]
    web.migrates = LibvirtError("qemu-system-x86_64: Not a migration stream")
    assert "certificate" in refused(fastballoon, 7, "migrate", "--to", FAR, "--tls")["hint"]
    assert refused(fastballoon, 7, "migrate", "--to", FAR)["hint"] is None
    web.state_then = 3
    error = refused(fastballoon, 4, "migrate", "--to", FAR)
    assert "at the source the guest is 'paused', at the destination 'not there'" in error["message"]


def test_one_that_libvirt_does_not_cancel_is_given_up(fastballoon, binding, web, monkeypatch):
    monkeypatch.setattr(migrate_domain, "_CANCEL_SECONDS", 0.2)
    monkeypatch.setattr(migrate_domain, "_GIVE_UP_SECONDS", 0.2)
    binding.daemon(FAR)
    web.arrival.clear()
    error = refused(fastballoon, 4, "migrate", "--to", FAR, "--cancel-after", "0.1s")
    assert error["message"].endswith("which libvirt did not do within 0.2 s")
    assert binding.said("abortJob")


def test_a_source_that_connects_for_ever_is_left_within_seconds(fastballoon, binding, web, monkeypatch):
    """libvirt holds everybody up meanwhile, for 30 s each: what is still to be said to it, too."""
    monkeypatch.setattr(migrate_domain, "_CANCEL_SECONDS", 0.2)
    binding.daemon(FAR)
    web.connects_for_ever = True
    web.arrival.clear()
    begun = time.monotonic()
    ran = at(fastballoon, "migrate", "--to", FAR, "--cancel-after", "0.1s")
    assert (ran.returncode, time.monotonic() - begun < 15) == (4, True), ran.stdout
    assert "it may still do so, or go on" in ran.stderr
    assert "virsh -c qemu:///system domjobabort web" in ran.stderr
    assert binding.said("abortJob")
    # Nor was there time to have the guest asked for statistics as often as before: the next command does that.
    assert binding.said("setMemoryStatsPeriod") == [["setMemoryStatsPeriod", 1, 1]]
    web.connects_for_ever, web.period = False, 1
    ok(fastballoon, "deflate")
    assert binding.said("setMemoryStatsPeriod")[1] == ["setMemoryStatsPeriod", 0, 1]


@pytest.mark.parametrize("active", [False, True])
def test_what_was_skipped_is_told_only_if_it_was_seen_after_the_last_pass(fastballoon, binding, daemon, active):
    """The source's QEMU is gone by then, and libvirt may have let nobody ask it in time."""
    binding.daemon(FAR)
    web = Domain(daemon, "web", more=OURS)
    daemon.domains.append(web)
    nothing = {"told-bytes": 0, "answer-ns": 0, "skipped-free-bytes": 0, "skipped-balloon-bytes": 0}
    query, capability = "x-query-balloon-free-pages", "x-skip-free-pages"
    web.answers = {
        "query-version": {"qemu": {"major": 10, "minor": 0, "micro": 0}},
        "query-migrate-capabilities": [{"capability": capability, "state": True}],
        "qom-list": [{"name": "balloon0", "type": "child<virtio-balloon-pci>"}],
        "query-memory-size-summary": {"base-memory": GIB},
        "query-memory-devices": [],
        "migrate-set-capabilities": {},
        query: {**nothing, "negotiated": True, "active": False},
    }
    seen = {"told-bytes": 8 * MIB, "answer-ns": 20_000_000, "skipped-free-bytes": 4 * MIB, "skipped-balloon-bytes": 0}
    web.answers_then = {query: {**seen, "negotiated": True, "active": active}}
    result = ok(fastballoon, "migrate", "--to", FAR, "--skip-free")
    assert result["ram"]["skipped_free_pages"] == (None if active else 1024)
    assert result["skipped_balloon_pages"] == (None if active else 0)
    assert (result["told_free_bytes"], result["answer_s"]) == (8 * MIB, 0.02)


def test_where_memory_is_sent_is_passed_on_and_is_for_domains(fastballoon, binding, web):
    """The destination's name need not resolve at the source."""
    binding.daemon(FAR)
    to = ("migrate", "--to", FAR, "--migrate-uri")
    assert ok(fastballoon, *to, "tcp://10.0.0.2", "--dry-run")["commands"][-1].endswith(
        f"--migrateuri tcp://10.0.0.2 web {FAR}"
    )
    for wrong in ("10.0.0.2", "tcp://", "qemu+ssh://far/system", "tcp://10.0.0.2/x y"):
        assert "tcp://10.0.0.2" in refused(fastballoon, 2, *to, wrong)["hint"]
    assert binding.said("migrateToURI3") == []
    ok(fastballoon, *to, "tcp://10.0.0.2")
    assert binding.said("migrateToURI3")[0][2] == {"migrate_uri": "tcp://10.0.0.2"}
    ran = fastballoon("--json", "--vm", "mine", "migrate", "--migrate-uri", "tcp://10.0.0.2")
    assert (ran.returncode, "--connect" in json.loads(ran.stdout)["error"]["hint"]) == (2, True)


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_a_domain_that_libvirt_is_at_work_with_is_not_migrated(fastballoon, binding, web, more):
    binding.daemon(FAR)
    web.job = 2
    error = refused(fastballoon, 3, "migrate", "--to", FAR, *more)
    assert "busy with another job" in error["message"]
    assert "domjobinfo web" in error["hint"]
    assert binding.said("migrateToURI3") == []


def test_free_pages_are_not_skipped_where_nothing_tells_of_them(fastballoon, binding, web):
    binding.daemon(FAR)
    hint = refused(fastballoon, 3, "migrate", "--to", FAR, "--skip-free")["hint"]
    assert "fastballoon --connect qemu:///system vm xml web --apply" in hint
    assert "vm start" not in hint
    assert binding.said("migrateToURI3") == []


def test_a_migration_to_nowhere_or_of_one_of_our_own_to_a_host_is_refused(fastballoon, web):
    assert "--to" in refused(fastballoon, 2, "migrate")["hint"]
    assert "cannot connect" in refused(fastballoon, 3, "migrate", "--to", FAR)["message"]
    ran = fastballoon("--json", "--vm", "mine", "migrate", "--to", FAR)
    assert (ran.returncode, "domains of libvirt" in json.loads(ran.stdout)["error"]["message"]) == (2, True)
