import os
import pathlib

import pytest

from fastballoon_cli.errors import GuestError, VmLostError
from fastballoon_cli.host import vms
from fastballoon_cli.ops import vm
from fastballoon_cli.progress import Silent


class Heard(Silent):
    def __init__(self):
        self.warnings = []

    def warn(self, message):
        self.warnings.append(message)


class Outcomes(list):
    """What becomes of each attempt, how long each lasts, and how long each may last, in seconds."""

    lasts = 0.0

    def __init__(self):
        self.had = []


@pytest.fixture
def boots(tmp_path, monkeypatch):
    """What becomes of each attempt to boot; an exception is raised, anything else is the VM."""
    outcomes = Outcomes()
    monkeypatch.setenv("FASTBALLOON_RUNTIME", str(tmp_path / "run"))
    monkeypatch.setattr(vm, "plan", lambda request, progress: None)

    def boot(planned, request, progress, timeout):
        assert vms.vm_dir("v").is_dir()
        assert 0 < timeout <= 100
        outcomes.had.append(timeout)
        outcome = outcomes.pop(0)
        now[0] += min(timeout, outcomes.lasts)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    now = [0.0]
    monkeypatch.setattr(vm.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(vm, "_boot", boot)
    return outcomes


def start(progress):
    return vm.start(vm.Request(name="v"), progress, timeout=100)


@pytest.mark.parametrize(
    "passing",
    [
        GuestError("the guest's SSH did not answer within 45 s"),
        VmLostError("QEMU ended", details="Could not set up host forwarding rule 'tcp:127.0.0.1:1-:22'"),
        VmLostError("QEMU ended", details="iotlb_to_section: Assertion `section_index < d->map.sections_nb' failed."),
    ],
)
def test_a_boot_that_stalls_or_ended_by_a_race_is_tried_once_more(boots, passing):
    boots += [passing, "the VM"]
    heard = Heard()
    assert start(heard) == "the VM"
    assert len(heard.warnings) == 1
    assert passing.message in heard.warnings[0]


def test_a_qemu_that_ends_is_not_started_again(boots):
    boots += [VmLostError("QEMU ended", details="out of memory")]
    with pytest.raises(VmLostError):
        start(Silent())
    assert not vms.vm_dir("v").exists()


def test_a_guest_that_never_comes_up_is_an_error_in_the_end(boots):
    boots += [GuestError("no answer")] * 5
    with pytest.raises(GuestError):
        start(Silent())
    assert not boots


def test_on_a_busy_host_another_attempt_has_more_time(boots):
    """100 s are 45 and all the rest, not twice 45 and a hopeless 10."""
    boots += [GuestError("no answer")] * 2
    boots.lasts = 1000
    with pytest.raises(GuestError):
        start(Silent())
    assert boots.had == [45, 55]


@pytest.mark.parametrize(
    ("where", "what"),
    [(pathlib.Path, "mkdir"), (vms.os, "open"), (vms.fcntl, "flock"), (pathlib.Path, "write_text"), (vm.vms, "load")],
    ids=["folder made", "folder opened", "folder locked", "holder told", "looked for another"],
)
def test_ctrl_c_at_any_moment_before_qemu_leaves_no_folder(boots, monkeypatch, where, what):
    whole, folder, made = getattr(where, what), vms.vm_dir("v"), []

    def and_ctrl_c(*arguments, **keywords):
        result = whole(*arguments, **keywords)
        if not made and os.path.lexists(folder):
            made.append(folder)
            raise KeyboardInterrupt
        return result

    monkeypatch.setattr(where, what, and_ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        start(Silent())
    assert made == [folder]
    assert not folder.exists()
    boots += ["the VM"]
    assert start(Silent()) == "the VM"
