import pytest

from fastballoon_cli.errors import GuestError, NotInTimeError
from fastballoon_cli.machine.session import Session
from fastballoon_cli.ops import drop_cache as cache
from fastballoon_cli.progress import Silent
from fastballoon_cli.qemu.drop_cache import Answer
from tests.unit.made import Machine

MEMORY = {"Cached": 600, "Shmem": 100, "Buffers": 50, "SReclaimable": 30, "MemFree": 1000}


class Agent:
    """A guest that drops all its cache."""

    def __init__(self):
        self.asked = []
        self.memory = dict(MEMORY)

    def call(self, verb, **arguments):
        self.asked.append((verb, arguments))
        if verb == "drop_caches":
            self.memory.update(Cached=100, Buffers=0, SReclaimable=0, MemFree=1580)
        return dict(self.memory) if verb == "memory" else None


class Monitor:
    def execute(self, command):
        return {"query-status": {"status": "running"}}[command]


@pytest.fixture
def session(monkeypatch):
    """A session in which the device gives the answers in ``answers``; None: nothing was agreed on."""
    monkeypatch.setattr(cache, "provenance", lambda *_: {})
    monkeypatch.setattr(cache, "_BUSY_SECONDS", 0.01)

    def make(answers, agent=None):
        monkeypatch.setattr(cache.requests, "agreed", lambda qmp: answers is not None)
        left = list(answers or [])
        monkeypatch.setattr(cache.requests, "request", lambda qmp, mode, timeout: left.pop(0))
        return Session(Machine(), Monitor(), agent, Silent(), met=True), left

    return make


def test_the_device_is_asked_and_its_word_is_taken(session):
    it, left = session([Answer("done", 580)], Agent())
    result = cache.drop(it, "all", progress=Silent())
    assert (result.method, result.freed_bytes, left) == ("balloon", 580, [])
    assert result.guest_cached_bytes.before == 580
    assert ("drop_caches", {}) not in it.agent.asked


def test_a_busy_guest_is_asked_again(session):
    it, left = session([Answer("busy", 0), Answer("busy", 0), Answer("done", 7)])
    assert cache.drop(it, "pagecache", progress=Silent()).freed_bytes == 7
    assert not left


def test_a_guest_that_stays_busy_is_an_error_in_the_end(session):
    it, left = session([Answer("busy", 0)] * 1000)
    with pytest.raises(GuestError, match="busy"):
        cache.drop(it, "pagecache", timeout=0.05, progress=Silent())
    assert len(left) > 900


@pytest.mark.parametrize(
    ("status", "error", "message"),
    [
        ("refused", GuestError, "refuses"),
        ("timeout", NotInTimeError, "did not answer within 3 s"),
        ("reset", GuestError, "reset"),
        ("migrated", GuestError, "migrated"),
        ("malformed", GuestError, "makes no sense"),
        ("failed", GuestError, "could not"),
        ("new-word", GuestError, "new-word"),
    ],
)
def test_every_other_end_is_an_error_and_the_agent_is_not_used_to_get_around_it(session, status, error, message):
    it, _ = session([Answer(status, 0)], Agent())
    with pytest.raises(error, match=message):
        cache.drop(it, "all", timeout=3, progress=Silent())
    assert "drop_caches" not in [verb for verb, _ in it.agent.asked]


def test_the_agent_does_it_where_nothing_was_agreed_on(session):
    it, _ = session(None, Agent())
    result = cache.drop(it, "slab", progress=Silent())
    assert (result.method, result.freed_bytes) == ("agent", 580)
    assert any(verb == "drop_caches" and arguments["value"] == 2 for verb, arguments in it.agent.asked)


def test_nobody_to_ask_is_said(session):
    it, _ = session(None)
    with pytest.raises(GuestError, match="no way to drop the cache"):
        cache.drop(it, "all", progress=Silent())
