"""Guests that are paused, slow or stopped: named as such, and given their memory back all the same."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from fastballoon_cli.machine import registry
from tests.conftest import await_true
from tests.unit.fake_qemu import FakeQemu
from tests.unit.made import GIB

pytestmark = pytest.mark.usefixtures("runtime")

MIB = 1 << 20


@pytest.fixture
def qemu():
    made = []

    def make(**options):
        made.append(FakeQemu("v", **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "fastballoon_cli", "--json", "--vm", "v", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def run(*arguments):
    process = start(*arguments)
    out, err = process.communicate(timeout=60)
    return process.returncode, json.loads(out), err


@pytest.mark.parametrize("to", [0, 512 * MIB])
def test_a_paused_guest_gets_its_memory_back_when_it_runs(qemu, to):
    it = qemu(balloon=768 * MIB, status="paused")
    code, document, _ = run("deflate", "--to", str(to))
    assert code == 6
    assert "paused" in document["error"]["message"]
    assert "as soon as it runs" in document["error"]["message"]
    it.run()
    assert it.balloon == to
    assert it.told("balloon") == [{"value": GIB - to}]  # and nothing has withdrawn that


def test_the_target_is_qemus_before_the_guest_is_asked_anything(qemu):
    it = qemu(balloon=768 * MIB)
    code, document, _ = run("deflate")
    assert code == 0
    assert document["balloon_bytes"] == {"before": 768 * MIB, "after": 0}
    assert it.agent_asked
    assert it.when("balloon") < it.agent_asked[0]


class Slow(FakeQemu):
    """A guest that takes nothing back for now."""

    def answer(self, command, arguments):
        if command == "balloon":
            self.target = self.memory - arguments["value"]
            return {}
        return super().answer(command, arguments)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("operation", ["deflate", "inflate"])
def test_what_interrupts_freezes_an_inflation_and_never_withdraws_a_deflation(operation, number):
    it = Slow("v", balloon=256 * MIB)
    try:
        process = start("deflate") if operation == "deflate" else start("inflate", "--target", "512M")
        await_true(lambda: it.told("balloon"), seconds=30)
        process.send_signal(number)
        said = process.communicate(timeout=30)
        assert process.returncode == 130, said
        assert it.target == (0 if operation == "deflate" else 256 * MIB)
    finally:
        it.close()


def test_a_deflation_that_takes_too_long_is_not_withdrawn_and_gets_no_hint_to_ask_for_less():
    it = Slow("v", balloon=256 * MIB)
    try:
        code, document, _ = run("--timeout", "0.5", "deflate")
        assert code == 6
        assert "still holds 256 MiB" in document["error"]["message"]
        assert "the target stands" in document["error"]["hint"]
        assert it.target == 0
    finally:
        it.close()


@pytest.mark.parametrize(
    "arguments",
    [["inflate", "--target", "512M"], ["drop-cache"], ["migrate"], ["vm", "touch"], ["vm", "ssh", "true"],
     ["inflate", "--target", "512M", "--dry-run"], ["drop-cache", "--dry-run"], ["migrate", "--dry-run"]],
    ids=" ".join,
)  # fmt: skip
def test_every_command_says_at_once_that_the_guest_is_paused(qemu, arguments):
    it = qemu(status="paused")
    code, document, _ = run(*arguments)
    assert code == 3
    assert "QEMU says 'paused'" in document["error"]["message"]
    assert "cont" in document["error"]["hint"]
    assert it.agent_asked == it.told("balloon") == []


def test_a_paused_guest_is_listed_as_such(qemu):
    qemu(status="paused")
    assert run("vm", "status")[1]["state"] == "paused"
    assert [one["state"] for one in run("vm", "list")[1]["vms"]] == ["paused"]


def test_a_qemu_that_was_stopped_is_named(qemu):
    it = qemu()
    it.answer = lambda *_: time.sleep(60)
    os.kill(it.process.pid, signal.SIGSTOP)
    code, document, _ = run("deflate")
    assert code == 4
    assert "was stopped" in document["error"]["message"]
    assert f"kill -CONT {it.process.pid}" in document["error"]["hint"]


def test_the_age_of_the_guests_statistics_is_told(qemu):
    it = qemu()
    assert run("vm", "status")[1]["guest_stats"] == {"interval_s": 0, "age_s": None, "values": {}}
    stats = {"stat-free-memory": 4096, "stat-swap-in": (1 << 64) - 1, "stat-swap-out": -1}
    it.properties |= {
        "guest-stats": {"last-update": int(time.time()) - 100, "stats": stats},
        "guest-stats-polling-interval": 2,
    }
    told = run("vm", "status")[1]["guest_stats"]
    assert told["interval_s"] == 2
    assert 100 <= told["age_s"] < 160
    assert told["values"] == {"stat-free-memory": 4096}


@pytest.mark.parametrize("target", ["2G", "0", "128M"])
def test_a_dry_run_refuses_what_the_run_refuses(qemu, target):
    qemu(balloon=256 * MIB)
    dry, real = (run("inflate", "--target", target, *more) for more in (["--dry-run"], []))
    assert dry[0] == real[0] == 2
    assert dry[1]["error"]["message"] == real[1]["error"]["message"]
    assert run("deflate", "--to", "512M", "--dry-run")[0] == 2


def test_a_dry_run_says_what_is_sent(qemu):
    it = qemu(balloon=256 * MIB)
    it.capabilities |= {"xbzrle": True, "x-skip-free-pages": True}
    commands = run("inflate", "--target", "512M", "--drop-cache", "--dry-run")[1]["commands"]
    assert "drop_caches" in commands[0]  # nothing else was agreed on
    assert json.loads(commands[1].partition(": ")[2])["arguments"] == {"value": 512 * MIB}
    commands = run("migrate", "--dry-run")[1]["commands"]
    sent = [json.loads(line.partition(": ")[2]) for line in commands[1:]]
    states = [
        {one["capability"]: one["state"] for one in line["arguments"]["capabilities"]}
        for line in sent
        if line["execute"] == "migrate-set-capabilities"
    ]
    assert states == [{"xbzrle": True, "events": True, "return-path": True, "x-skip-free-pages": False}] * 2
    assert it.told("balloon") == it.told("migrate") == []


@pytest.mark.parametrize("operation", [["deflate"], ["drop-cache"], ["inflate", "--target", "1G"], ["migrate"]])
def test_a_dry_run_on_a_vm_that_nothing_would_start_is_an_error(qemu, operation):
    name = operation[0]
    process = subprocess.run(
        [sys.executable, "-m", "fastballoon_cli", "--json", "--vm", "foo", *operation, "--dry-run"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert process.returncode == 3, name
    assert "there is no VM 'foo'" in json.loads(process.stdout)["error"]["message"]


def test_the_consoles_log_is_one_document(qemu):
    it = qemu()
    it.record.spec.console_log.write_text("Linux version\n")
    for words in (["--log"], []):
        code, document, _ = run("vm", "console", *words)
        assert (code, document["log"]) == (0, "Linux version\n")


def test_a_migration_during_a_snapshot_is_refused_in_our_words(qemu):
    it = qemu()
    it.migration = "active"
    code, document, _ = run("migrate")
    assert code == 3
    assert "busy with another migration or a snapshot" in document["error"]["message"]


def test_a_vm_that_runs_cannot_be_started_not_even_dry(qemu):
    qemu()
    code, document, _ = run("vm", "start", "--name", "v", "--dry-run")
    assert code == 3
    assert "runs already" in document["error"]["message"]
    assert registry.load("v")
