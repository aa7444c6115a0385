"""A page that QEMU refuses costs itself: the others of its message change hands, and no page of the guest is lost."""

import pytest

from fastballoon_cli.host import procfs
from fastballoon_cli.machine.session import connect_agent, hold
from fastballoon_cli.ops import balloon, migrate, vm
from fastballoon_cli.progress import Silent
from fastballoon_cli.qemu.balloon import BalloonDevice
from tests.conftest import kernel_warnings
from tests.guest.strained import MIB, PAGE

pytestmark = pytest.mark.guest

#: What QEMU takes for no RAM of the guest. It begins and ends within a block.
REFUSED = range(0x18001000, 0x1BFFF000)
#: Of the balloon; most of what the guest can do without, so that some of that range is in it.
SIZE = 768 * MIB
#: Blocks that touch its edges are refused whole.
AT_MOST = (len(REFUSED) + 8 * MIB) // PAGE


@pytest.fixture
def refusing(keep):
    option = f"x-debug-refuse={REFUSED.start:x}-{REFUSED.stop:x}"
    # On a busy host what has touched the memory may still be about to end, and the floor is not what is tried here.
    floor = "virtio_balloon.floor_kbytes=32768"
    return keep("refusing", "--memory", "1G", "--balloon-options", option, "--append", floor)


def _inflate_all(session):
    """Inflate so far that the refused range is in the balloon, and return what the guest counted."""
    before = session.agent.call("balloon")
    balloon.inflate(session, SIZE, progress=Silent())
    after = session.agent.call("balloon")
    return {name: after[name] - before[name] for name in ("inflate_rejected", "inflate_pages")}


def test_the_host_gains_all_but_the_refused(tool, refusing):
    with hold(refusing, Silent(), need_agent=True) as session:
        vm.touch(session.agent, Silent())
        before = procfs.rss_bytes(session.record.pid)
        counted = _inflate_all(session)
        assert counted["inflate_pages"] == SIZE // PAGE
        assert counted["inflate_rejected"] > 0
        # The guest has touched all but what it needs itself.
        assert before - procfs.rss_bytes(session.record.pid) >= SIZE - AT_MOST * PAGE - 64 * MIB
        device = BalloonDevice(session.qmp).counters()
        assert 0 < SIZE // PAGE - device.inflate.pages <= AT_MOST
        # Both ends count the same blocks.
        assert device.inflate.refused == counted["inflate_rejected"]
        assert 0 < device.inflate.errors <= device.inflate.messages
        assert balloon.deflate(session, progress=Silent()).balloon_bytes.after == 0
    assert len([line for line in kernel_warnings(tool, refusing) if "virtio_balloon" in line]) <= 2


def test_no_page_is_lost_after_a_refusal(tool, refusing):
    """What the guest uses again is sent: the device must not go on taking it for a page of the balloon."""
    with hold(refusing, Silent(), need_agent=True) as session:
        for _ in range(2):
            # Twice, in parts: messages that are refused in part on the way in and on the way out.
            assert _inflate_all(session)["inflate_rejected"] > 0
            balloon.deflate(session, 300 * MIB + 5 * PAGE, progress=Silent())
            balloon.deflate(session, progress=Silent())
        session.agent.call("churn_start", rate=32 * MIB, seconds=300, size=640 * MIB, timeout=60)
        session.agent.close()
        session.agent = None
        skipped = []
        for skip_free in (False, True):
            result = migrate.migrate(session, migrate.Options(skip_free=skip_free), progress=Silent())
            skipped.append(result.skipped_balloon_pages)
        session.agent = connect_agent(session.record, timeout=60)
        checked = session.agent.call("churn_finish", timeout=90)
    assert skipped == [0, 0]
    assert (checked["mismatches"], checked["failed"]) == (0, [])
    assert tool.ok("--vm", refusing, "vm", "touch", "--verify")["mismatches"] == 0


def test_what_is_refused_and_in_the_balloon_is_not_lost_at_a_migration(tool, refusing):
    with hold(refusing, Silent(), need_agent=True) as session:
        vm.touch(session.agent, Silent())
        _inflate_all(session)
        session.agent.close()
        session.agent = None
        skipped = migrate.migrate(session, migrate.Options(), progress=Silent()).skipped_balloon_pages
        assert 0 < SIZE // PAGE - skipped <= AT_MOST
    assert tool.ok("--vm", refusing, "deflate")["balloon_bytes"]["after"] == 0
    assert tool.ok("--vm", refusing, "vm", "touch", "--verify")["mismatches"] == 0
    assert tool.ok("vm", "status", refusing)["host_rss_bytes"] > 900 * MIB
    assert not [line for line in kernel_warnings(tool, refusing) if "virtio_balloon" not in line]
