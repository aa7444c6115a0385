import io
import json
import mmap
import os
import socket
import subprocess
import sys
import time

import pytest

from guest_agent import churn, facts, fill, peers, spin, states, worker
from guest_agent.__main__ import VERBS, answer, function_of, serve


def ask(line, verbs):
    said = []
    answer(line, verbs.__getitem__, said.append)
    return said


def test_answers_carry_the_requests_id():
    verbs = {"add": lambda progress, a, b: a + b}
    assert ask('{"id": 7, "verb": "add", "arguments": {"a": 1, "b": 2}}', verbs) == [{"id": 7, "result": 3}]


def test_progress_comes_before_the_answer():
    def work(progress):
        progress(1)
        progress(2)
        return "done"

    said = ask('{"id": 1, "verb": "work"}', {"work": work})
    assert said == [{"id": 1, "progress": 1}, {"id": 1, "progress": 2}, {"id": 1, "result": "done"}]


def test_a_bad_request_gets_an_answer_and_stops_nothing():
    requests = io.StringIO(
        'nonsense\n[]\n{"id": 1, "verb": "no-such"}\n{"id": 2, "verb": "vmstat", "arguments": {"x": 1}}\n'
    )
    answers = io.StringIO()
    serve(requests, answers)
    said = [json.loads(line) for line in answers.getvalue().splitlines()]
    assert [message["id"] for message in said] == [None, None, 1, 2]
    assert all("error" in message for message in said)


@pytest.mark.parametrize(
    "error", [KeyError("x"), subprocess.CalledProcessError(32, "mount"), RuntimeError(), IndexError()]
)
def test_whatever_goes_wrong_is_answered(error):
    def fail(_progress):
        raise error

    (said,) = ask('{"id": 3, "verb": "fail"}', {"fail": fail})
    assert said["id"] == 3
    assert type(error).__name__ in said["error"]


def test_a_mount_that_failed_once_can_be_tried_again(tmp_path, monkeypatch):
    monkeypatch.setattr(states, "_MOUNTED", tmp_path / "disk")
    monkeypatch.setattr(states, "_FILE", tmp_path / "disk" / "zeros")
    monkeypatch.setattr(states, "_DISK", tmp_path / "no-disk")
    for _ in range(2):
        with pytest.raises(subprocess.CalledProcessError):
            states.cache(print, size=1 << 20, large=True)


def test_what_the_log_says_no_more_is_not_known():
    def reader(*records):
        left = list(records)

        def read():
            record = left.pop(0) if left else BlockingIOError()
            if isinstance(record, Exception):
                raise record
            return record

        return read

    on, off = (f"6,1,0,-;mem auto-init: stack:off, heap alloc:{it}, heap free:off" for it in ("on", "off"))
    assert facts.said_of_init_on_alloc(reader("6,0,0,-;Linux version", on)) is True
    assert facts.said_of_init_on_alloc(reader(BrokenPipeError(), off)) is False
    assert facts.said_of_init_on_alloc(reader("6,900,0,-;later")) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user takes root")
def test_only_root_of_the_guest_is_served():
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(20)
        for user, served in ((0, True), (65534, False)):
            # Nothing is imported any more where another user may not read.
            connect = f"made = socket.socket(); made.connect({server.getsockname()!r})"
            code = f"import os, socket, sys; os.setuid({user}); {connect}; sys.stdin.read()"
            with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as client:
                connection, _ = server.accept()
                with connection:
                    assert peers.is_root(connection) is served
                client.stdin.close()


def test_there_is_no_way_to_run_a_command():
    known = {
        "hello", "memory", "balloon", "driver", "vmstat", "kernel_warnings", "compact", "drop_caches", "touch",
        "fragment", "cache", "read_disk", "rewrite", "spin", "churn_start", "churn_finish", "churn_kill", "watch_start",
        "watch_finish", "offline_blocks", "fault_huge", "free_by_order", "take_start", "take_told", "take_end",
        "read_kcore", "swap_on",
    }  # fmt: skip
    assert set(VERBS) == known


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_has_its_function(verb):
    assert callable(function_of(verb))


def test_a_disk_that_loses_a_write_is_noticed(tmp_path, monkeypatch):
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(4 << 20))
    monkeypatch.setattr(churn, "scratch_disk", lambda: disk)
    good = churn.rewrite(lambda done: None, size=4 << 20, seconds=0.2)
    assert good["written"] >= 1
    assert good["checked"] > good["written"]
    assert good["mismatches"] == 0

    def lose(_done):
        with disk.open("r+b") as file:
            file.write(b"lost")

    assert churn.rewrite(lose, size=4 << 20, seconds=0.2)["mismatches"] >= 1
    with pytest.raises(ValueError, match="less than two"):
        churn.rewrite(lose, size=4096, seconds=0.1)


def test_memory_reads_back_as_it_was_written():
    done = []
    result = fill.touch(done.append, size=64 << 20, verify=True)
    assert done == [64 << 20]
    assert result["bytes"] == 64 << 20
    assert result["mismatches"] == 0
    assert result["fill_ns"] > 0


@pytest.mark.parametrize("lost", [0, fill.CHUNK - 1, fill.CHUNK, 3 * fill.CHUNK + 12345, 8 * fill.CHUNK - 1])
def test_a_single_byte_that_is_lost_is_found_wherever_it_was(lost):
    size = 8 * fill.CHUNK
    area = mmap.mmap(-1, size)
    noise = fill.fill(area, size, lambda name, number: None)
    assert fill.mismatches(area, size, noise) == 0
    area[lost] ^= 0xFF
    assert fill.mismatches(area, size, noise) == 1


def test_spinning_counts_on_every_cpu():
    begun = time.monotonic()
    result = spin.spin(print, seconds=0.2)
    assert result["cpus"] == os.cpu_count()
    assert result["loops"] > os.cpu_count()
    # Whatever else the machine does meanwhile.
    assert 0 < result["longest_gap_s"] < time.monotonic() - begun


def test_the_longest_gap_is_that_for_which_it_did_not_run(monkeypatch):
    clock = iter([0, 1, 2, 50, 51, 100])
    monkeypatch.setattr(spin.time, "monotonic_ns", lambda: next(clock))
    assert spin._spin(100e-9) == (5, 49)


def test_a_worker_that_fails_or_is_killed_is_an_error():
    def fail(_say):
        raise OSError("no such memory")

    with pytest.raises(MemoryError, match="no such memory"):
        worker.run(fail, print)
    with pytest.raises(MemoryError, match="killed"):
        worker.run(lambda _say: os.kill(os.getpid(), 9), print)


def test_a_lasting_worker_stays_and_keeps_what_its_work_returned(tmp_path):
    dropped = tmp_path / "dropped"

    class Held:
        def __del__(self):
            dropped.touch()

    def work(say):
        say("pid", os.getpid())
        return Held()

    result = worker.run(work, print, lasting=True)
    try:
        os.kill(result["pid"], 0)
        assert not dropped.exists()
    finally:
        os.kill(result["pid"], 9)
        os.waitpid(result["pid"], 0)


def test_a_busy_host_is_no_warning_of_the_guests_kernel():
    assert facts.is_warning(4, "WARNING: CPU: 0 PID: 1 at mm/page_alloc.c:1")
    assert facts.is_warning(3, "Bad page state")
    assert not facts.is_warning(4, "hrtimer: interrupt took 95136466 ns")
    assert not facts.is_warning(4, "clocksource: Long readout interval, skipping watchdog check: cs_nsec: 1132449041")
    skew = "timekeeping watchdog on CPU1: Marking clocksource 'tsc' as unstable because the skew is too large:"
    assert not facts.is_warning(4, f"clocksource: {skew}")
    assert not facts.is_warning(
        4, "clocksource:                       'tsc' skewed 120 ms over watchdog 'hpet' interval"
    )
    assert not facts.is_warning(2, "TSC found unstable after boot, most likely due to broken BIOS. Use 'tsc=unstable'.")
    assert not facts.is_warning(4, "sched: DL replenish lagged too much")
    assert not facts.is_warning(6, "virtio_balloon virtio2: Out of puff! Can't get 1 pages")
    assert not facts.is_warning(12, "a warning of a user's program")
