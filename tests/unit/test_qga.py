"""QEMU's guest agent: asked for memory, told to drop its cache, and never waited for long."""

import socket
import time

import pytest

from fastballoon_cli.errors import GuestError, PreconditionError
from fastballoon_cli.guest import qga
from fastballoon_cli.guest.qga import GuestAgent
from tests.unit.fake_qga import KIB, FakeQga


@pytest.fixture
def path(tmp_path):
    return tmp_path / "qga.sock"


@pytest.fixture
def guest(path):
    made = []

    def make(**options):
        made.append(FakeQga(path, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_the_guests_memory_is_read(guest, path):
    it = guest()
    with GuestAgent(path) as agent:
        memory = agent.memory()
    assert (memory["MemFree"], memory["MemAvailable"]) == (409600 * KIB, 614400 * KIB)
    assert "HugePages_Total" not in memory  # which is no size
    assert it.said[-1] == "guest-file-close"
    # The socket is free for the next one.
    with GuestAgent(path) as agent:
        assert agent.memory() == memory


def test_the_cache_is_dropped_by_the_guests_kernel(guest, path):
    it = guest()
    with GuestAgent(path) as agent:
        agent.drop_caches(3, timeout=5)
    assert it.written == {"/proc/sys/vm/drop_caches": "3\n"}
    assert it.said[-1] == "guest-file-close"


@pytest.mark.parametrize(
    "left_over", [b'{"return": 1}\n', b'\xff{"return": 12}\n', b'{"ret', b'\xff{"return": {}}\n\n']
)
def test_what_is_left_of_another_conversation_is_passed_over(guest, path, left_over):
    guest(left_over=left_over)
    with GuestAgent(path) as agent:
        assert agent.memory()["MemFree"] == 409600 * KIB


@pytest.mark.parametrize("command", ["guest-sync-delimited", "guest-info", "guest-file-open", "guest-file-read"])
def test_one_that_falls_silent_costs_two_seconds(guest, path, command):
    guest().silent = {command}
    begun = time.monotonic()
    with pytest.raises(GuestError, match="does not answer"), GuestAgent(path) as agent:
        agent.memory()
    assert 1.5 < time.monotonic() - begun < 3.5


def test_one_that_somebody_else_talks_to_costs_two_seconds(guest, path):
    guest()
    begun = time.monotonic()
    with GuestAgent(path), pytest.raises(GuestError, match="does not answer") as refused:
        GuestAgent(path)
    assert "another program" in refused.value.hint
    assert time.monotonic() - begun < 3.5


def test_a_queue_that_is_full_costs_two_seconds(path):
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as first:
        server.bind(str(path))
        server.listen(0)
        first.connect(str(path))
        begun = time.monotonic()
        with pytest.raises(GuestError, match=r"does not answer|is busy"):
            GuestAgent(path)
        assert time.monotonic() - begun < 3.5


def test_what_its_owner_has_switched_off_is_said(guest, path):
    guest(off=("guest-file-open", "guest-file-read"))
    with GuestAgent(path) as agent, pytest.raises(GuestError, match="switched off guest-file-open") as refused:
        agent.memory()
    assert "--block-rpcs" in refused.value.hint


def test_a_refusal_has_the_agents_reason_without_what_a_terminal_obeys(guest, path):
    guest().files = {}
    with GuestAgent(path) as agent:
        with pytest.raises(GuestError, match=r"'guest-file-open': no such file '/proc/meminfo'\?"):
            agent.memory()
        agent.drop_caches(1, timeout=5)  # and it can be asked on


@pytest.mark.parametrize("text", ["", "MemFree: 1 kB\n", "MemTotal 3\n\n:::\n"])
def test_a_meminfo_that_lacks_something_is_the_guests_failure(guest, path, text):
    guest().files = {"/proc/meminfo": text}
    with GuestAgent(path) as agent, pytest.raises(GuestError, match="makes no sense"):
        agent.memory()


@pytest.mark.parametrize("answer", [None, 3, {"buf-b64": "?"}, {"buf-b64": 3}, {}])
def test_an_answer_of_another_shape_is_the_guests_failure(guest, path, answer):
    it = guest()
    it.answer, ask = (lambda command, _: answer if command == "guest-file-read" else ask(command, _)), it.answer
    with GuestAgent(path) as agent, pytest.raises(GuestError, match="makes no sense"):
        agent.memory()


def test_a_file_without_an_end_is_given_up(guest, path, monkeypatch):
    monkeypatch.setattr(qga, "_LONGEST_ANSWER", 1000)
    guest().files = {"/proc/meminfo": "x" * 3000}
    with GuestAgent(path) as agent, pytest.raises(GuestError, match="has no end"):
        agent.memory()


def test_a_socket_that_is_not_there_is_said(path, tmp_path):
    for wrong in (path, tmp_path, tmp_path / ("x" * 120)):
        with pytest.raises(PreconditionError, match="cannot open the guest agent's socket") as refused:
            GuestAgent(wrong)
        assert "virtserialport" in refused.value.hint
