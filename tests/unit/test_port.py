"""The agent of fastballoon-guest, behind a port that has no connections: it looks, and does nothing."""

import json
import socket

import pytest

from fastballoon_cli.errors import GuestError
from fastballoon_cli.guest.port import open_agent
from guest_agent.__main__ import VERBS
from guest_agent.port import LOOKING
from tests.unit.fake_port import FakePort


@pytest.fixture
def port(tmp_path):
    made = FakePort(tmp_path / "agent.sock")
    made.path = tmp_path / "agent.sock"
    yield made
    made.close()


def said(port, *lines):
    """What a client says that goes away without an answer."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(port.path))
        client.sendall(b"".join(lines))


def test_it_answers_what_there_is_to_see(port):
    with open_agent(port.path) as agent:
        assert agent.call("memory")["MemTotal"] > 0
        assert agent.call("hello")["kernel"]
    with open_agent(port.path) as agent:
        assert agent.call("vmstat")["pgfault"] > 0


@pytest.mark.parametrize("verb", sorted(set(VERBS) - LOOKING))
def test_it_does_nothing_to_its_guest(port, verb):
    with open_agent(port.path) as agent, pytest.raises(GuestError, match="is not for looking only"):
        agent.call(verb)


def test_what_a_client_has_left_is_not_for_the_next_one(port):
    asked = json.dumps({"id": 1, "verb": "hello"}).encode() + b"\n"
    said(port, asked * 5, b'{"id": 2, "verb": "mem')
    with open_agent(port.path) as agent:
        assert agent.call("memory")["MemTotal"] > 0


def test_a_line_without_an_end_is_forgotten(port):
    said(port, b"x" * 300_000)
    with open_agent(port.path, patience=10) as agent:
        assert agent.call("memory")["MemTotal"] > 0


def test_where_no_agent_runs_nobody_waits_for_long(port):
    port.silence()
    with pytest.raises(GuestError, match=r"did not answer 'hello' within 0\.2 s"):
        open_agent(port.path, patience=0.2)
