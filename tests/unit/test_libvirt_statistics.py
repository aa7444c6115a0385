"""Who tells what a domain's guest has, and how old the figures are that libvirt has of it."""

from types import SimpleNamespace

import pytest

from fastballoon_cli.libvirt import balloon as libvirt_balloon
from fastballoon_cli.libvirt.balloon import DomainBalloon
from fastballoon_cli.machine.statistics import Statistics
from tests.unit.fake_libvirt import ok
from tests.unit.fake_port import FakePort


class Clock:
    """A time that passes when somebody sleeps."""

    def __init__(self):
        self.now = 1000.0

    def time(self):
        return self.now

    monotonic = time

    def sleep(self, seconds):
        self.now += seconds


class Domain:
    """A domain whose guest answers once a second, a quarter into it; of the host's clock libvirt tells whole seconds.

    What the guest has free is the time of its answer.
    """

    name = "web"

    def __init__(self, clock, *, ahead, local):
        self.clock, self.ahead = clock, ahead
        self.connection = SimpleNamespace(local=local)

    def describe(self):
        return SimpleNamespace(balloon=True, balloon_ram_bytes=1 << 30, extended=False, stats_interval_s=1)

    def memory_stats(self):
        answered = int(self.clock.now - 0.25) + 0.25
        return {"actual": 0, "unused": answered, "last_update": int(answered + self.ahead)}


@pytest.mark.parametrize(("local", "ahead"), [(True, 0), (False, 0), (False, 3600), (False, -3600)])
def test_what_was_told_before_somebody_asks_is_not_taken_for_fresh(monkeypatch, local, ahead):
    clock = Clock()
    monkeypatch.setattr(libvirt_balloon, "time", clock)
    monkeypatch.setattr("fastballoon_cli.machine.statistics.time", clock)
    device = DomainBalloon(Domain(clock, ahead=ahead, local=local), monitor=None)
    statistics = Statistics(lambda: device)
    for pause in (0.0, 0.5, 7.9, 0.3, 12.0, 0.04):
        clock.now += pause  # an operation, during which nobody looks
        begun = clock.now
        memory = statistics.memory(wait=True)
        assert memory["MemFree"] / 1024 >= begun
        assert clock.now - memory["MemFree"] / 1024 <= statistics.age_s < 1.5


@pytest.mark.parametrize(("state", "told_by"), [("connected", "agent"), ("disconnected", "statistics")])
def test_the_agent_of_the_guests_package_is_asked_where_it_has_opened_its_port(
    fastballoon, runtime, web, tmp_path, state, told_by
):
    port = FakePort(tmp_path / "agent.sock")
    web.xml["memory"] = (
        f"<channel type='unix'><source mode='bind' path='{tmp_path}/agent.sock'/>"
        f"<target type='virtio' name='fastballoon.agent.0' state='{state}'/></channel>"
    )
    result = ok(fastballoon, "inflate", "--target", "256M", "--floor", "0")
    assert result["provenance"]["guest_memory_from"] == told_by
    port.close()
