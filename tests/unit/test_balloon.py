"""What is said of a balloon that does not move, or is not going to, without a guest."""

import pytest

from fastballoon_cli.errors import UsageError
from fastballoon_cli.machine.session import Session
from fastballoon_cli.ops import balloon
from fastballoon_cli.progress import Silent
from fastballoon_cli.qemu.balloon import DeviceCounters, QueueCounters

BEFORE = {"inflate_oom_pauses": 1, "inflate_floor": 2, "inflate_exhausted": 3}


class Agent:
    def __init__(self, answer):
        self.answer = answer

    def call(self, verb, **_):
        assert verb == "balloon"
        return self.answer


def why(before, now):
    session = Session(record=None, qmp=None, agent=Agent(now), progress=Silent())
    return balloon._what_stops_it(session, before)


@pytest.mark.parametrize(
    ("grown", "reason"),
    [
        (("inflate_exhausted",), "no page left to give"),
        (("inflate_floor", "inflate_exhausted"), "floor_kbytes"),
        (("inflate_oom_pauses", "inflate_floor"), "has run out of memory"),
    ],
)
def test_the_weightiest_of_what_has_happened_is_said(grown, reason):
    assert reason in why(BEFORE, BEFORE | {name: BEFORE[name] + 1 for name in grown})


def test_what_happened_before_or_is_not_counted_is_no_reason():
    assert why(BEFORE, BEFORE) is None
    assert why({}, {}) is None
    assert why(None, BEFORE) is None
    assert why(BEFORE, None) is None
    # A driver that does not count pauses has made none.
    assert why({"inflate_floor": 0}, {"inflate_floor": 0}) is None


@pytest.mark.parametrize("late", [False, True])
def test_counters_that_were_not_worth_a_login_are_asked_for_when_there_is_a_doubt(monkeypatch, late):
    agent = Agent(BEFORE)
    monkeypatch.setattr(Session, "meet_agent", lambda session: setattr(session, "agent", agent))
    session = Session(record=None, qmp=None, agent=None, progress=Silent(), hurry=late)
    doubt = balloon._Doubt(session, None, late=late)
    assert doubt.reason() is None
    assert session.agent is (agent if late else None)
    # What it counts from now on.
    assert doubt.reason() is None
    agent.answer = BEFORE | {"inflate_floor": 3}
    assert ("floor_kbytes" in (doubt.reason() or "")) is late


def counters(inhibited, *, page_bitmap):
    queue = QueueCounters(1, 1, 0, 0, inhibited, 1, 1, 1, 1)
    return DeviceCounters(page_bitmap, 1, 1, queue, queue)


class Monitor:
    """A source of migrations, or of a snapshot in the background."""

    def __init__(self, status, *, snapshot):
        self.answers = {
            "query-migrate": {"status": status},
            "query-migrate-capabilities": [{"capability": "background-snapshot", "state": snapshot}],
        }

    def execute(self, command):
        return self.answers[command]


@pytest.mark.parametrize(
    ("page_bitmap", "after", "said"),
    [(True, 3, None), (True, 4, "it does as soon as it may"), (False, 4, "deflate it and inflate it again")],
)
def test_a_qemu_that_may_discard_nothing_says_so_by_its_counter(page_bitmap, after, said):
    readings = [counters(it, page_bitmap=page_bitmap) for it in (3, after)]
    why = balloon._inhibited(None, *readings)
    assert (why is None) if said is None else (said in why)


@pytest.mark.parametrize(
    ("status", "snapshot", "inhibited"),
    [("active", True, True), ("active", False, False), ("completed", True, False), ("none", True, False)],
)
def test_one_that_counts_nothing_is_known_by_its_snapshot(status, snapshot, inhibited):
    session = Session(None, Monitor(status, snapshot=snapshot), None, Silent())
    why = balloon._inhibited(session, None, None)
    assert (why is not None) == inhibited


def test_a_target_that_cannot_be_says_what_virtio_mem_has_of_the_memory():
    with pytest.raises(UsageError, match="not below the VM's memory, 1 GiB, without the 3 GiB of virtio-mem"):
        balloon.check_inflate(2 << 30, 0, 1 << 30, lent=3 << 30)
    with pytest.raises(UsageError) as refused:
        balloon.check_inflate(1 << 30, 0, 1 << 30)
    assert "virtio-mem" not in refused.value.message
