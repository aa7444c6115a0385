"""What a guest's counters say of a balloon that does not move, without a guest."""

import pytest

from fastballoon_cli.ops import balloon
from fastballoon_cli.ops.session import Session
from fastballoon_cli.progress import Silent

BEFORE = {"inflate_oom_pauses": 1, "inflate_floor": 2, "inflate_exhausted": 3}


class Agent:
    def __init__(self, answer):
        self.answer = answer

    def call(self, verb, **_):
        assert verb == "balloon"
        return self.answer


def why(before, now):
    session = Session(record=None, qmp=None, agent=Agent(now), progress=Silent())
    return balloon._what_stops_it(session, balloon._Reading(None, before))


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
