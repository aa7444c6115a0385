"""VMs that something else has started; their QEMUs are made up, the tool is real."""

import json
import socket
import time

import pytest

from fastballoon_cli.machine import registry
from tests.unit.fake_qemu import FakeQemu
from tests.unit.made import GIB

pytestmark = pytest.mark.usefixtures("runtime")

MIB = 1 << 20
FREE = {"stat-free-memory": 300 * MIB, "stat-available-memory": 500 * MIB, "stat-disk-caches": 200 * MIB}


@pytest.fixture
def qemu(tmp_path):
    """A QEMU that was started as 'own', which is then forgotten: only its monitor is left."""
    made = FakeQemu("own")
    made.monitor = tmp_path / "qmp.sock"
    made.record.spec.qmp_socket.rename(made.monitor)
    registry.forget("own")
    made.tells = FREE
    yield made
    made.close()


@pytest.fixture
def web(fastballoon, qemu):
    ran = fastballoon("--json", "vm", "attach", "web", "--qmp", str(qemu.monitor))
    assert ran.returncode == 0, ran.stdout
    return json.loads(ran.stdout)


def refused(fastballoon, code, *arguments):
    ran = fastballoon("--json", *arguments)
    assert ran.returncode == code, ran.stdout + ran.stderr
    return json.loads(ran.stdout)["error"]


def test_what_is_attached_is_asked_what_it_is_like(fastballoon, qemu, web):
    assert (web["name"], web["state"], web["attached"]) == ("web", "running", True)
    assert (web["pid"], web["accel"], web["cpus"], web["memory_bytes"]) == (qemu.process.pid, "tcg", 1, GIB)
    assert (web["kernel_variant"], web["qemu_version"]) == (None, "10.0.3 (Debian 1:10.0.3+ds-1)")
    assert "attached, QEMU 10.0.3" in fastballoon("vm", "list").stdout
    assert fastballoon("vm", "status", "web").returncode == 0
    # More memory is plugged in: nothing is remembered.
    qemu.memory *= 2
    qemu.said.clear()
    assert json.loads(fastballoon("--json", "vm", "status", "web").stdout)["memory_bytes"] == 2 * GIB
    # The device and what is said of the VM go by one answer.
    assert [len(qemu.told(f"query-memory-{what}")) for what in ("size-summary", "devices")] == [1, 1]


def test_its_balloon_is_moved_and_its_statistics_say_what_the_guest_has(fastballoon, qemu, web):
    ran = fastballoon("--json", "--vm", "web", "inflate", "--target", "256M")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    result = json.loads(ran.stdout)
    assert (result["vm"], result["method"], result["balloon_bytes"]["after"]) == ("web", "pfn", 256 * MIB)
    assert result["guest_free_bytes"] == {"before": 300 * MIB, "after": 300 * MIB}
    assert result["provenance"]["guest_memory_from"] == "statistics"
    assert result["provenance"]["guest_memory_age_s"] < 2
    # QEMU asks as often as it did before.
    assert qemu.properties["guest-stats-polling-interval"] == 0
    ran = fastballoon("--vm", "web", "deflate")
    assert "guest free memory (statistics)" in ran.stdout
    assert qemu.balloon == 0


def test_a_dry_run_shows_the_steps_that_a_floor_makes(fastballoon, qemu, web):
    def would(*arguments):
        ran = fastballoon("--json", "--vm", "web", "inflate", *arguments, "--dry-run")
        assert ran.returncode == 0, ran.stdout
        commands = json.loads(ran.stdout)["commands"]
        asked = [json.loads(one.partition(": ")[2]) for one in commands if not one.startswith("#")]
        assert {one["execute"] for one in asked} == {"balloon"}
        said = [one for one in commands if one.startswith("#")]
        return said, [(qemu.memory - one["arguments"]["value"]) // MIB for one in asked]

    # Nobody asks the guest, and a dry run does not either.
    assert would("--target", "420M") == (
        ["# in steps, by what the guest says it has available: it keeps 128 MiB; it has said nothing yet"],
        [420],
    )
    qemu.properties["guest-stats-polling-interval"] = 10
    said, sizes = would("--target", "420M")  # of 500 MiB that are available
    assert sizes == sorted(sizes)
    assert len(sizes) > 1
    assert sizes[-1] < 420
    assert "it keeps 128 MiB of 500 MiB" in said[0]
    assert said[-1].startswith("# no further, if the guest has")
    assert would("--target", "420M", "--floor", "0") == ([], [420])
    # Where the floor is far, one step is enough.
    assert would("--target", "64M")[1] == [64]
    assert qemu.told("balloon") == []


def test_a_dry_run_asks_for_the_method_as_the_run_does(fastballoon, qemu, web):
    error = refused(fastballoon, 3, "--vm", "web", "inflate", "--target", "64M", "--method", "page-bitmap", "--dry-run")
    assert error == refused(fastballoon, 3, "--vm", "web", "inflate", "--target", "64M", "--method", "page-bitmap")


def test_a_guest_that_tells_nothing_is_not_waited_for_long(fastballoon, qemu, web):
    qemu.tells = None
    begun = time.monotonic()
    error = refused(fastballoon, 6, "--vm", "web", "inflate", "--target", "256M")
    assert "booting" in error["hint"]
    assert "--floor 0" in error["hint"]
    assert "free" not in error["message"]  # it is not known
    result = json.loads(fastballoon("--json", "--vm", "web", "inflate", "--target", "256M", "--floor", "0").stdout)
    assert time.monotonic() - begun < 30
    assert result["guest_free_bytes"] == {"before": None, "after": None}
    assert result["provenance"]["guest_memory_age_s"] is None


def test_a_guest_that_still_boots_is_said_to_be_one_that_may(fastballoon, qemu, web):
    qemu.driver = False
    assert "still booting" in refused(fastballoon, 3, "--vm", "web", "inflate", "--target", "256M")["hint"]


def test_memory_is_given_back_before_statistics_are_waited_for(fastballoon, qemu, web):
    fastballoon("--vm", "web", "inflate", "--target", "256M")
    qemu.tells = None
    qemu.said.clear()
    fastballoon("--vm", "web", "deflate")
    assert qemu.told("balloon") == [{"value": GIB}]
    before = qemu.said[: [said for _, said, _ in qemu.said].index("balloon")]
    looks = [arguments for _, _, arguments in before if arguments.get("property") == "guest-stats"]
    assert len(looks) < 5  # who waits looks 20 times a second


def test_only_what_the_tool_has_started_is_stopped(fastballoon, qemu, web):
    error = refused(fastballoon, 3, "vm", "stop", "web")
    assert "was attached" in error["message"]
    assert "vm detach web" in error["hint"]
    assert json.loads(fastballoon("--json", "vm", "stop", "--all").stdout)["stopped"] == []
    assert qemu.process.poll() is None
    assert qemu.told("quit") == []
    assert json.loads(fastballoon("--json", "vm", "detach", "web").stdout)["detached"] == "web"
    assert not registry.vm_dir("web").exists()
    assert qemu.process.poll() is None
    assert "there is no VM" in refused(fastballoon, 3, "vm", "detach", "web")["message"]


@pytest.mark.parametrize(
    "command", [("migrate",), ("migrate", "--dry-run"), ("vm", "console", "--log"), ("vm", "touch")]
)
def test_what_needs_a_vm_of_our_own_says_so(fastballoon, qemu, web, command):
    assert "was attached" in refused(fastballoon, 3, "--vm", "web", *command)["message"]


def test_nobody_has_said_how_to_log_in_to_its_guest(fastballoon, web):
    error = refused(fastballoon, 3, "--vm", "web", "vm", "ssh")
    assert "nobody has said how to log in" in error["message"]
    assert "--ssh" in error["hint"]


def test_a_login_is_for_domains_or_given_once(fastballoon, web, monkeypatch):
    error = refused(fastballoon, 2, "--vm", "web", "--ssh", "root@web", "--identity", "key", "deflate")
    assert "goes with --connect" in error["message"]
    assert "vm attach" in error["hint"]
    # In the environment it may be meant for others.
    monkeypatch.setenv("FASTBALLOON_SSH", "root@web")
    monkeypatch.setenv("FASTBALLOON_IDENTITY", "key")
    assert fastballoon("--vm", "web", "vm", "status").returncode == 0


def test_a_vm_of_our_own_is_not_detached(fastballoon):
    own = FakeQemu("mine")
    try:
        assert "vm stop mine" in refused(fastballoon, 3, "vm", "detach", "mine")["hint"]
        again = refused(fastballoon, 3, "vm", "attach", "mine", "--qmp", str(own.record.spec.qmp_socket))
        assert "there is a VM 'mine' already" in again["message"]
    finally:
        own.close()


def test_a_monitor_that_somebody_holds_is_busy_and_no_hang(fastballoon, qemu, web, tmp_path):
    path = tmp_path / "held.sock"
    with socket.socket(socket.AF_UNIX) as monitor:
        monitor.bind(str(path))
        monitor.listen()
        begun = time.monotonic()
        assert "is busy" in refused(fastballoon, 4, "vm", "attach", "held", "--qmp", str(path))["message"]
        assert time.monotonic() - begun < 6
        # The same of one that was attached before somebody took its monitor.
        (registry.vm_dir("web") / "attached.json").write_text(
            json.dumps(json.loads((registry.vm_dir("web") / "attached.json").read_text()) | {"qmp_socket": str(path)})
        )
        (one,) = json.loads(fastballoon("--json", "vm", "list").stdout)["vms"]
        assert (one["name"], one["state"]) == ("web", "busy")
        assert "is busy" in refused(fastballoon, 4, "--vm", "web", "inflate", "--target", "64M")["message"]
    assert not registry.vm_dir("held").exists()


def test_what_is_no_monitor_is_said_to_be_none(fastballoon, tmp_path):
    def attach(path):
        return ("vm", "attach", "x", "--qmp", str(path))

    assert "no socket" in refused(fastballoon, 3, *attach(tmp_path / "none"))["message"]
    (tmp_path / "file").touch()
    refused(fastballoon, 128, *attach(tmp_path / "file"))
    assert "is no monitor" in refused(fastballoon, 3, *attach(tmp_path / ("x" * 120)))["message"]
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(tmp_path / "gone"))
    assert "no QEMU listens" in refused(fastballoon, 128, *attach(tmp_path / "gone"))["message"]
    assert not registry.vm_dir("x").exists()


def test_one_that_has_ended_is_lost_and_then_forgotten(fastballoon, qemu, web):
    qemu.close()
    error = refused(fastballoon, 128, "vm", "status", "web")
    assert "was lost" in error["message"]
    assert "vm attach web --qmp" in error["hint"]
    assert json.loads(fastballoon("--json", "vm", "list").stdout)["vms"] == []
    assert not registry.vm_dir("web").exists()


def test_a_record_that_cannot_be_read_is_listed_as_unknown(fastballoon, qemu, web):
    path = registry.vm_dir("web") / "attached.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 2}))
    (one,) = json.loads(fastballoon("--json", "vm", "list").stdout)["vms"]
    assert (one["name"], one["state"]) == ("web", "unknown")
    assert "vm detach web" in refused(fastballoon, 3, "vm", "status", "web")["hint"]
    # It is not ours to end, whoever wrote its record.
    assert "was attached" in refused(fastballoon, 3, "vm", "stop", "web")["message"]
    assert qemu.process.poll() is None
    assert fastballoon("vm", "detach", "web").returncode == 0
    assert not registry.vm_dir("web").exists()
