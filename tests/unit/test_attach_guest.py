"""VMs that something else has started, with an agent in the guest: ours by SSH, or QEMU's by its socket."""

import json
import subprocess
import sys
import time

import pytest

from fastballoon_cli.machine import registry
from tests.conftest import await_true
from tests.unit.fake_guest import FakeGuest
from tests.unit.fake_port import FakePort
from tests.unit.fake_qemu import FakeQemu
from tests.unit.fake_qga import KIB, FakeQga

pytestmark = pytest.mark.usefixtures("runtime")

MIB = 1 << 20
#: Of the balloon's statistics; an agent says something else.
TELLS = {"stat-free-memory": 300 * MIB, "stat-available-memory": 500 * MIB, "stat-disk-caches": 200 * MIB}
INTERVAL = "guest-stats-polling-interval"


@pytest.fixture
def qemu(tmp_path):
    made = FakeQemu("own")
    made.monitor = tmp_path / "qmp.sock"
    made.record.spec.qmp_socket.rename(made.monitor)
    registry.forget("own")
    made.tells = TELLS
    yield made
    made.close()


@pytest.fixture
def guest(tmp_path):
    made = FakeGuest(tmp_path / "guest")
    yield made
    made.close()


@pytest.fixture
def qga(tmp_path):
    made = FakeQga(tmp_path / "qga.sock")
    made.arguments = ("--qga", str(tmp_path / "qga.sock"))
    yield made
    made.close()


@pytest.fixture
def port(tmp_path):
    made = FakePort(tmp_path / "agent.sock")
    yield made
    made.close()


@pytest.fixture
def attach(fastballoon, qemu):
    def call(*arguments, before=()):
        return fastballoon("--json", *before, "vm", "attach", "web", "--qmp", str(qemu.monitor), *arguments)

    return call


@pytest.fixture
def ok(fastballoon):
    def call(*arguments):
        ran = fastballoon("--json", "--vm", "web", *arguments)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return json.loads(ran.stdout) | {"said": ran.stderr}

    return call


def error_of(ran, code):
    assert ran.returncode == code, ran.stdout + ran.stderr
    return json.loads(ran.stdout)["error"]


def test_a_login_is_kept_and_the_agent_says_what_the_guest_has(attach, ok, fastballoon, qemu, guest):
    assert attach(*guest.arguments).returncode == 0
    status = ok("vm", "status", "web")
    assert (status["ssh"], status["qga_socket"], status["drop_cache_method"]) == (guest.login, None, "agent")
    assert guest.login in fastballoon("vm", "status", "web").stdout
    result = ok("inflate", "--target", "256M")
    assert result["guest_free_bytes"] == {"before": 444 * MIB, "after": 444 * MIB}
    assert result["provenance"]["guest_memory_from"] == "agent"
    assert result["provenance"]["guest_kernel"] == "6.1.0-9-amd64"
    # Nobody else is asked, and memory is given back before the guest is.
    assert qemu.told("qom-set") == []
    asked = len(guest.asked)
    assert ok("deflate")["guest_free_bytes"] == {"before": None, "after": 444 * MIB}
    assert len(guest.asked) > asked
    assert ok("drop-cache")["method"] == "agent"
    assert "drop_caches" in guest.asked
    # What a dry run prints is no command that is refused for a VM that was attached.
    (line,) = ok("drop-cache", "--dry-run")["commands"]
    host, _, port = guest.login.rpartition(":")
    assert line.startswith("ssh ")
    assert f" -p {port} " in line
    assert line.endswith(f"{host} 'echo 1 > /proc/sys/vm/drop_caches'")


def test_the_floor_is_kept_by_what_the_agent_says(attach, fastballoon, guest):
    assert attach(*guest.arguments).returncode == 0
    guest.answers["memory"] = guest.answers["memory"] | {"MemAvailable": 130 * MIB}
    error = error_of(fastballoon("--json", "--vm", "web", "inflate", "--target", "256M"), 6)
    assert "the guest has 130 MiB available, and is to keep 128 MiB (--floor)" in error["message"]


def test_files_are_found_from_another_folder(attach, ok, guest, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path / "guest")
    assert attach("--ssh", guest.login, "--identity", "key", "--known-hosts", "known_hosts").returncode == 0
    monkeypatch.chdir("/")
    assert ok("inflate", "--target", "256M")["provenance"]["guest_memory_from"] == "agent"


def test_a_login_that_does_not_work_is_not_kept(attach, guest, qemu, tmp_path):
    ssh, identity, known = guest.arguments[:2], guest.arguments[2:4], guest.arguments[4:]
    other = FakeGuest(tmp_path / "other")
    try:
        wrong_key = error_of(attach(*ssh, *other.arguments[2:4], *known), 5)
        assert "does not let root log in" in wrong_key["message"]
        assert "by hand: ssh -p" in wrong_key["hint"]
        (tmp_path / "known").write_text((tmp_path / "other" / "known_hosts").read_text())
        wrong_host = error_of(attach(*ssh, *identity, "--known-hosts", str(tmp_path / "known")), 3)
        assert "the host key of [127.0.0.1]" in wrong_host["message"]
        port = guest.login.rpartition(":")[2]
        key = (tmp_path / "known").read_text().split(maxsplit=1)[1]
        (tmp_path / "known").write_text(f"[127.0.0.1]:{port} {key}")
        assert (
            "another host key"
            in error_of(attach(*ssh, *identity, "--known-hosts", str(tmp_path / "known")), 5)["message"]
        )
    finally:
        other.close()
    unknown = error_of(attach(*ssh, *identity, "--known-hosts", "/none"), 3)
    assert "cannot read the known host keys in /none" in unknown["message"]
    assert "--known-hosts FILE" in unknown["hint"]
    assert "needs a private key" in error_of(attach(*ssh), 2)["message"]
    assert "cannot read the private key" in error_of(attach(*ssh, "--identity", "/none", *known), 3)["message"]
    assert "no way to log in" in error_of(attach("--ssh", "a b", *identity), 2)["message"]
    # Somebody takes the call, and says nothing.
    port = qemu.record.spec.ssh_port
    (tmp_path / "known").write_text(f"[127.0.0.1]:{port} {key}")
    silent = ("--ssh", f"root@127.0.0.1:{port}", *identity, "--known-hosts", str(tmp_path / "known"))
    assert "did not answer within 1 s" in error_of(attach(*silent, before=("--timeout", "1")), 5)["message"]
    assert not registry.exists("web")


def test_without_our_agent_in_it_statistics_say_what_the_guest_has(attach, ok, qemu, guest):
    guest.agent = False
    ran = attach(*guest.arguments)
    assert ran.returncode == 0
    assert "agent does not run in the guest" in ran.stderr
    result = ok("inflate", "--target", "256M")
    assert "going on without" in result["said"]
    assert result["guest_free_bytes"]["after"] == 300 * MIB
    assert result["provenance"]["guest_memory_from"] == "statistics"
    assert qemu.properties[INTERVAL] == 0


def test_an_agent_that_says_nothing_is_waited_for_once(attach, ok, qemu, guest):
    attach(*guest.arguments)
    guest.silent = {"hello", "memory", "balloon"}
    result = ok("inflate", "--target", "256M")
    assert result["said"].count("going on without") == 1
    assert "within 2 s" in result["said"]
    assert len(guest.asked) == 1
    assert result["provenance"]["guest_memory_from"] == "statistics"
    assert qemu.properties[INTERVAL] == 0


@pytest.mark.parametrize("silent", [{"dumb": True}, {"silent": {"hello", "memory", "drop_caches"}}])
def test_to_have_the_cache_dropped_no_agent_is_waited_for_longer_than_2_s(attach, fastballoon, guest, silent):
    """Half of --timeout is for an agent; of this guest, it is no more than what the session waits for any."""
    attach(*guest.arguments)
    for name, value in silent.items():
        setattr(guest, name, value)
    begun = time.monotonic()
    ran = fastballoon("--json", "--timeout", "60", "--vm", "web", "drop-cache")
    assert time.monotonic() - begun < 10
    assert "no agent in the guest answers" in error_of(ran, 5)["message"]
    assert ran.stderr.count("within 2 s") == 1, ran.stderr


def test_qemus_guest_agent_says_what_the_guest_has_and_drops_its_cache(attach, ok, qemu, qga):
    assert json.loads(attach(*qga.arguments).stdout)["qga_socket"] == qga.arguments[1]
    assert ok("vm", "status", "web")["drop_cache_method"] == "qga"
    result = ok("inflate", "--target", "256M")
    assert result["guest_free_bytes"]["before"] == 409600 * KIB
    assert (result["provenance"]["guest_memory_from"], result["provenance"]["guest_memory_age_s"]) == ("qga", None)
    assert qemu.told("qom-set") == []
    (line,) = ok("drop-cache", "--mode", "all", "--dry-run")["commands"]
    assert line.endswith("in the guest: echo 3 > /proc/sys/vm/drop_caches")
    dropped = ok("drop-cache", "--mode", "all")
    assert (dropped["method"], dropped["freed_bytes"]) == ("qga", 0)
    assert qga.written == {"/proc/sys/vm/drop_caches": "3\n"}


@pytest.mark.parametrize("command", ["guest-sync-delimited", "guest-file-open"])
def test_a_guest_agent_that_falls_silent_is_waited_for_once_and_statistics_are_read(attach, ok, qemu, qga, command):
    attach(*qga.arguments)
    qga.silent, before = {command}, qga.said.count(command)
    result = ok("inflate", "--target", "256M")
    assert result["said"].count("does not answer") == 1
    assert qga.said.count(command) == before + 1
    assert result["provenance"]["guest_memory_from"] == "statistics"
    assert result["guest_free_bytes"]["after"] == 300 * MIB
    assert qemu.properties[INTERVAL] == 0


def test_a_guest_agent_need_not_run_yet_but_its_socket_is_there(attach, ok, qga, tmp_path):
    missing = error_of(attach("--qga", str(tmp_path / "none")), 3)
    assert "cannot open the guest agent's socket" in missing["message"]
    assert not registry.exists("web")
    qga.silent = {"guest-sync-delimited"}
    ran = attach(*qga.arguments)
    assert ran.returncode == 0
    assert "does not answer; until it does" in ran.stderr
    qga.silent = set()
    assert ok("inflate", "--target", "256M")["provenance"]["guest_memory_from"] == "qga"


def test_who_attaches_it_again_to_name_its_agent_is_told_how(attach, fastballoon, qga):
    attach()
    again = error_of(attach(*qga.arguments), 3)
    assert "vm detach web" in again["hint"]
    assert "--qga" in error_of(fastballoon("--json", "--vm", "web", "drop-cache"), 5)["hint"]
    assert fastballoon("vm", "detach", "web").returncode == 0
    assert attach(*qga.arguments).returncode == 0
    qga.silent = {"guest-sync-delimited"}
    assert "qemu-guest-agent" in error_of(fastballoon("--json", "--vm", "web", "drop-cache"), 5)["hint"]


def test_ours_comes_first_and_qemus_when_it_does_not_answer(attach, ok, guest, qga):
    attach(*guest.arguments, *qga.arguments)
    before = len(qga.said)
    assert ok("inflate", "--target", "256M")["provenance"]["guest_memory_from"] == "agent"
    assert len(qga.said) == before
    guest.agent = False
    assert ok("inflate", "--target", "512M")["provenance"]["guest_memory_from"] == "qga"


def test_the_agent_of_the_guests_package_says_what_the_guest_has_and_drops_no_cache(attach, ok, fastballoon, port, qga):
    status = json.loads(attach(*port.arguments).stdout)
    assert (status["agent_socket"], status["drop_cache_method"]) == (port.arguments[1], None)
    result = ok("inflate", "--target", "256M")
    assert result["guest_free_bytes"]["after"] > 0
    assert result["provenance"]["guest_memory_from"] == "agent"
    assert error_of(fastballoon("--json", "--vm", "web", "drop-cache"), 5)["message"]
    fastballoon("vm", "detach", "web")
    # QEMU's agent may.
    attach(*port.arguments, *qga.arguments)
    assert ok("drop-cache")["method"] == "qga"
    assert ok("deflate")["provenance"]["guest_memory_from"] == "agent"


def test_where_the_agent_of_the_guests_package_does_not_run_somebody_else_is_asked(attach, ok, port, qga):
    port.silence()
    ran = attach(*port.arguments)
    assert ran.returncode == 0
    assert "until it does" in ran.stderr
    assert ok("inflate", "--target", "256M")["provenance"]["guest_memory_from"] == "statistics"
    ok("vm", "detach", "web")
    attach(*port.arguments, *qga.arguments)
    assert ok("inflate", "--target", "512M")["provenance"]["guest_memory_from"] == "qga"


def test_no_agent_of_a_paused_guest_is_waited_for(attach, fastballoon, qemu, guest, qga):
    attach(*guest.arguments, *qga.arguments)
    qemu.status = "paused"
    before, asked = len(qga.said), len(guest.asked)
    assert "paused" in error_of(fastballoon("--json", "--vm", "web", "inflate", "--target", "256M"), 3)["message"]
    assert (len(qga.said), len(guest.asked)) == (before, asked)


@pytest.fixture
def killed(attach, qemu):
    """A VM whose guest is asked every second, as the tool was killed that has begun it; it was every 7 s before."""
    qemu.properties[INTERVAL] = 7
    attach()
    qemu.answer, answer = (lambda command, it: {} if command == "balloon" else answer(command, it)), qemu.answer
    tool = subprocess.Popen(
        [sys.executable, "-m", "fastballoon_cli", "--vm", "web", "inflate", "--target", "256M"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    await_true(lambda: qemu.told("balloon"), seconds=60, what="the inflation to begin")
    tool.kill()
    tool.wait()
    qemu.answer = answer
    assert qemu.properties[INTERVAL] == 1
    return qemu


def test_the_next_command_has_the_guest_asked_as_often_as_before_one_that_was_killed(killed, ok):
    ok("deflate")
    assert killed.properties[INTERVAL] == 7
    # And that was that: what somebody sets later stays.
    killed.properties[INTERVAL] = 1
    ok("deflate")
    assert killed.properties[INTERVAL] == 1


def test_detaching_has_it_asked_as_before_too(killed, ok):
    ok("vm", "detach", "web")
    assert killed.properties[INTERVAL] == 7


def test_what_somebody_has_set_meanwhile_stays(killed, ok):
    killed.properties[INTERVAL] = 30
    ok("deflate")
    assert killed.properties[INTERVAL] == 30


def test_a_vm_whose_monitor_is_held_is_detached_all_the_same(killed, fastballoon, tmp_path):
    path = registry.vm_dir("web") / "attached.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"qmp_socket": str(tmp_path / "file")}))
    (tmp_path / "file").touch()
    ran = fastballoon("vm", "detach", "web")
    assert ran.returncode == 0
    assert not registry.exists("web")
