import pytest

from fastballoon_cli.errors import GuestError, NotInTimeError, QmpError, UsageError
from fastballoon_cli.machine.session import Session
from fastballoon_cli.ops import drop_cache, reclaim
from fastballoon_cli.progress import Silent
from tests.unit.made import Machine

MIB = 1 << 20


class Monitor:
    """A QEMU whose guest ends its requests with the given statuses."""

    def __init__(self, statuses, *, negotiated=True):
        self.statuses, self.negotiated = list(statuses), negotiated
        self.asked = []

    def execute(self, command, arguments=None):
        if arguments:
            self.asked.append((command, arguments))
        return {
            "query-status": {"status": "running"},
            "x-query-balloon-drop-cache": {"negotiated": self.negotiated},
            "x-balloon-reclaim": {"id": 1},
        }[command]

    def execute_until(self, command, arguments, *, event, ends, timeout):
        self.asked.append((command, arguments))
        data = {"id": 7, "status": self.statuses.pop(0), "freed-bytes": 5 * MIB}
        assert event == "X_BALLOON_RECLAIM_ENDED"
        assert ends({"id": 7}, data)
        assert not ends({"id": 8}, data)
        return data


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(reclaim, "provenance", lambda *_: {})
    monkeypatch.setattr(drop_cache, "_BUSY_SECONDS", 0.01)


def session(monitor):
    return Session(Machine(), monitor, None, Silent(), met=True)


def asked_to_reclaim(monitor):
    return [arguments for command, arguments in monitor.asked if command == "x-balloon-reclaim"]


@pytest.mark.parametrize("anonymous", [False, True])
def test_the_guest_is_asked_for_as_much_as_is_wanted(anonymous):
    monitor = Monitor(["done"])
    result = reclaim.reclaim(session(monitor), 8 * MIB, anonymous=anonymous, timeout=3, progress=Silent())
    assert (result.requested_bytes, result.freed_bytes, result.anonymous) == (8 * MIB, 5 * MIB, anonymous)
    (arguments,) = asked_to_reclaim(monitor)
    assert (arguments["size"], arguments["anonymous"]) == (8 * MIB, anonymous)
    assert 2900 < arguments["timeout"] <= 3000
    assert result.document()["operation"] == "reclaim"


def test_a_busy_guest_is_asked_again():
    monitor = Monitor(["busy", "busy", "done"])
    assert reclaim.reclaim(session(monitor), MIB, progress=Silent()).freed_bytes == 5 * MIB
    assert len(asked_to_reclaim(monitor)) == 3


@pytest.mark.parametrize(
    ("status", "message"),
    [("refused", "refuses to reclaim memory"), ("reset", "reset"), ("malformed", "makes no sense")],
)
def test_every_other_end_is_an_error(status, message):
    monitor = Monitor([status])
    with pytest.raises(GuestError, match=message):
        reclaim.reclaim(session(monitor), MIB, progress=Silent())
    assert len(asked_to_reclaim(monitor)) == 1


def test_a_guest_that_does_not_end_in_time_is_told_to_stop():
    monitor = Monitor(["timeout"])
    with pytest.raises(NotInTimeError, match="within 3 s"):
        reclaim.reclaim(session(monitor), MIB, timeout=3, progress=Silent())
    assert asked_to_reclaim(monitor)[1:] == [{"size": 0}]


def test_that_it_can_not_be_told_to_stop_does_not_hide_why():
    class Refusing(Monitor):
        def execute(self, command, arguments=None):
            if command == "x-balloon-reclaim":
                raise QmpError("busy")
            return super().execute(command, arguments)

    with pytest.raises(NotInTimeError):
        reclaim.reclaim(session(Refusing(["timeout"])), MIB, timeout=3, progress=Silent())


@pytest.mark.parametrize("size", [0, 1, 4095, 4097])
def test_a_size_that_makes_no_sense_is_refused(size):
    monitor = Monitor(["done"])
    with pytest.raises(UsageError):
        reclaim.reclaim(session(monitor), size, progress=Silent())
    assert not asked_to_reclaim(monitor)


def test_a_guest_that_can_not_be_asked_is_an_error_with_a_hint():
    with pytest.raises(GuestError, match="not agreed on requests to reclaim") as e:
        reclaim.reclaim(session(Monitor([], negotiated=False)), MIB, progress=Silent())
    assert "drop-cache" in e.value.hint
