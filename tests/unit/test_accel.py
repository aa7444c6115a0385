"""Whether KVM is used: what a probe said is remembered, unless that may have been the host's mood."""

import subprocess
from pathlib import Path

import pytest

from fastballoon_cli.errors import PreconditionError
from fastballoon_cli.machine import accel
from fastballoon_cli.progress import Silent

BUSY = subprocess.TimeoutExpired("qemu", 8)


@pytest.fixture
def probes(tmp_path, monkeypatch):
    """What each probe finds: a reason, None, or an exception."""
    found = []

    def probe(*_):
        outcome = found.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setenv("FASTBALLOON_CACHE", str(tmp_path))
    monkeypatch.setattr(accel, "_KVM", Path("/dev/null"))
    monkeypatch.setattr(accel, "_probe", probe)
    return found


def choose(wanted, kernel="k"):
    return accel.choose(wanted, qemu=Path("q"), firmware=(), kernel=Path(kernel), progress=Silent())


@pytest.mark.parametrize(("reason", "chosen"), [(None, "kvm"), ("QEMU ended with status 1", "tcg")])
def test_what_was_found_is_remembered(probes, reason, chosen):
    probes.append(reason)
    assert [choose("auto"), choose("auto")] == [chosen, chosen]


def test_it_is_remembered_of_each_pair_that_guests_are_booted_with_in_turn(probes):
    probes += [None, "QEMU ended with status 1"]
    assert [choose("auto", kernel) for kernel in ("stock", "fast") * 2] == ["kvm", "tcg"] * 2


def test_a_probe_that_a_busy_host_did_not_end_in_time_is_repeated(probes):
    probes += [BUSY, None]
    assert [choose("auto"), choose("auto")] == ["tcg", "kvm"]


def test_who_wants_kvm_has_it_tried_again(probes):
    probes += ["no such module", "still none", None]
    assert choose("auto") == "tcg"
    with pytest.raises(PreconditionError, match="still none"):
        choose("kvm")
    assert [choose("kvm"), choose("auto"), choose("kvm")] == ["kvm"] * 3
    assert probes == []


def test_what_was_remembered_may_be_anything(probes, tmp_path):
    (tmp_path / "kvm-probe.json").write_text("[]")
    probes.append(None)
    assert choose("auto") == "kvm"


def test_a_cache_that_may_not_be_written_to_remembers_nothing(probes, tmp_path, monkeypatch):
    # As root may write anywhere, it is a folder that is not there.
    monkeypatch.setenv("FASTBALLOON_CACHE", str(tmp_path / "none"))
    probes += [None, None]
    assert [choose("auto"), choose("auto")] == ["kvm", "kvm"]
    assert probes == []
