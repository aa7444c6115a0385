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


@pytest.fixture
def boots(tmp_path, monkeypatch):
    """What becomes of each attempt to boot; an exception is raised, anything else is the VM."""
    outcomes = []
    monkeypatch.setenv("FASTBALLOON_RUNTIME", str(tmp_path / "run"))
    monkeypatch.setattr(vm, "plan", lambda request, progress: None)

    def boot(planned, request, progress, timeout):
        assert vms.vm_dir("v").is_dir()
        assert 0 < timeout <= 100
        outcome = outcomes.pop(0)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

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
