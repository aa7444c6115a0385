"""What a guest answers is not to be trusted."""

import json
import time

import pytest

from fastballoon_cli.errors import GuestError
from fastballoon_cli.guest import agent
from fastballoon_cli.guest.agent import AgentClient

MEMORY = dict.fromkeys(("MemTotal", "MemFree", "MemAvailable", "Cached", "Shmem", "Buffers", "SReclaimable"), 1)


class Guest:
    """A connection to a guest that says what it was told to; ``{id}`` is the request's."""

    def __init__(self, *said):
        self.said = list(said)

    def settimeout(self, seconds):
        self.seconds = seconds

    def sendall(self, data):
        self.id = json.loads(data)["id"]

    def recv(self, _size):
        if not self.said:
            time.sleep(self.seconds)
            raise TimeoutError
        said = self.said[0](self) if callable(self.said[0]) else self.said.pop(0)
        return said if isinstance(said, bytes) else json.dumps({"id": self.id, **said}).encode() + b"\n"

    def close(self):
        pass


def ask(verb, *said, timeout=5.0):
    with AgentClient(Guest(*said)) as client:
        return client.call(verb, timeout=timeout)


def test_an_answer_that_has_all_is_given_out():
    assert ask("memory", {"result": MEMORY}) == MEMORY
    assert ask("balloon", {"result": None}) is None
    assert ask("drop_caches", {"progress": 1}, {"result": None}) is None


@pytest.mark.parametrize(
    ("verb", "answer"),
    [
        ("memory", {}),
        ("memory", {"result": {"MemFree": 1}}),
        ("memory", {"result": MEMORY | {"Cached": "much"}}),
        ("memory", {"result": [1]}),
        ("memory", {"progress": "far", "result": 3}),
        ("hello", {"result": {"kernel": 6, "thp": None, "init_on_alloc": None}}),
        ("hello", {"result": None}),
        ("balloon", {"result": {"inflate_kicks": None}}),
        ("vmstat", {"result": {}}),
        ("touch", {"result": {"bytes": 1, "mismatches": 0}}),
        ("watch_finish", {"result": {"min_free_bytes": 1, "seconds": [None], "free_bytes": [1]}}),
        ("churn_finish", {"result": {"pages": 1, "mismatches": 0, "failed": [1]}}),
        ("memory", b"[1, 2]\n"),
        ("memory", b"[" * 100_000 + b"\n"),
    ],
)
def test_an_answer_that_lacks_something_is_the_guests_failure(verb, answer):
    with pytest.raises(GuestError, match="makes no sense"):
        ask(verb, answer)


def test_a_line_without_an_end_is_given_up(monkeypatch):
    monkeypatch.setattr(agent, "_LONGEST_LINE", 1 << 17)
    with pytest.raises(GuestError, match="has no end"):
        ask("memory", lambda _: b"x" * 65536)


def test_answers_to_something_else_do_not_keep_the_tool_for_ever():
    begun = time.monotonic()
    with pytest.raises(GuestError, match="did not answer"):
        ask("memory", lambda guest: {"id": 0, "result": time.sleep(0.01)}, timeout=0.2)
    assert time.monotonic() - begun < 5


def test_what_a_terminal_would_obey_is_not_handed_on():
    with pytest.raises(GuestError) as refused:
        ask("memory", {"error": "\x1b]0;owned\x07"})
    assert refused.value.message.endswith("?]0;owned?")
