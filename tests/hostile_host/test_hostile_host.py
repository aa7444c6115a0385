"""A host that answers wrongly: the guest stays usable, and has its memory back when the host behaves or is let go.

The guest is under ``panic_on_warn``: a warning ends it. QEMU is the series with a patch that makes the device misbehave
on demand; see the head of virtio-hostile.c.inc in it.
"""

from dataclasses import dataclass

import pytest

from fastballoon_cli.errors import QmpError
from fastballoon_cli.machine import registry
from tests.conftest import await_true
from tests.hostile_host.host import (
    ANSWERS,
    DEFLATE,
    DROP_CACHE,
    FREE_PAGES,
    INFLATE,
    MIB,
    REQUESTS,
    SLOT_BYTES,
    STATS,
    hostile,
    slot,
)

pytestmark = [pytest.mark.guest, pytest.mark.long, pytest.mark.timeout(900)]

NAME = "hostile"
FULL = 256 * MIB


@pytest.fixture
def host(tool):
    """A guest at rest, which the tests share for as long as each leaves it so."""
    record = registry.load(NAME)
    if record is None or not record.alive:
        options = ("--memory", "512M", "--qemu", "fast-hostile", "--append", "panic_on_warn=1")
        tool.ok("--timeout", "300", "vm", "start", "--name", NAME, *options, timeout=400)
    with hostile(NAME) as host:
        yield host
    if not host.whole:
        tool.run("vm", "stop", NAME)


@pytest.fixture(scope="module", autouse=True)
def _no_guest_is_left(tool):
    yield
    tool.run("vm", "stop", NAME)


@dataclass(frozen=True)
class Wrong:
    """How buffers of a queue are returned wrongly while the balloon moves.

    :ivar words: for x-hostile.
    :ivar lost: the driver can't use the queue any more, and has to be bound anew.
    """

    words: str
    lost: bool = False


def _both(name: str, words: str, *, lost: bool = False) -> dict[str, Wrong]:
    """Return a case for inflating and one for deflating."""
    return {
        f"{name}-{way}": Wrong(words.format(queue=queue), lost)
        for way, queue in (("inflate", INFLATE), ("deflate", DEFLATE))
    }


WRONG = {
    **_both("nothing-written", "len:{queue}:0:0"),
    **_both("half-a-response-written", "len:{queue}:0:4"),
    **_both("more-written-than-there-is", "len:{queue}:0:0xffffffff"),
    **_both("always-malformed", "write32:{queue}:0:0:1"),
    **_both("always-out-of-range", "write32:{queue}:0:0:2"),
    **_both("unknown-status", "write32:{queue}:0:0:0xdeadbeef"),
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
    host.say("off")
    if wrong.lost:
        host.unbind()
        host.bind()
    host.is_whole()


def keep_a_buffer(host, deflating):
    """Have the device keep a buffer of an inflation or a deflation, which is not done then."""
    if deflating:
        host.moves_to(FULL)
    host.say(f"never:{DEFLATE if deflating else INFLATE}:0")
    host.device.set_target(0 if deflating else FULL)
    await_true(lambda: host.misdeeds() > 0, seconds=30, what="the device to keep a buffer")


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


def _drop(host, **changes):
    return slot(DROP_CACHE, 1, **changes)


#: Bytes of a request that makes no sense, and how many of them the device claims to have written.
BAD_SLOTS = {
    "nothing-written": (0, slot(DROP_CACHE, 1)),
    "half-of-it-written": (SLOT_BYTES // 2, slot(DROP_CACHE, 1)),
    "a-byte-less": (SLOT_BYTES - 1, slot(DROP_CACHE, 1)),
    "a-byte-more": (SLOT_BYTES + 1, slot(DROP_CACHE, 1)),
    "four-gigabytes-written": (0xFFFFFFFF, slot(DROP_CACHE, 1)),
    "type-0": (SLOT_BYTES, slot(0, 1)),
    "type-inflate": (SLOT_BYTES, slot(1, 1)),
    "type-63": (SLOT_BYTES, slot(63, 1)),
    "type-64": (SLOT_BYTES, slot(64, 1)),
    "type-65535": (SLOT_BYTES, slot(65535, 1)),
    "drop-nothing": (SLOT_BYTES, slot(DROP_CACHE, 0)),
    "drop-mode-4": (SLOT_BYTES, slot(DROP_CACHE, 4)),
    "drop-mode-65535": (SLOT_BYTES, slot(DROP_CACHE, 65535)),
    "flags": (SLOT_BYTES, slot(DROP_CACHE, 1, flags=1)),
    "high-flags": (SLOT_BYTES, slot(DROP_CACHE, 1, flags=1 << 31)),
    "id-0": (SLOT_BYTES, slot(DROP_CACHE, 1, request=0)),
    "drop-with-a-range": (SLOT_BYTES, slot(DROP_CACHE, 1, pages=1)),
    "free-pages-mode-2": (SLOT_BYTES, slot(FREE_PAGES, 2, pages=1)),
    "free-pages-of-nothing": (SLOT_BYTES, slot(FREE_PAGES, 0)),
    "free-pages-past-the-end": (SLOT_BYTES, slot(FREE_PAGES, 0, first=(1 << 52) - 1, pages=2)),
    "free-pages-that-wrap": (SLOT_BYTES, slot(FREE_PAGES, 0, first=(1 << 64) - 1, pages=2)),
    "withdrawal-with-a-range": (SLOT_BYTES, slot(FREE_PAGES, 1, first=1)),
}


@pytest.mark.parametrize("case", BAD_SLOTS)
def test_requests_that_make_no_sense(host, case):
    written, request = BAD_SLOTS[case]
    before = host.counters()["host_requests_malformed"]
    # One more than there are slots: each has to come back.
    for number in range(5):
        await_true(lambda: _asked(host, written, request), seconds=20, what="an empty slot")
        await_true(
            lambda number=number: host.counters()["host_requests_malformed"] == before + number + 1,
            seconds=20,
            what="the request to be refused",
        )
    host.answers()
    host.is_whole()


def _asked(host, written, request):
    """Put a request into a slot; return false if the device has none."""
    try:
        host.say(f"slot:{REQUESTS}:{written}:{request}")
    except QmpError:
        return False
    return True


@pytest.mark.parametrize(
    "request_",
    [
        slot(FREE_PAGES, 0, first=0, pages=1 << 52),  # all there could be
        slot(FREE_PAGES, 0, first=1 << 40, pages=1 << 40),  # where there is no memory
        slot(FREE_PAGES, 0, first=0x123, pages=1),  # one page
        slot(FREE_PAGES, 1),  # a withdrawal of nothing
        slot(DROP_CACHE, 3),
    ],
    ids=["free-pages-everywhere", "free-pages-of-a-hole", "free-pages-of-a-page", "withdraw", "drop-all"],
)
def test_requests_that_nobody_made(host, request_):
    """The driver can't know: it answers, and the device drops the answer."""
    before = host.counters()
    for _ in range(20):
        await_true(lambda: _asked(host, SLOT_BYTES, request_), seconds=20, what="an empty slot")
    host.answers()

    def answered():
        now = host.counters()
        names = [name for name in now if name.startswith("host_requests_")]
        return sum(now[name] - before[name] for name in names) >= 20

    await_true(answered, seconds=60, what="an answer to each")
    host.is_whole()


def test_slots_returned_with_their_ids_mixed_up(host):
    host.say(f"id:{REQUESTS}:1:9999")
    host.qmp.execute("x-balloon-drop-cache", {"mode": "pagecache"})
    await_true(lambda: host.misdeeds() > 0, seconds=20, what="the device to misbehave")
    host.answers()
    host.say("off")
    host.unbind()
    host.bind()
    host.is_whole()


@pytest.mark.parametrize(
    ("words", "lost"),
    [
        (f"never:{ANSWERS}:0", False),
        (f"len:{ANSWERS}:0:0xffffffff", False),
        (f"twice:{ANSWERS}:1", True),
        (f"id:{ANSWERS}:1:9999", True),
    ],
    ids=["kept", "more-written-than-there-is", "returned-twice", "another-id"],
)
@pytest.mark.parametrize("request_", [slot(DROP_CACHE, 1), slot(FREE_PAGES, 0, pages=1 << 17)], ids=["drop", "free"])
def test_answers_returned_wrongly(host, words, lost, request_):
    host.say(words)
    for _ in range(4):
        _asked(host, SLOT_BYTES, request_)
    await_true(lambda: host.misdeeds() > 0, seconds=20, what="the device to misbehave")
    host.answers()
    if lost:
        host.unbind()
        host.say("off")
        host.bind()
    host.say("off")
    host.is_whole()


def test_answers_kept_for_ever(host):
    host.say(f"never:{ANSWERS}:0")
    for _ in range(4):
        _asked(host, SLOT_BYTES, slot(DROP_CACHE, 1))
    await_true(lambda: host.misdeeds() > 0, seconds=20, what="the device to keep an answer")
    host.unbind()
    host.answers()
    host.say("off")
    host.bind()
    host.is_whole()


@pytest.mark.parametrize("entries", [0, 1, 2, 4])
@pytest.mark.parametrize("queue", [INFLATE, DEFLATE, REQUESTS, ANSWERS])
def test_queues_that_are_too_small(host, queue, entries):
    """The driver does without what it has no room for, or says no; either way it can be bound again."""
    usual = 128
    host.unbind()
    host.say(f"size:{queue}:{entries}")
    # The reset that comes with it takes the size over; the driver may refuse the device.
    host.run(f"echo {host.driver_of} > /sys/bus/virtio/drivers/virtio_balloon/bind || true")
    host.answers()
    host.run(f"echo {host.driver_of} > /sys/bus/virtio/drivers/virtio_balloon/unbind || true")
    host.say(f"size:{queue}:{usual}")
    host.bind()
    host.is_whole()


@pytest.mark.parametrize(
    ("clear", "bound"),
    [(1 << 51, True), (1 << 50, True), (1 << 32, False), (0xF << 50, True)],
    ids=["no-queues-for-requests", "no-page-bitmaps", "no-version-1", "nothing-of-ours"],
)
def test_features_that_do_not_go_together(host, clear, bound):
    host.unbind()
    host.say(f"offer:{clear:#x}:0")
    host.run(f"echo {host.driver_of} > /sys/bus/virtio/drivers/virtio_balloon/bind || true")
    if bound:
        host.is_whole()
        host.unbind()
    host.answers()
    host.say(f"offer:0:{clear:#x}")
    host.bind()
    host.is_whole()
