"""A domain between two hosts: two libvirt daemons, a link between them, a guest that must be on one of them."""

import re
import signal
import statistics
import time

import pytest

from tests.conftest import await_true

MIB = 1 << 20
#: Of the guest's 512 MiB, written to and free again.
_TOUCHED = 300
#: So slow that something can be done meanwhile.
_SLOW = ("--bandwidth", "8M")


_TOUCH = f"python3 -c 'b = bytearray(b\"x\") * ({_TOUCHED} << 20)'"


def _touch(two) -> None:
    two.in_guest(_TOUCH)


def test_its_guest_moves_to_and_fro_with_free_pages_and_without(two):
    _touch(two)
    boot = two.in_guest("cat /proc/sys/kernel/random/boot_id")
    whole = two.tool.ok(*two.words())
    assert (whole["method"], whole["skip_free"]) == ("precopy", False)
    assert whole["ram"]["transferred_bytes"] > _TOUCHED * MIB
    assert two.here()[0] is two.b
    assert two.in_guest("cat /proc/sys/kernel/random/boot_id") == boot

    skipping = two.tool.ok(*two.words("--skip-free"))
    assert (skipping["method"], skipping["skip_free"]) == ("free-pages", True)
    assert skipping["ram"]["transferred_bytes"] < (_TOUCHED // 2) * MIB
    # None where it was over before anybody could look.
    skipped = skipping["ram"]["skipped_free_pages"]
    assert skipped is None or skipped * 4096 > _TOUCHED * MIB
    assert skipping["guest_paused_s"] is None
    assert 0 < skipping["downtime_s"] < skipping["total_s"]
    assert skipping["guest_free_bytes"]["after"] > 0
    assert (skipping["provenance"]["source"], skipping["provenance"]["destination"]) == (two.b.uri, two.a.uri)
    assert two.here()[0] is two.a
    assert two.in_guest("cat /proc/sys/kernel/random/boot_id") == boot
    # Nobody goes on asking the guest for statistics, at either host.
    assert "<stats period" not in two.a.virsh("dumpxml", two.name)


def test_several_connections_and_a_balloon_that_goes_along(two):
    source, _ = two.here()
    at = ("--connect", source.uri, "--vm", two.name)
    two.tool.ok(*at, "inflate", "--target", "128M")
    moved = two.tool.ok(*two.words("--parallel", "2", "--direct", "--skip-free"))
    assert moved["provenance"]["parallel_connections"] == 2
    now = ("--connect", two.here()[0].uri, "--vm", two.name)
    assert two.tool.ok(*now, "vm", "status")["balloon_bytes"] == 128 * MIB
    assert two.tool.ok(*now, "deflate")["balloon_bytes"]["after"] == 0


def test_one_that_is_cancelled_leaves_the_guest_where_it_was(two):
    _touch(two)
    source, target = two.here()
    # Before libvirt is at work there is nothing that it can cancel, and then that takes half a minute.
    ran = two.tool.run(*two.words(*_SLOW, "--cancel-after", "1s"))
    assert ran.code == 7, ran.out
    assert "runs on where it was" in ran.document["error"]["message"]
    assert two.here() == (source, target)
    assert two.in_guest("echo alive") == "alive\n"
    # Too slow is said with what to do about it.
    ran = two.tool.run("--timeout", "2", *two.words(*_SLOW))
    assert ran.code == 7, ran.out
    assert "--bandwidth" in ran.document["error"]["hint"]
    assert two.here() == (source, target)


def _begin(two, *arguments):
    """Start a migration and return when libvirt is at it."""
    source, _ = two.here()
    process = two.tool.start(*two.words(*arguments))
    await_true(
        lambda: "Outgoing migration" in source.virsh("domjobinfo", two.name) or process.poll() is not None,
        seconds=30,
        what="a migration",
    )
    time.sleep(0.5)  # some memory has gone
    assert process.poll() is None
    return process


def test_ctrl_c_cancels(two):
    _touch(two)
    source, target = two.here()
    process, since = _begin(two, *_SLOW), time.monotonic()
    process.send_signal(signal.SIGINT)
    ran = two.tool.finish(process, since=since)
    assert (ran.code, ran.seconds < 10) == (130, True)
    assert two.here() == (source, target)


def _occupied_seconds(host, name) -> float:
    """Return for how long libvirt has kept everybody from asking a domain something."""
    said = re.search(r"\(([0-9.]+)s\)", host.virsh("domcontrol", name))
    return float(said[1]) if said else 0.0


def test_ctrl_c_is_obeyed_within_seconds_while_the_source_still_connects(two):
    source, target = two.here()
    two.switch.cut(target)
    try:
        process = two.tool.start(*two.words())
        await_true(
            lambda: _occupied_seconds(source, two.name) > 1 or process.poll() is not None,
            seconds=60,
            what="a source that connects",
        )
        since = time.monotonic()
        process.send_signal(signal.SIGINT)
        ran = two.tool.finish(process, since=since)
        assert (ran.code, ran.seconds < 15) == (130, True), ran.err
        # libvirt itself cannot be stopped at that: what to do about it is said.
        assert f"virsh -c '{source.uri}' domjobabort {two.name}" in ran.err
    finally:
        two.switch.cut(target, again=True)

    def over() -> bool:
        source.try_virsh("domjobabort", two.name)
        return two.name not in target.domains() and "None" in source.virsh("domjobinfo", two.name)

    await_true(over, seconds=90, what="an end of the migration")
    assert two.here() == (source, target)
    assert two.in_guest("echo alive") == "alive\n"


def test_a_link_that_is_cut_for_5_seconds_delays_it(two):
    _touch(two)
    _, target = two.here()
    process, since = _begin(two, "--bandwidth", "64M"), time.monotonic()
    two.switch.cut(target)
    time.sleep(5)
    two.switch.cut(target, again=True)
    ran = two.tool.finish(process, since=since)
    assert ran.code == 0, ran.err
    assert ran.document["total_s"] > 5
    assert two.here()[0] is target
    assert two.in_guest("echo alive") == "alive\n"


@pytest.mark.parametrize("times", [2, pytest.param(20, marks=[pytest.mark.long, pytest.mark.timeout(1800)])])
def test_no_page_is_lost_on_the_way(two, times):
    for _ in range(times):
        source, target = two.here()
        moved = two.beside(*two.words("--skip-free", "--verify"))
        assert moved["verified"]["mismatches"] == 0
        assert moved["verified"]["pages"] > 1000
        assert moved["provenance"]["guest_memory_from"] == "agent"
        assert moved["guest_memory"]
        assert two.here() == (target, source)
        # Nor is a QEMU left that nobody knows.
        assert [one.run("sh", "-c", "pgrep -c qemu-system || :").strip() for one in (target, source)] == ["1", "0"]


@pytest.mark.long
@pytest.mark.timeout(900)
def test_no_more_is_sent_than_between_two_qemus_of_the_tools_own(two, tool, boot, record_property):
    boot("own", "--memory", "512M")
    sent = {"libvirt": [], "own": []}
    for _ in range(3):
        _touch(two)
        sent["libvirt"].append(two.tool.ok(*two.words("--skip-free"))["ram"]["transferred_bytes"])
        tool.in_guest("own", _TOUCH)
        sent["own"].append(tool.ok("--vm", "own", "migrate", "--skip-free")["ram"]["transferred_bytes"])
    record_property("bytes", sent)
    # A guest has more in its cache with each of them, and not always as much.
    assert statistics.median(sent["libvirt"]) <= 1.1 * statistics.median(sent["own"]), sent


def test_memory_is_sent_where_the_user_says(two):
    _, target = two.here()
    error = two.tool.refused(7, *two.words("--migrate-uri", "tcp://nobody.invalid"))
    assert "--migrate-uri" in error["hint"]
    two.tool.ok(*two.words("--skip-free", "--migrate-uri", f"tcp://{target.address}"))
    assert two.here()[0] is target


def test_it_is_encrypted_for_the_host_that_has_the_certificate(two):
    source, target = two.here()
    # The certificate is for the address: who sends to a name, does not know whom it is talking to.
    error = two.tool.refused(7, *two.words("--tls", "--migrate-uri", f"tcp://{target.name}"))
    assert "certificate" in error["hint"]
    assert two.here() == (source, target)
    moved = two.tool.ok(*two.words("--skip-free", "--tls"))
    assert moved["provenance"]["tls"] is True
    assert moved["skip_free"] is True
    assert two.here() == (target, source)
    assert two.in_guest("echo alive") == "alive\n"


def test_what_would_be_done_is_printed(two):
    source, target = two.here()
    lines = two.tool.ok(*two.words("--skip-free", "--bandwidth", "100M", "--dry-run"))["commands"]
    assert "x-skip-free-pages" in lines[0]
    assert lines[-1].startswith(f"virsh -c '{source.uri}' migrate --live --p2p --persistent --undefinesource")
    assert lines[-1].endswith(f"--bandwidth 100 {two.name} '{target.uri}'")
    assert two.here() == (source, target)


def test_what_cannot_be_is_refused(two):
    source, _ = two.here()
    at = ("--connect", source.uri, "--vm", two.name, "migrate")
    assert "--to" in two.tool.refused(2, *at)["hint"]
    error = two.tool.refused(3, *at, "--to", "qemu+unix:///system?socket=/nowhere")
    assert "cannot connect to libvirt at qemu+unix:///system?socket=/nowhere" in error["message"]
    assert two.here()[0] is source


def test_a_destination_that_dies_leaves_the_guest_where_it_was(two):
    """The last one: it takes a host with it."""
    _touch(two)
    source, target = two.here()
    process, since = _begin(two, *_SLOW), time.monotonic()
    target.close()
    ran = two.tool.finish(process, since=since)
    assert ran.code == 7, ran.out
    assert "runs on where it was" in ran.document["error"]["message"]
    assert source.virsh("domstate", two.name).strip() == "running"
    assert two.in_guest("echo alive") == "alive\n"
