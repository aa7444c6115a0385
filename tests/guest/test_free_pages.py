"""Free pages and the balloon's pages are left out of a migration, and nothing else is."""

import array
import re
from pathlib import Path

import pytest

from fastballoon_cli.host import procfs
from fastballoon_cli.machine.session import connect_agent, hold
from fastballoon_cli.machine.switchover import Handover
from fastballoon_cli.ops import balloon, migrate, workload
from fastballoon_cli.progress import Silent
from fastballoon_cli.qemu import free_pages, migration
from tests.conftest import await_true, kernel_warnings
from tests.guest.migrating import MIB

pytestmark = pytest.mark.guest
POISONING = pytest.mark.our_kernel("it can't poison what is free (CONFIG_PAGE_POISONING)")

PAGE = 4096
#: So slow that most of the memory is still to be sent when the guest answers.
LINK = 128 * MIB


@pytest.fixture(scope="module")
def skipping(tool):
    """A guest of the patched pair that every test leaves running, in whichever QEMU, with an empty balloon."""
    tool.ok("vm", "start", "--name", "skipping", "--memory", "512M")
    yield "skipping"
    assert kernel_warnings(tool, "skipping") == []
    tool.ok("vm", "stop", "skipping")


def test_what_was_freed_is_not_sent(tool, skipping):
    tool.ok("--vm", skipping, "vm", "touch")
    result = tool.ok("--vm", skipping, "migrate", "--skip-free", "--bandwidth", "128M")
    assert (result["method"], result["skip_free"]) == ("free-pages", True)
    free = result["guest_free_bytes"]["before"]
    assert result["told_free_bytes"] >= 0.97 * free
    assert result["ram"]["skipped_free_pages"] * PAGE >= 0.9 * free
    assert result["ram"]["transferred_bytes"] < 200 * MIB
    # Nothing of it was taken from the guest.
    assert result["guest_min_free_bytes"] >= 0.9 * free
    # A second time, from the QEMU that it has come to.
    tool.ok("--vm", skipping, "vm", "touch", "--verify")
    again = tool.ok("--vm", skipping, "migrate", "--skip-free", "--bandwidth", "128M")
    assert again["ram"]["transferred_bytes"] < 200 * MIB

    tool.ok("--vm", skipping, "vm", "touch")
    whole = tool.ok("--vm", skipping, "migrate")
    assert (whole["method"], whole["ram"]["skipped_free_pages"]) == ("precopy", 0)
    assert whole["ram"]["transferred_bytes"] >= 0.9 * free


def test_the_pages_in_the_balloon_are_not_sent_nor_when_it_is_migrated_again(tool, skipping):
    tool.ok("--vm", skipping, "vm", "touch")
    tool.ok("--vm", skipping, "inflate", "--target", "256M")
    for _ in range(2):
        result = tool.ok("--vm", skipping, "migrate")
        # Passes after the first find none of them dirty.
        assert result["skipped_balloon_pages"] == 256 * MIB // PAGE
        ram = result["ram"]
        assert ram["normal_pages"] + ram["zero_pages"] <= ram["total_bytes"] // PAGE - result["skipped_balloon_pages"] \
            + 10_000  # fmt: skip
    assert tool.ok("--vm", skipping, "deflate")["balloon_bytes"]["after"] == 0
    assert tool.ok("--vm", skipping, "vm", "touch", "--verify")["mismatches"] == 0
    assert tool.ok("--vm", skipping, "migrate")["skipped_balloon_pages"] == 0


@pytest.mark.our_kernel("it uses more of its memory for itself", "debian13")
def test_a_fragmented_guest_tells_as_much(tool, boot):
    boot("pieces", "--memory", "512M")
    with hold("pieces", Silent(), need_agent=True) as session:
        session.agent.call("fragment", every=64, timeout=100)
        options = migrate.Options(skip_free=True, bandwidth=LINK)
        result = migrate.migrate(session, options, progress=Silent())
        # A page here and a page there did not fill a huge page each.
        assert procfs.rss_bytes(session.record.pid) < 300 * MIB
    free, sent = result.guest_free_bytes.before, result.ram.transferred_bytes
    # What was sent before the guest was asked is not asked about.
    assert result.told_free_bytes >= 0.97 * free - sent
    assert result.ram.skipped_free_pages * PAGE >= 0.8 * free - sent
    assert kernel_warnings(tool, "pieces") == []


def _huge_bytes(pid):
    """Return how much of a process lies in huge pages that nothing but its own memory is in."""
    rolled_up = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"AnonHugePages:\s+(\d+) kB", rolled_up)[1]) * 1024


def test_the_destination_has_its_huge_pages_where_memory_is_dense(skipping):
    """It loads without any, as it cannot know what will be left out. What came in whole becomes huge pages again."""
    if procfs.thp_setting() == "never":
        pytest.skip("this host makes no huge pages")
    with hold(skipping, Silent(), need_agent=True) as session:
        session.agent.call("churn_start", rate=MIB, seconds=60, size=256 * MIB, timeout=40)
        migrate.migrate(session, migrate.Options(skip_free=True), progress=Silent())
        pid = session.record.pid
        # Two thirds of all that is resident, QEMU's own included; a quarter without.
        await_true(lambda: _huge_bytes(pid) >= 0.45 * procfs.rss_bytes(pid), seconds=20, what="huge pages")
        assert session.agent.call("churn_finish", timeout=60)["mismatches"] == 0


def _migrate_under_work(session, options, *, size, between=lambda number: None):
    """Migrate a guest again and again under one workload; return what each migration counted, and what was checked."""
    session.agent.call("churn_start", rate=48 * MIB, seconds=300, size=size, timeout=40)
    session.agent.close()
    session.agent = None  # to connect to a guest whose code is translated anew takes seconds
    counted = []
    for number, one in enumerate(options):
        between(number)
        counted.append(migrate.migrate(session, one, progress=Silent()).ram)
    session.agent = connect_agent(session.record, timeout=20)
    return counted, session.agent.call("churn_finish", timeout=90)


@pytest.mark.parametrize("times", [6, pytest.param(30, marks=pytest.mark.long)])
def test_many_migrations_in_a_row_lose_no_byte(skipping, times):
    """There and back, free pages skipped and not, with a balloon and without."""
    options = [migrate.Options(skip_free=n % 3 != 2, bandwidth=400 * MIB, downtime_s=0.02) for n in range(times)]
    with hold(skipping, Silent(), need_agent=True) as session:

        def between(number):
            if number % 6 == 2:
                balloon.inflate(session, 128 * MIB, progress=Silent())
            if number % 6 == 4:
                balloon.deflate(session, progress=Silent())

        counted, checked = _migrate_under_work(session, options, size=128 * MIB, between=between)
    assert (checked["mismatches"], checked["failed"]) == (0, [])
    assert checked["pages"] > 1500 * times
    assert min(ram.passes for ram in counted) >= 3
    assert [ram.skipped_free_pages > 0 for ram in counted] == [one.skip_free for one in options]


def test_a_guest_may_refuse_to_tell(tool, skipping):
    parameter = "/sys/module/virtio_balloon/parameters/free_pages"
    for word, refuses in (("N", True), ("Y", False)):
        tool.in_guest(skipping, f"echo {word} > {parameter}")
        with hold(skipping, Silent(), need_agent=True) as session:
            before = session.agent.call("balloon")
            options = migrate.Options(skip_free=True, bandwidth=LINK)
            ram = migrate.migrate(session, options, progress=Silent()).ram
            session.agent = session.agent or connect_agent(session.record, timeout=20)
            after = session.agent.call("balloon")
        assert (ram.skipped_free_pages == 0) == refuses
        assert (after["host_requests_refused"] > before["host_requests_refused"]) == refuses
        assert (after["free_pages_messages"] == before["free_pages_messages"]) == refuses


@pytest.mark.long
def test_many_cpus_write_while_free_pages_are_left_out(boot):
    boot("many", memory_bytes=1024 * MIB, cpus=8, timeout=300)
    with hold("many", Silent(), need_agent=True, patience=60) as session:
        options = [migrate.Options(skip_free=True, bandwidth=400 * MIB, downtime_s=0.05)] * 8
        counted, checked = _migrate_under_work(session, options, size=120 * MIB)
    assert (checked["mismatches"], checked["failed"]) == (0, [])
    assert min(ram.skipped_free_pages for ram in counted) > 0


@pytest.mark.parametrize(
    ("name", "word", "device"),
    [
        pytest.param("poison", "page_poison=1", "", marks=POISONING),
        ("zeroing", "init_on_free=1", ""),
        # QEMU does not know of it, and asks.
        pytest.param("asked", "page_poison=1", "page-poison=off", marks=[pytest.mark.long, POISONING]),
    ],
)
def test_a_guest_whose_free_pages_must_keep_their_content_loses_none(tool, boot, name, word, device):
    boot(name, memory_bytes=512 * MIB, append=word, balloon_options=device)
    with hold(name, Silent(), need_agent=True) as session:
        counted, checked = _migrate_under_work(session, [migrate.Options(skip_free=True)], size=80 * MIB)
    assert (checked["mismatches"], checked["failed"]) == (0, [])
    # It refuses to tell.
    assert {ram.skipped_free_pages for ram in counted} == {0}
    # A page whose poison is gone is reported when it is allocated.
    assert tool.ok("--vm", name, "vm", "touch", "--verify")["mismatches"] == 0
    assert kernel_warnings(tool, name) == []


#: struct page of Linux 6.12 on x86-64, and where its array starts without KASLR.
_VMEMMAP = 0xFFFFEA0000000000
_STRUCT_PAGE = 64
_BUDDY = 0xF0
_UPTODATE = 1 << 3


def _frames(raw: bytes) -> tuple[set[int], set[int], set[int]]:
    """Return the frames in the allocator's free lists, those in the lists of the CPUs, and those that hold data.

    :param raw: the array of struct page.
    """
    longs, words = array.array("Q", raw), array.array("I", raw)
    buddy, cpus, data = set(), set(), set()
    for frame in range(len(raw) // _STRUCT_PAGE):
        kind, references = words[frame * 16 + 12] >> 24, words[frame * 16 + 13]
        if kind == _BUDDY:
            order = longs[frame * 8 + 5]
            buddy.update(range(frame, frame + (1 << order)))
        elif references == 0 and not longs[frame * 8 + 1] & 1:
            cpus.add(frame)
        if longs[frame * 8] & _UPTODATE:
            data.add(frame)
    return buddy, cpus - buddy, data


@pytest.mark.our_kernel("where its array of struct page is, and its form, are not known")
def test_each_page_that_differs_at_the_switchover_is_free(tool, boot, tmp_path):
    """Host-side: both sides are stopped, and all of their memory compared, under a workload."""
    size = 512 * MIB
    boot("compared", "--memory", "512M")
    tool.ok("--vm", "compared", "vm", "touch")
    with hold("compared", Silent(), need_agent=True) as session:
        workload.start_work(session.agent, bandwidth=LINK, timeout=100)
        session.agent.close()
        session.agent = None
        with Handover(session) as pair:
            source, destination = pair.source, pair.destination
            migration.set_capabilities(destination, {"return-path": True})
            migration.set_capabilities(source, {"return-path": True, free_pages.CAPABILITY: True})
            # It is complete no earlier than it is let go.
            migration.set_limits(source, bandwidth=64 * MIB, downtime_s=0.001)
            migration.listen_on(destination, pair.target.spec.migration_socket)
            migration.migrate_to(source, pair.target.spec.migration_socket)
            await_true(lambda: migration.query(source).passes >= 3, seconds=60, what="three passes")
            source.execute("stop")
            migration.set_limits(source, bandwidth=0, downtime_s=1)
            await_true(lambda: migration.query(source).ended, seconds=60, what="the switchover")
            await_true(lambda: migration.query(destination).ended, what="the arrival")
            assert migration.query(source).status == migration.COMPLETED
            assert free_pages.query(source).skipped_free_bytes > 100 * MIB
            for qmp, name in ((source, "source"), (destination, "destination")):
                qmp.execute("pmemsave", {"val": 0, "size": size, "filename": str(tmp_path / name)})
            pages = str(tmp_path / "pages")
            frames = size // PAGE
            source.execute("memsave", {"val": _VMEMMAP, "size": frames * _STRUCT_PAGE, "filename": pages})
            destination.execute("cont")
        session.agent = connect_agent(session.record, timeout=20)
        assert workload.end_work(session.agent, session.record).mismatches == 0
    buddy, cpus, data = _frames((tmp_path / "pages").read_bytes())
    # They are what they are taken for: about as many as the guest has free.
    assert 0.5 < len(buddy) / frames < 1
    assert len(cpus) < 0.05 * frames
    assert len(data) > 0.1 * frames
    here, there = ((tmp_path / name).read_bytes() for name in ("source", "destination"))
    differ = {at // PAGE for at in range(0, size, PAGE) if here[at : at + PAGE] != there[at : at + PAGE]}
    assert len(differ) > 10_000
    taken = differ - buddy - cpus
    assert taken & data == set()
    # Each CPU may just have taken one, and was stopped before it has written to it.
    assert len(taken) <= 2, taken
