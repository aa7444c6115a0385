"""A host that answers wrongly: the guest stays usable, and has its memory back when the host behaves or is let go.

The guest is under ``panic_on_warn``: a warning ends it. QEMU is the series with a patch that makes the device misbehave
on demand; see the head of virtio-hostile.c.inc in it.
"""

from dataclasses import dataclass

import pytest

from tests.conftest import await_true
from tests.hostile_host.host import (
    ALL_FREE_PAGES,
    ANSWERS,
    DEFLATE,
    INFLATE,
    MIB,
    REQUESTS,
    SLOT_BYTES,
    STATS,
)

pytestmark = [pytest.mark.guest, pytest.mark.long, pytest.mark.timeout(900)]

FULL = 256 * MIB


@dataclass(frozen=True)
class Wrong:
    """How buffers of a queue are returned wrongly while the balloon moves.

    :ivar words: for x-hostile.
    :ivar lost: the driver can't use the queue any more, and has to be bound anew.
    :ivar undone: what the message asks for is not done, so that a page that was to come back stays.
    """

    words: str
    lost: bool = False
    undone: bool = False


def _both(name: str, words: str, *, lost: bool = False, undone: bool = False) -> dict[str, Wrong]:
    """Return a case for inflating and one for deflating."""
    return {
        f"{name}-{way}": Wrong(words.format(queue=queue), lost, undone)
        for way, queue in (("inflate", INFLATE), ("deflate", DEFLATE))
    }


WRONG = {
    **_both("nothing-written", "len:{queue}:0:0", undone=True),
    **_both("half-a-response-written", "len:{queue}:0:4", undone=True),
    **_both("more-written-than-there-is", "len:{queue}:0:0xffffffff"),
    **_both("always-malformed", "write32:{queue}:0:0:1", undone=True),
    **_both("always-out-of-range", "write32:{queue}:0:0:2"),
    **_both("unknown-status", "write32:{queue}:0:0:0xdeadbeef", undone=True),
    **_both("refuses-more-than-was-sent", "write32:{queue}:0:4:0xffffffff"),
    **_both("returned-twice", "twice:{queue}:1", lost=True),
    **_both("another-id", "id:{queue}:1:77", lost=True),
    **_both("an-id-out-of-range", "id:{queue}:1:9999", lost=True),
    **_both("more-than-there-were", "skip:{queue}:1:3", lost=True),
}


@pytest.mark.parametrize("case", WRONG)
def test_buffers_returned_wrongly(host, case):
    wrong = WRONG[case]
    deflating = case.endswith("-deflate")
    if deflating:
        host.moves_to(FULL)
    host.say(wrong.words)
    host.device.set_target(0 if deflating else FULL)
    await_true(lambda: host.misdeeds() > 0, seconds=30, what="the device to misbehave")
    host.answers()
    if wrong.undone and deflating:
        # It asks again, and nothing comes back before that is done.
        await_true(lambda: host.misdeeds() > 2, seconds=30, what="the device to misbehave again")
        all_is_in_the_balloon(host)
    elif not wrong.lost:
        await_true(lambda: host.device.size() == (0 if deflating else FULL), seconds=30, what="the balloon to move")
    host.say("off")
    if wrong.lost:
        host.unbind()
        host.bind()
    host.is_whole()


def all_is_in_the_balloon(host):
    """Assert that no page has come back, neither for the host nor for the guest."""
    assert host.device.size() == FULL
    assert host.counters()["num_pages"] == FULL // 4096
    assert host.memory_kib() == host.total_kib - FULL // 1024


def keep_a_buffer(host, deflating):
    """Have the device keep a buffer of an inflation or a deflation, which is not done then: nothing changes hands."""
    if deflating:
        host.moves_to(FULL)
    host.say(f"never:{DEFLATE if deflating else INFLATE}:0")
    host.device.set_target(0 if deflating else FULL)
    await_true(lambda: host.misdeeds() > 0, seconds=30, what="the device to keep a buffer")
    host.answers()
    if deflating:
        all_is_in_the_balloon(host)
    else:
        assert host.device.size() == 0
        assert host.counters()["num_pages"] == 0


@pytest.mark.parametrize("deflating", [False, True], ids=["inflate", "deflate"])
def test_buffers_kept_for_a_while(host, deflating):
    keep_a_buffer(host, deflating)
    host.answers()
    # Last one first: out of the order in which they were sent.
    host.say("off")
    host.is_whole()


@pytest.mark.parametrize("deflating", [False, True], ids=["inflate", "deflate"])
def test_buffers_kept_for_ever(host, deflating):
    """Whoever unbinds the driver does not wait for the host."""
    keep_a_buffer(host, deflating)
    host.unbind()
    host.answers()
    host.say("off")
    host.bind()
    host.is_whole()


@pytest.mark.parametrize("deflating", [False, True], ids=["inflate", "deflate"])
def test_device_that_needs_a_reset(host, deflating):
    # So that it is in the middle of it, and not done already.
    keep_a_buffer(host, deflating)
    host.say("error")
    host.answers()
    host.unbind()
    host.say("off")
    host.bind()
    host.is_whole()


def test_device_at_rest_that_needs_a_reset(host):
    host.say("error")
    host.answers()
    host.unbind()
    host.bind()
    host.is_whole()


@pytest.mark.parametrize(
    "words",
    [
        "target:0xffffffff",  # far above RAM
        "target:131073",  # a page more than there is
        "jump:0xffffffff:0:201",  # ends with the first of them
        "jump:65536:65537:200",
        "jump:0x80000000:0x7fffffff:50",
    ],
)
def test_targets_out_of_reach(host, words):
    """The guest keeps enough to go on with."""
    host.say(words)
    await_true(lambda: host.device.size() > 0, seconds=30, what="the balloon to grow")
    for _ in range(5):
        host.answers()
    host.is_whole()


@pytest.mark.parametrize("queue", [INFLATE, DEFLATE, STATS, REQUESTS, ANSWERS])
def test_interrupts_without_a_reason(host, queue):
    host.say(f"notify:{queue}:1000")
    host.answers()
    host.is_whole()


def test_changes_of_the_configuration_without_a_change(host):
    host.say("config:1000")
    host.answers()
    host.is_whole()


@pytest.mark.parametrize("entries", [0, 1, 2, 4])
@pytest.mark.parametrize("queue", [INFLATE, DEFLATE, REQUESTS, ANSWERS])
def test_queues_that_are_too_small(host, queue, entries):
    """The driver does without what it has no room for, or says no; either way it can be bound again."""
    usual = 128
    host.unbind()
    host.say(f"size:{queue}:{entries}")
    # The driver may refuse the device.
    host.run(f"echo {host.driver_of} > /sys/bus/virtio/drivers/virtio_balloon/bind || true")
    host.answers()
    if queue == ANSWERS and entries:
        # Messages about free pages would take the room that answers need.
        await_true(lambda: host.asks(SLOT_BYTES, ALL_FREE_PAGES), seconds=20, what="an empty slot")
        await_true(lambda: host.counters()["host_requests_refused"] == 1, seconds=20, what="a refusal")
    host.run(f"echo {host.driver_of} > /sys/bus/virtio/drivers/virtio_balloon/unbind || true")
    host.say(f"size:{queue}:{usual}")
    host.bind()
    host.is_whole()


#: In the driver's counters.
FEATURES = ("page_bitmap", "host_req_vq", "drop_cache", "free_pages")


@pytest.mark.parametrize(
    ("clear", "negotiated"),
    [(1 << 51, [1, 0, 0, 0]), (1 << 50, [0, 1, 1, 1]), (1 << 32, None), (0xF << 50, [0, 0, 0, 0])],
    ids=["no-queues-for-requests", "no-page-bitmaps", "no-version-1", "nothing-of-ours"],
)
def test_features_that_do_not_go_together(host, clear, negotiated):
    host.unbind()
    host.say(f"offer:{clear:#x}:0")
    host.run(f"echo {host.driver_of} > /sys/bus/virtio/drivers/virtio_balloon/bind || true")
    if negotiated:
        counters = host.counters()
        assert [counters[name] for name in FEATURES] == negotiated
        host.is_whole()
        host.unbind()
    host.answers()
    host.say(f"offer:0:{clear:#x}")
    host.bind()
    host.is_whole()
