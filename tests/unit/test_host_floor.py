"""Targets that are approached by what the guest says of its memory; a guest that is made up."""

import pytest

from fastballoon_cli.errors import TargetNotReachedError
from fastballoon_cli.machine.local import LocalQemu
from fastballoon_cli.machine.session import Session
from fastballoon_cli.ops import resize
from fastballoon_cli.ops.host_floor import HostFloor, default_floor, steps
from fastballoon_cli.progress import Silent

MIB, GIB = 1 << 20, 1 << 30


class Monitor:
    def execute(self, command, *_):
        return {"query-status": {"status": "running"}}[command]


class Guest:
    """A balloon, and the statistics of the guest it is in: what is taken is not available any more."""

    def __init__(self, available, *, age=0.5, says=True):
        self.available, self.age_s, self.says = available, age, says
        self.at, self.targets, self.least = 0, [], available

    def size(self):
        return self.at

    def set_target(self, size):
        self.targets.append(size)
        self.at = size
        self.least = min(self.least, self.available - size)

    def memory(self, *, wait):
        assert wait
        return {"MemAvailable": self.available - self.at, "MemFree": 0} if self.says else None


def inflate(guest, target, floor):
    session = Session(LocalQemu(), Monitor(), None, Silent(), met=True, statistics=guest)
    return resize._wait(
        session, guest, target, 10, Silent(), lambda: None, [(0.0, guest.size())], HostFloor(session, floor)
    )


def test_a_guest_with_enough_to_spare_is_asked_once():
    guest = Guest(3 * GIB)
    inflate(guest, GIB, 128 * MIB)
    assert guest.targets == [GIB]


def test_what_leaves_it_little_is_approached():
    guest = Guest(3 * GIB)
    inflate(guest, 2800 * MIB, 128 * MIB)
    assert guest.targets[-1] == guest.at == 2800 * MIB
    assert 2 <= len(guest.targets) <= 12
    assert guest.targets == sorted(guest.targets)


@pytest.mark.parametrize("target", [GIB, 2800 * MIB, 3 * GIB])
def test_what_is_forecast_is_what_is_done(target):
    guest = Guest(3 * GIB)
    forecast = steps(0, target, available=3 * GIB, floor=128 * MIB)
    if forecast[-1] == target:
        inflate(guest, target, 128 * MIB)
    else:
        with pytest.raises(TargetNotReachedError):
            inflate(guest, target, 128 * MIB)
        guest.targets.pop()  # it stays where it is
    assert guest.targets == forecast


def test_there_is_no_step_where_nothing_can_be_spared_or_is_to_be_moved():
    assert steps(MIB, GIB, available=100 * MIB, floor=128 * MIB) == []
    assert steps(GIB, GIB, available=GIB, floor=128 * MIB) == []


def test_the_guest_keeps_its_floor():
    guest = Guest(GIB)
    with pytest.raises(TargetNotReachedError, match=r"to keep 128 MiB \(--floor\)"):
        inflate(guest, 2 * GIB, 128 * MIB)
    assert guest.least >= 128 * MIB
    assert guest.at >= GIB - 128 * MIB - 16 * MIB
    assert guest.targets[-1] == guest.at
    assert all(target % 4096 == 0 for target in guest.targets)


@pytest.mark.parametrize("guest", [Guest(GIB, says=False), Guest(GIB, age=None), Guest(GIB, age=60.0)])
def test_nothing_is_taken_from_one_that_does_not_say_what_it_has(guest):
    with pytest.raises(TargetNotReachedError, match="does not say"):
        inflate(guest, 512 * MIB, 128 * MIB)
    assert guest.at == 0


def test_a_small_guest_keeps_less():
    assert default_floor(4 * GIB) == 128 * MIB
    assert default_floor(512 * MIB) == 64 * MIB
