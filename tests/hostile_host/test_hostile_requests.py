"""A host that asks for what makes no sense or was never meant, and returns the answers wrongly.

As in test_hostile_host.py, whose guest this has: it ends with the first warning of its kernel.
"""

import random
import struct
import time

import pytest

from tests.conftest import await_true
from tests.hostile_host.host import (
    ALL_FREE_PAGES,
    ANSWERS,
    DROP_CACHE,
    FREE_PAGES,
    RECLAIM,
    REQUESTS,
    SLOT_BYTES,
    slot,
)

pytestmark = [pytest.mark.guest, pytest.mark.long, pytest.mark.timeout(900)]


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
    "reclaim-mode-2": (SLOT_BYTES, slot(RECLAIM, 2, pages=1)),
    "reclaim-mode-65535": (SLOT_BYTES, slot(RECLAIM, 65535, pages=1)),
    "reclaim-somewhere": (SLOT_BYTES, slot(RECLAIM, 0, first=1, pages=1)),
}


@pytest.mark.parametrize("case", BAD_SLOTS)
def test_requests_that_make_no_sense(host, case):
    written, request = BAD_SLOTS[case]
    before = host.counters()["host_requests_malformed"]
    # One more than there are slots: each has to come back.
    for number in range(5):
        await_true(lambda: host.asks(written, request), seconds=20, what="an empty slot")
        await_true(
            lambda number=number: host.counters()["host_requests_malformed"] == before + number + 1,
            seconds=20,
            what="the request to be refused",
        )
    host.answers()
    host.is_whole()


@pytest.mark.parametrize(
    "request_",
    [
        slot(FREE_PAGES, 0, first=0, pages=1 << 52),  # all there could be
        slot(FREE_PAGES, 0, first=1 << 40, pages=1 << 40),  # where there is no memory
        slot(FREE_PAGES, 0, first=0x123, pages=1),  # one page
        slot(FREE_PAGES, 1),  # a withdrawal of nothing
        slot(DROP_CACHE, 3),
        slot(RECLAIM, 0),
        slot(RECLAIM, 0, pages=1),
        slot(RECLAIM, 1, pages=(1 << 64) - 1),  # more than there is
    ],
    ids=[
        *("free-pages-everywhere", "free-pages-of-a-hole", "free-pages-of-a-page", "withdraw", "drop-all"),
        *("reclaim-nothing", "reclaim-a-page", "reclaim-everything"),
    ],
)
def test_requests_that_nobody_made(host, request_):
    """The driver can't know: it answers, and the device drops the answer."""
    before = host.counters()
    for _ in range(20):
        await_true(lambda: host.asks(SLOT_BYTES, request_), seconds=20, what="an empty slot")
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
        host.asks(SLOT_BYTES, request_)
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
    for number in range(4):
        await_true(lambda: host.asks(SLOT_BYTES, slot(DROP_CACHE, 1)), seconds=20, what="an empty slot")
        await_true(lambda number=number: host.misdeeds() > number, seconds=20, what="the device to keep an answer")
    # Who asks without end has four requests in the guest, no more.
    host.answers()
    assert not host.asks(SLOT_BYTES, slot(DROP_CACHE, 1))
    host.unbind()
    host.answers()
    host.say("off")
    host.bind()
    host.is_whole()


def _tells_some(host):
    """Ask which pages are free, and have the device keep what it is told: the driver is in the middle of it then."""
    host.say(f"never:{ANSWERS}:0")
    await_true(lambda: host.asks(SLOT_BYTES, ALL_FREE_PAGES), seconds=20, what="an empty slot")
    await_true(lambda: host.misdeeds() == 2, seconds=20, what="two messages")
    host.answers()
    assert host.misdeeds() == 2


def test_the_owner_may_change_his_mind_while_free_pages_are_told(host):
    parameter = "/sys/module/virtio_balloon/parameters/free_pages"
    before = host.counters()
    _tells_some(host)
    host.run(f"echo N > {parameter}")
    host.say("off")
    try:
        refused = before["host_requests_refused"] + 1
        await_true(lambda: host.counters()["host_requests_refused"] == refused, seconds=20, what="a refusal")
        now = host.counters()
        assert now["host_requests_done"] == before["host_requests_done"]
        assert now["free_pages_messages"] == before["free_pages_messages"] + 2
    finally:
        host.run(f"echo Y > {parameter}")
    host.is_whole()


@pytest.mark.parametrize("next_", [slot(FREE_PAGES, 1, request=0xBEEF), ALL_FREE_PAGES], ids=["withdrawal", "request"])
def test_free_pages_are_told_no_longer_than_they_are_asked_for(host, next_):
    before = host.counters()
    _tells_some(host)
    await_true(lambda: host.asks(SLOT_BYTES, next_), seconds=20, what="an empty slot")
    abandoned = before["host_requests_abandoned"] + 1
    await_true(lambda: host.counters()["host_requests_abandoned"] == abandoned, seconds=20, what="the end of the first")
    host.say("off")
    done = before["host_requests_done"] + 1
    await_true(lambda: host.counters()["host_requests_done"] == done, seconds=20, what="the end of the second")
    if next_ != ALL_FREE_PAGES:
        assert host.counters()["free_pages_messages"] == before["free_pages_messages"] + 2
    host.is_whole()


def test_what_was_gathered_for_one_request_is_not_told_for_the_next(host):
    """The second comes while the driver looks for what the first has asked for, or so close to it as may be."""
    page = 0x9000
    chance = random.Random(1)
    met = 0
    for first in range(1, 61, 2):
        second = first + 1
        host.say(f"never:{ANSWERS}:0")
        since, before = host.available(ANSWERS), host.counters()
        for request in (
            slot(FREE_PAGES, 0, pages=1 << 17, request=first),
            slot(FREE_PAGES, 0, first=page, pages=1, request=second),
        ):
            await_true(lambda request=request: host.asks(SLOT_BYTES, request), seconds=20, what="an empty slot")
            time.sleep(chance.uniform(0, 0.02))
        abandoned = before["host_requests_abandoned"] + 1
        await_true(lambda abandoned=abandoned: host.counters()["host_requests_abandoned"] == abandoned, what="the end")
        ended = False
        for said in host.said(ANSWERS, since):
            kind, shift, _, request, first_page, nr_bits = struct.unpack_from("<HHIQQQ", said.ljust(32, b"\0"))
            assert kind == FREE_PAGES
            if len(said) == 24:
                ended |= request == first
            elif ended:
                # Nothing of the first after its answer, and of the second what it is about.
                assert (request, shift, first_page, nr_bits) == (second, 12, page, 1)
            else:
                assert request == first
        assert ended
        # The driver was at it, or about to begin: it has not told as much as it could.
        met += host.counters()["free_pages_messages"] < before["free_pages_messages"] + 2
        host.say("off")
        done = before["host_requests_done"] + 1
        await_true(lambda done=done: host.counters()["host_requests_done"] == done, seconds=20, what="the other answer")
    assert met > 0
    host.is_whole()
