"""What an inflated balloon does to its host: how soon the monitor answers meanwhile, and whether memory creeps back."""

import socket
import threading
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from fastballoon_cli.host import procfs
from fastballoon_cli.machine.session import hold
from fastballoon_cli.ops import balloon, vm
from fastballoon_cli.progress import Silent
from tests.conftest import await_true
from tests.guest.strained import GIB, MIB, Asking, without_huge_pages

pytestmark = [pytest.mark.guest, pytest.mark.long]

KHUGEPAGED = Path("/sys/kernel/mm/transparent_hugepage/khugepaged")


@pytest.mark.parametrize(
    ("memory", "size"),
    [
        (2 * GIB, 1536 * MIB),
        pytest.param(12 * GIB, 8 * GIB, marks=pytest.mark.timeout(1500)),
    ],
)
def test_the_monitor_answers_while_a_guest_gives_memory(boot, record_property, memory, size):
    """On a host without huge pages, where each page is freed by itself."""
    longest = {}
    for method, options in (("pfn", "x-page-bitmap=off"), ("page-bitmap", "")):
        with without_huge_pages():
            boot("giving", memory_bytes=memory, balloon_options=options)
        with hold("giving", Silent(), need_agent=True) as session:
            vm.touch(session.agent, Silent(), size=size * 17 // 16)
            before = procfs.rss_bytes(session.record.pid)
            with Asking("giving") as asking:
                result = balloon.inflate(session, size, timeout=600, progress=Silent())
            assert result.method == method
            if method == "page-bitmap":
                # A batch has 4 GiB at most, as nobody gets at any of it before the host has answered.
                assert result.counts.kicks >= -(-size // (4 * GIB))
            assert before - procfs.rss_bytes(session.record.pid) >= 0.9 * size
            longest[method] = asking.longest
        vm.stop("giving", Silent())
    record_property("longest answer, s", longest)
    assert longest["page-bitmap"] <= max(0.02, 2 * longest["pfn"]), longest


@contextmanager
def _overcommitted():
    """Have the host promise more memory than it has, whatever becomes of it: this is of the whole machine."""
    setting = Path("/proc/sys/vm/overcommit_memory")
    before = setting.read_text()
    try:
        setting.write_text("1")
        yield
    finally:
        setting.write_text(before)


def _sent(ask):
    """Return how many bytes the current migration has sent."""
    return ask("query-migrate").get("ram", {}).get("transferred", 0)


@contextmanager
def _sink(path):
    """Take what a migration sends and forget it; yields the URI."""

    def drain():
        with suppress(OSError), listener.accept()[0] as connection:
            while connection.recv(1 << 20):
                pass

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        draining = threading.Thread(target=drain)
        draining.start()
        try:
            yield f"unix:{path}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            draining.join()


@pytest.mark.timeout(900)
def test_the_monitor_answers_while_a_sparse_guests_migration_begins(boot, record_property, tmp_path, monkeypatch):
    """The first sync finds all 64 GiB dirty; the guest uses one and tells of the others."""
    memory, longest = 64 * GIB, {}
    monkeypatch.setattr(vm, "require_memory", lambda *_: None)
    with _overcommitted():
        for skipping, options in ((False, "x-page-bitmap=off,x-free-pages=off"), (True, "")):
            boot("sparse", memory_bytes=memory, balloon_options=options, timeout=300)
            with hold("sparse", Silent()) as session, _sink(tmp_path / f"sink-{skipping}") as uri:
                session.qmp.execute("migrate-set-parameters", {"max-bandwidth": 64 * MIB})
                with Asking("sparse") as asking:
                    session.qmp.execute("migrate", {"uri": uri})
                    await_true(
                        lambda ask=session.qmp.execute: _sent(ask) > 256 * MIB,
                        seconds=60,
                        what="the migration to be under way",
                    )
                told = session.qmp.execute("x-query-balloon-free-pages")
                session.qmp.execute("migrate_cancel")
            assert (told["skipped-free-bytes"] > 0.9 * memory) == skipping
            longest[skipping] = asking.longest
            vm.stop("sparse", Silent())
    record_property("longest answer, s", longest)
    assert longest[True] <= max(0.02, 2 * longest[False]), longest


@contextmanager
def _khugepaged_hurries():
    """Have the host's khugepaged go through all memory as fast as it can: this is of the whole machine."""
    hurry = {"scan_sleep_millisecs": "0", "alloc_sleep_millisecs": "0", "pages_to_scan": "65536"}
    before = {name: (KHUGEPAGED / name).read_text() for name in hurry}
    try:
        for name, value in hurry.items():
            (KHUGEPAGED / name).write_text(value)
        yield lambda: int((KHUGEPAGED / "full_scans").read_text())
    finally:
        for name, value in before.items():
            (KHUGEPAGED / name).write_text(value)


@pytest.mark.timeout(900)
def test_what_a_fragmented_guest_has_given_does_not_creep_back(boot, record_property):
    """A page here and a page there must not have khugepaged make whole huge pages of the balloon's memory."""
    if procfs.thp_setting() == "never":
        pytest.skip("this host makes no huge pages")
    boot("pieces", "--memory", "2G")
    with hold("pieces", Silent(), need_agent=True) as session:
        session.agent.call("fragment", every=64, timeout=300)
        balloon.inflate(session, 1280 * MIB, progress=Silent())
        before = procfs.rss_bytes(session.record.pid)
        with _khugepaged_hurries() as scans:
            begun = scans()
            # The one that is under way, and two more.
            await_true(lambda: scans() >= begun + 3, seconds=300, what="khugepaged to go through twice")
        after = procfs.rss_bytes(session.record.pid)
    record_property("rss", {"before": before // MIB, "after": after // MIB})
    assert after <= 1.05 * before + 32 * MIB, (before // MIB, after // MIB)
