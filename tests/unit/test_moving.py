"""A move that ends early, by whatever: what becomes of the target."""

import pytest

from fastballoon_cli.errors import GuestError, QmpError, TargetNotReachedError
from fastballoon_cli.machine.local import LocalQemu
from fastballoon_cli.machine.session import Session
from fastballoon_cli.ops import host_gain, resize
from fastballoon_cli.progress import Silent
from fastballoon_cli.results.model import Change
from tests.unit.made import reading

MIB = 1 << 20
GIB = 1 << 30


class Monitor:
    def execute(self, command, *_):
        return {"query-status": {"status": "running"}}[command]


class Device:
    """A device whose size can be asked for so often before that fails."""

    def __init__(self, size, error=None, *, targets_fail=False):
        self.at, self.error, self.asked, self.targets = size, error, 0, []
        self.targets_fail = targets_fail

    def size(self):
        self.asked += 1
        if self.asked == 3 and self.error:
            raise self.error
        return self.at

    def set_target(self, size):
        if self.targets and self.targets_fail:
            raise QmpError("QEMU did not answer 'balloon' within 5 s")
        self.targets.append(size)


class Heard(Silent):
    def __init__(self):
        self.warnings = []

    def warn(self, message):
        self.warnings.append(message)


def wait(device, target, *, timeout=10.0, why=lambda: None, progress=None):
    session = Session(LocalQemu(), Monitor(), None, Silent(), met=True)
    return resize._wait(session, device, target, timeout, progress or Silent(), why, [(0.0, device.size())])


ENDS = [QmpError("no answer"), GuestError("no answer"), KeyboardInterrupt(), SystemExit(1), RuntimeError()]


@pytest.mark.parametrize("error", ENDS, ids=lambda error: type(error).__name__)
def test_an_inflation_that_ends_early_stays_where_it_is(error):
    device = Device(100, error)
    with pytest.raises(type(error)):
        wait(device, 300)
    assert device.targets == [300, 100]


@pytest.mark.parametrize("error", ENDS, ids=lambda error: type(error).__name__)
def test_a_deflation_is_never_withdrawn(error):
    device = Device(300, error)
    with pytest.raises(type(error)):
        wait(device, 100)
    assert device.targets == [100]


def test_a_size_that_is_right_already_is_the_target_from_now_on():
    device = Device(100)
    assert wait(device, 100) == 0
    assert device.targets == [100]


def test_a_target_that_cannot_be_set_back_is_said_and_hides_no_reason():
    heard = Heard()
    with pytest.raises(GuestError):
        wait(Device(100, GuestError("no answer"), targets_fail=True), 300, progress=heard)
    assert "may go on" in heard.warnings[0]


def test_a_stall_is_said_with_a_hint_that_fits(monkeypatch):
    monkeypatch.setattr(resize, "_STALL_SECONDS", 0.05)
    with pytest.raises(TargetNotReachedError) as grown:
        wait(Device(100), 300)
    assert "ask for less" in grown.value.hint
    with pytest.raises(TargetNotReachedError) as shrunk:
        wait(Device(300), 100)
    assert "ask for less" not in shrunk.value.hint
    assert "the target stands" in shrunk.value.hint


def gain(given, before, after, *, inhibited=None, memory=4 * GIB, started=True):
    driven = resize.Driven(1.0, Change(0, given), reading(rss=before), reading(rss=after), None)
    return host_gain.remarks(memory, driven, inhibited=inhibited, started=started)


def test_a_host_that_gains_what_was_given_gets_no_word():
    assert gain(GIB, 4 * GIB, 3 * GIB) == []
    assert gain(GIB, 4 * GIB, int(3.4 * GIB)) == []
    assert gain(-GIB, 3 * GIB, 3 * GIB) == []
    assert gain(0, 3 * GIB, 3 * GIB) == []


def test_a_host_that_gains_nothing_is_told_why():
    (word,) = gain(GIB, 4 * GIB, 4 * GIB, inhibited="it must not")
    assert "the host has gained 0 B of it: QEMU says that it must not" in word
    (word,) = gain(GIB, 300 * MIB, 290 * MIB)
    assert "the rest it did not hold, as it held 300 MiB of the guest's 4 GiB" in word
    assert "vm touch" in word
    (word,) = gain(GIB, 300 * MIB, 290 * MIB, started=False)
    assert "vm touch" not in word
    (word,) = gain(GIB, 4 * GIB, 4 * GIB - 16 * MIB)
    assert "it still holds the rest; memory in huge pages" in word
