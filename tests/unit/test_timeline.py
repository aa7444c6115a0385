import pytest

from fastballoon_cli.results.timeline import HostSide, Timeline, between_events


def guest(**counters):
    names = ("kicks", "messages", "allocate_ns", "send_ns", "ack_ns")
    before = {f"inflate_{name}": 1000 for name in names}
    after = {key: value + counters.get(key.removeprefix("inflate_"), 0) for key, value in before.items()}
    return before, after


def test_phases_of_both_ends_sum_to_the_duration():
    timeline = Timeline(
        operation="inflate",
        watched_s=9.0,
        stamps_ns=(5_000_000_000, 5_020_000_000),
        host=(HostSide(1, 2, 3, 100, 100), HostSide(3, 5, 10, 1_000_100, 9_000_100)),
        guest=guest(allocate_ns=4_000_000, send_ns=11_000_000, ack_ns=1_000_000),
    )
    phases = timeline.phases
    assert timeline.duration_s == pytest.approx(0.020)
    assert timeline.clock == "qemu"
    assert phases.allocate == pytest.approx(0.004)
    assert phases.translate == pytest.approx(0.001)
    assert phases.discard == pytest.approx(0.009)
    # 12 ms under way, 10 of them the device's own work
    assert phases.send == pytest.approx(0.002)
    assert phases.other == pytest.approx(0.004)
    assert phases.release is None
    assert (timeline.counts.kicks, timeline.counts.messages, timeline.counts.discards) == (2, 3, 7)


def test_without_any_counters_the_duration_is_as_watched_and_no_phase_is_made_up():
    timeline = Timeline(operation="inflate", watched_s=1.5, stamps_ns=None, host=None, guest=None)
    assert timeline.duration_s == 1.5
    assert timeline.clock == "poll"
    assert set(vars(timeline.phases).values()) == {None}
    assert set(vars(timeline.counts).values()) == {None}


def test_a_patched_guest_on_an_unmodified_qemu_counts_its_own_side():
    timeline = Timeline(
        operation="inflate",
        watched_s=1.0,
        stamps_ns=None,
        host=None,
        guest=guest(kicks=7, messages=7, allocate_ns=200_000_000, send_ns=100_000_000, ack_ns=600_000_000),
    )
    assert timeline.counts.kicks == 7
    assert timeline.counts.discards is None
    assert timeline.phases.translate is None
    assert timeline.phases.send == pytest.approx(0.7)
    assert timeline.phases.other == pytest.approx(0.1)


def test_time_between_the_events_of_two_qemus():
    stop = {"event": "STOP", "timestamp": {"seconds": 1_700_000_000, "microseconds": 999_000}}
    resume = {"event": "RESUME", "timestamp": {"seconds": 1_700_000_001, "microseconds": 40_500}}
    assert between_events(stop, resume) == pytest.approx(0.0415)
    assert between_events(None, resume) is None
    assert between_events(stop, None) is None
