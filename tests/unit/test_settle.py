"""Who has the guest when a migration has ended, or was cut short: two monitors that are made up."""

import pytest

from fastballoon_cli.errors import QmpError, VmLostError
from fastballoon_cli.machine import settle as settling
from tests.unit.monitor import Monitor


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(settling, "_POLL_SECONDS", 0.001)
    monkeypatch.setattr(settling, "_SETTLE_SECONDS", 0.05)


@pytest.fixture
def records(monkeypatch):
    """Who has the guest: source and target are made of a name each, their monitors are in ``monitors``."""
    monitors, saved = {}, []

    class Spec:
        def __init__(self, generation):
            self.name, self.generation, self.qmp_socket = "v", generation, generation

    class Record:
        started = 1

        def __init__(self, generation):
            self.spec = Spec(generation)
            self.pid = generation
            self.killed = False

        @property
        def alive(self):
            return self.spec.generation in monitors and not self.killed

        def require_alive(self):
            if not self.alive:
                raise VmLostError("VM 'v' was lost")

    source, target = Record(0), Record(1)

    def connect(generation):
        if generation not in monitors:
            raise VmLostError("no QEMU listens")
        if isinstance(monitors[generation], Exception):
            raise monitors[generation]
        return monitors[generation]

    monkeypatch.setattr(settling, "Qmp", connect)
    monkeypatch.setattr(settling.registry, "load", lambda name: saved[-1] if saved else source)
    monkeypatch.setattr(settling.registry, "save", saved.append)
    monkeypatch.setattr(settling.registry, "forget_processes", lambda record: None)

    def end(pid, _started):
        (source, target)[pid].killed = True

    monkeypatch.setattr(settling.procfs, "kill", end)
    monkeypatch.setattr(settling.procfs, "await_end", end)
    return source, target, monitors, saved


@pytest.mark.parametrize(
    ("here", "there", "winner"),
    [
        (Monitor(["none"]), Monitor(run="inmigrate"), 0),
        (Monitor(["active"]), Monitor(run="inmigrate"), 0),
        (Monitor(["device"], on_cancel=["cancelling", "failed"]), Monitor(run="inmigrate"), 0),
        (Monitor(["completed"], run="postmigrate"), Monitor(["completed"]), 1),
        # It was complete before it heard of being cancelled.
        (Monitor(["device"], run="postmigrate", on_cancel=["completed"]), Monitor(["completed"]), 1),
        # A source that hangs: the guest is where it runs.
        (QmpError("no answer"), Monitor(["completed"]), 1),
        (QmpError("no answer"), Monitor(run="inmigrate"), 0),
        (None, Monitor(["completed"]), 1),
        (Monitor(["active"]), None, 0),
    ],
)
def test_whoever_has_the_guest_is_left(records, here, there, winner):
    source, target, monitors, saved = records
    monitors.update({number: it for number, it in enumerate((here, there)) if it is not None})
    holder = settling.settle(source, target)
    assert holder is (source, target)[winner]
    assert saved == [holder]
    assert (source, target)[1 - winner].alive is False
    # Wherever it is cut short it can be done again, with the same end.
    monitors.pop(1 - winner, None)
    assert settling.settle(source, target) is holder


@pytest.mark.parametrize("paused", ["finish-migrate", "postmigrate"])
def test_a_source_that_was_complete_never_runs_again(records, paused):
    """The guest has run at the destination, and is lost with that: its disks know of what the source does not."""
    source, target, monitors, saved = records
    monitors[0] = Monitor(["completed"], run=paused)
    with pytest.raises(VmLostError):
        settling.settle(source, target)
    assert not monitors[0].told("cont")
    assert source.killed
    assert saved == []


def test_a_guest_that_was_handed_over_and_recorded_is_not_looked_for_at_the_source(records):
    source, target, monitors, saved = records
    saved.append(target)
    monitors[0] = Monitor(["completed"], run="postmigrate")
    with pytest.raises(VmLostError):
        settling.settle(source, target)
    assert not monitors[0].told("cont")


def test_a_destination_that_has_the_guest_keeps_it_though_somebody_has_paused_it(records):
    source, target, monitors, _ = records
    monitors[0] = Monitor(["completed"], run="postmigrate")
    monitors[1] = Monitor(["completed"], run="paused")
    assert settling.settle(source, target) is target


def test_an_earlier_migration_of_a_guest_that_went_on_is_not_taken_for_this_one(records):
    """A snapshot, say: the tool was killed before its own migration had begun."""
    source, target, monitors, _ = records
    monitors[0] = Monitor(["completed"], run="running")
    monitors[1] = Monitor(["none"], run="inmigrate")
    assert settling.settle(source, target) is source


def test_a_source_that_stays_paused_when_its_migration_has_failed_is_told_to_go_on(records):
    source, target, monitors, _ = records
    monitors[0] = Monitor(["failed"], run="paused")
    assert settling.settle(source, target) is source
    assert monitors[0].told("cont")


class Polls(Monitor):
    """A QEMU with a balloon that asks the guest for statistics every so often."""

    def __init__(self, interval, *statuses, **more):
        super().__init__(statuses, **more)
        self.interval = interval

    def execute(self, command, arguments=None, **_):
        match command:
            case "qom-list":
                return [{"name": "balloon0", "type": "child<virtio-balloon-pci>"}]
            case "query-memory-size-summary":
                return {"base-memory": 1}
            case "query-memory-devices":
                return []
            case "qom-get" if arguments["property"] == "guest-stats":
                return {"last-update": 0, "stats": {}}
            case "qom-get":
                return self.interval
            case "qom-set":
                self.interval = arguments["value"]
                return {}
        return super().execute(command, arguments)


@pytest.mark.parametrize(("here", "there", "after"), [(2, 0, 2), (0, 0, 0), (2, 5, 5)])
def test_statistics_are_polled_at_the_destination_as_before(records, here, there, after):
    source, target, monitors, _ = records
    monitors[0] = Polls(here, "completed", run="postmigrate")
    monitors[1] = Polls(there, "completed")
    assert settling.settle(source, target) is target
    assert monitors[1].interval == after


def test_a_lost_source_takes_the_destination_along(records):
    source, target, monitors, saved = records
    monitors[1] = Monitor(run="inmigrate")
    with pytest.raises(VmLostError):
        settling.settle(source, target)
    assert target.killed
    assert saved == []
