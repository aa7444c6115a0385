"""The doctor's look at a VM: what is lacking for page bitmaps, and what mends it."""

import json

import pytest

from fastballoon_cli.machine import registry
from tests.unit.fake_guest import FakeGuest
from tests.unit.fake_qemu import FakeQemu

pytestmark = pytest.mark.usefixtures("runtime")

ON = {"x-page-bitmap": True, "x-drop-cache": True, "x-free-pages": True}
COUNTERS = {
    "page-bitmap": True,
    **{"target-ns": 0, "actual-ns": 0},
    **{
        queue: dict.fromkeys(
            (
                *("kicks", "messages", "errors", "refused", "inhibited", "pages", "discards"),
                *("translate-ns", "discard-ns"),
            ),
            0,
        )
        for queue in ("inflate", "deflate")
    },
}
#: A Debian with its own driver.
NOTHING = {"version": None, "installed": False, "headers": False, "secure_boot": False}


@pytest.fixture
def look(fastballoon, tmp_path):
    """Look at a VM with a device of these properties, whose guest says this of its driver."""
    made = []

    def call(properties, driver=None, *, taken=True):
        qemu = FakeQemu("own", **properties)
        made.append(qemu)
        monitor = tmp_path / "qmp.sock"
        qemu.record.spec.qmp_socket.rename(monitor)
        registry.forget("own")
        qemu.driver = taken
        login = ()
        if driver is not None:
            guest = FakeGuest(tmp_path / "guest")
            made.append(guest)
            guest.answers["driver"] = driver
            login = guest.arguments
        attached = fastballoon("vm", "attach", "web", "--qmp", str(monitor), *login)
        assert attached.returncode == 0, attached.stderr
        return fastballoon("--json", "--vm", "web", "doctor", "--guest")

    yield call
    for one in made:
        one.close()


def checks(ran):
    return {check["name"]: check for check in json.loads(ran.stdout)["checks"]}


def test_an_unmodified_qemu_is_named(look):
    ran = look({})
    assert ran.returncode == 0
    found = checks(ran)
    assert found["device"]["status"] == "warn"
    assert "x-page-bitmap" in found["device"]["found"]
    assert "our QEMU" in found["device"]["hint"]
    assert found["driver"]["status"] == "ok"


def test_a_device_made_without_the_features_is_named_with_how_to_make_it(look):
    found = checks(look(dict.fromkeys(ON, False)))
    assert "x-page-bitmap=off" in found["device"]["found"]
    assert "x-page-bitmap=on,x-drop-cache=on,x-free-pages=on" in found["device"]["hint"]


def test_a_guest_without_a_driver_fails(look):
    ran = look(ON, taken=False)
    assert ran.returncode == 3
    assert checks(ran)["driver"] == {
        "name": "driver",
        "status": "fail",
        "found": "the guest has none for the balloon",
        "hint": "in the guest: modprobe virtio_balloon",
    }


@pytest.mark.parametrize(
    ("driver", "remedy"),
    [
        (NOTHING, "apt-get install ./fastballoon-dkms_*.deb"),
        (NOTHING | {"installed": True}, "apt-get install linux-headers-6.1.0-9-amd64"),
        (NOTHING | {"installed": True, "headers": True, "secure_boot": True}, "mokutil --import"),
        (NOTHING | {"installed": True, "headers": True}, "dkms autoinstall"),
        (NOTHING | {"installed": True, "headers": True, "version": "0.1.0"}, "modprobe virtio_balloon"),
    ],
    ids=["nothing", "no-headers", "secure-boot", "not-compiled", "loaded"],
)
def test_what_a_guest_with_another_driver_lacks(look, driver, remedy):
    found = checks(look(ON, driver))
    assert found["driver"]["status"] == "warn"
    assert remedy in found["driver"]["hint"]
    assert found["page bitmaps"]["status"] == "warn"


def test_a_guest_that_nobody_can_ask_is_told_what_to_install(look):
    assert "fastballoon-dkms" in checks(look(ON))["driver"]["hint"]


def test_a_guest_with_the_module_is_told_what_zeroing_costs(look):
    found = checks(look(ON | {"x-counters": COUNTERS}, NOTHING | {"version": "0.1.0"}))
    assert found["driver"] == {
        "name": "driver",
        "status": "ok",
        "found": "our module 0.1.0, kernel 6.1.0-9-amd64",
        "hint": None,
    }
    assert found["page bitmaps"]["status"] == "ok"
    assert found["init_on_alloc"]["status"] == "warn"
    assert "init_on_alloc=0" in found["init_on_alloc"]["hint"]


def test_senseless_answers_of_a_guest_are_not_believed(look):
    found = checks(look(ON, {"version": 5, "installed": "yes"}))
    assert "fastballoon-dkms" in found["driver"]["hint"]
