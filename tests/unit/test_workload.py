"""The workload that a migration is verified by, here without a migration: a check that cannot fail is no check."""

import json
import os
import re
import signal
from pathlib import Path

import pytest

from guest_agent import churn, jobs, stamps, watch, workload
from tests.conftest import await_true

MIB = 1 << 20


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "FOLDER", tmp_path / "jobs")
    monkeypatch.setattr(workload, "_FOLDER", tmp_path)
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(4 * MIB))
    monkeypatch.setattr(churn, "scratch_disk", lambda: disk)
    yield tmp_path
    workload.churn_kill(print)
    jobs.kill(["watch"])


def start(**options):
    return workload.churn_start(print, **(dict(rate=400 * MIB, seconds=60, size=32 * MIB) | options))


def told(number):
    """Return what each process of the workload has told of itself so far."""
    return [jobs.told(name).get(number, 0) for name in workload._names()]


def of_watch(file, pattern):
    """Return a number from a file below /proc of the process that looks; 0 until it has told its pid."""
    if not (pid := jobs.told("watch").get("pid")):
        return 0
    (number,) = re.findall(pattern, Path(f"/proc/{pid}/{file}").read_text(), re.MULTILINE)
    return int(number)


def test_memory_that_nobody_touches_is_whole(here):
    assert start() == {"bytes": 32 * MIB}
    await_true(lambda: sum(told("pages")) > 5 * MIB / 4096, seconds=60, what="pages that were checked")
    found = workload.churn_finish(print, seconds=20)
    assert found["mismatches"] == 0
    assert found["failed"] == []
    assert found["pages"] > 5 * MIB / 4096
    assert sorted(entry.name for entry in here.iterdir()) == ["disk", "jobs"]
    assert list((here / "jobs").iterdir()) == []


@pytest.mark.parametrize("name", ["churn-cached.data", "churn-mapped.data", "disk"])
def test_a_page_of_a_file_that_is_lost_is_found(here, name):
    start(rate=20 * MIB)
    with (here / name).open("r+b") as file:
        file.seek(4096 * 7)
        file.write(bytes(4096))
    assert workload.churn_finish(print, seconds=20)["mismatches"] == 1


def test_a_page_of_anonymous_memory_that_is_lost_is_found():
    def lose(area):
        area[4096 * 3 : 4096 * 4] = bytes(4096)

    def keep_an_old_one(area):
        area[4096 * 3 : 4096 * 4] = old

    tally = workload.Tally()
    it = workload.Allocator(1, 16 * MIB, tally, rate=1e9)
    it.step()
    old = it._areas[0][0][4096 * 3 : 4096 * 4]
    for spoil in (lose, keep_an_old_one):
        it.step()
        spoil(it._areas[-1][0])
    it.finish()
    assert tally.mismatches == 2
    assert tally.pages >= 3 * MIB / 4096


def test_half_a_page_is_found_too():
    area = memoryview(bytearray(MIB))
    stamps.write(area, owner=3, generation=2, first=100)
    assert stamps.check(area, owner=3, generation=2, first=100) == 0
    for other in (dict(owner=4), dict(generation=1), dict(first=0)):
        assert stamps.check(area, **(dict(owner=3, generation=2, first=100) | other)) == 256
    area[8191] ^= 1
    area[4096 * 255] ^= 1
    assert stamps.check(area, owner=3, generation=2, first=100) == 2


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_process_that_died_or_hangs_has_checked_nothing(here, number):
    start()
    pid = json.loads((here / "jobs" / "churn-mapped.json").read_text())["pid"]
    os.kill(pid, number)
    found = workload.churn_finish(print, seconds=1.5)
    assert "churn-mapped" in found["failed"]
    assert not jobs.alive("churn-mapped")


def test_one_that_ended_by_itself_was_not_asked_and_has_not_checked_to_the_end():
    start(seconds=1)
    await_true(lambda: not any(map(jobs.alive, workload._names())), seconds=60, what="their end")
    assert len(workload.churn_finish(print, seconds=5)["failed"]) == 5
    assert workload.churn_finish(print, seconds=5)["failed"] == ["all of it"]


@pytest.mark.parametrize("gone", [False, True], ids=["after the look", "before"])
def test_one_that_ends_while_it_is_told_to_is_no_matter(monkeypatch, gone):
    jobs.start("watch", lambda job: job.sleep(60), seconds=60)
    await_true(lambda: jobs.told("watch").get("pid"), seconds=20, what="its pid")
    pid = jobs.told("watch")["pid"]

    def end(name):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return True

    if gone:
        end("watch")
    with monkeypatch.context() as patch:
        patch.setattr(jobs, "alive", (lambda name: True) if gone else end)
        jobs._signal("watch", signal.SIGTERM)


def test_a_new_workload_takes_the_place_of_the_old_one():
    start()
    before = {name: jobs.told(name)["pid"] for name in workload._names()}
    start()
    assert not set(before.values()) & {jobs.told(name)["pid"] for name in workload._names()}
    assert workload.churn_finish(print, seconds=20)["failed"] == []


def test_the_least_free_memory_is_seen():
    watch.watch_start(print, seconds=60)
    # It sleeps after each look.
    await_true(lambda: of_watch("status", r"^voluntary_ctxt_switches:\s+(\d+)$") > 20, seconds=60, what="20 looks")
    found = watch.watch_finish(print)
    assert 0 < found["min_free_bytes"] < 1 << 50
    assert found["cpu_ns"] > 0
    assert min(found["free_bytes"]) == found["min_free_bytes"]
    assert len(found["seconds"]) == len(found["free_bytes"]) >= 10
    assert found["seconds"] == sorted(found["seconds"])
    assert watch.watch_finish(print) is None  # nobody looked


def test_a_long_watch_keeps_the_lowest_of_its_looks(monkeypatch):
    monkeypatch.setattr(watch, "_EVERY_SECONDS", 0.0)
    monkeypatch.setattr(watch, "_POINTS", 8)
    watch.watch_start(print, seconds=60)
    # It looks all the time; proc(5): the first number is nanoseconds on a CPU.
    await_true(lambda: of_watch("schedstat", r"^(\d+)") > 0.3e9, seconds=60, what="0.3 s of looking")
    found = watch.watch_finish(print)
    assert 4 <= len(found["free_bytes"]) <= 8
    assert min(found["free_bytes"]) == found["min_free_bytes"]
    assert found["seconds"] == sorted(found["seconds"])
    assert found["seconds"][-1] > 0.1
