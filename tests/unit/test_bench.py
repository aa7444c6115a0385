import io
import json
import os
import random
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from fastballoon_cli.cli import root
from fastballoon_cli.errors import UsageError
from fastballoon_cli.ops.bench import run as running
from fastballoon_cli.ops.bench.plan import Bench, check
from fastballoon_cli.progress import Silent
from fastballoon_cli.results.bench import BenchResult, Case, Failure, move_sample
from fastballoon_cli.results.files import ResultFile
from fastballoon_cli.results.model import Change, Counts, Phases
from fastballoon_cli.results.page.terminal import terminal
from fastballoon_cli.results.report.report import report
from fastballoon_cli.results.stats import ratio_interval
from tests.unit.made import migration, single

GIB = 1 << 30


def case(variant, durations, **more):
    return Case(variant, "pfn", [{"duration_s": value, **more} for value in durations])


def result(*cases, **changes):
    values = dict(
        scenario="inflate",
        guest_state="touched",
        init_on_alloc=False,
        memory_bytes=4 * GIB,
        target_bytes=3 * GIB,
        repeat=3,
        cases=list(cases),
        floor=[0.008, 0.009, 0.010],
    )
    return BenchResult(**(values | changes))


def shown(bench):
    out = io.StringIO()
    console = Console(file=out, width=220)
    for part in terminal(report([ResultFile(Path("bench.json"), "bench", bench)]).sections):
        console.print(part)
    return out.getvalue()


def test_the_document_keeps_all_samples_and_compares_with_fast():
    document = result(case("stock", [4.0, 3.0, 5.0]), case("fast", [0.02, 0.01, 0.03])).document()
    assert json.loads(json.dumps(document)) == document
    stock, fast = document["cases"]
    assert stock["metrics"]["duration_s"] == {"samples": [4.0, 3.0, 5.0], "median": 4.0}
    assert fast["metrics"]["duration_s"]["median"] == 0.02
    assert document["ratios"] == {"stock/fast": {"duration_s": 200.0}}
    low, high = document["ratio_intervals_95"]["stock/fast"]["duration_s"]
    assert 100 <= low <= 200 <= high <= 500
    assert document["floor"] == {"discard_s": 0.009, "samples": [0.008, 0.009, 0.010]}


def test_a_variant_without_samples_stays_in_the_document_with_its_reason():
    lost = Case("virtio-mem", failures=[Failure(1, "stopped at 2 GiB")])
    bench = result(case("fast", [0.02]), lost)
    document = bench.document()
    assert document["cases"][1]["failures"] == [{"round": 1, "message": "stopped at 2 GiB"}]
    assert document["ratios"] == {}
    assert "virtio-mem, round 1 failed: stopped at 2 GiB" in shown(bench)


def test_the_phases_of_a_move_become_metrics():
    sample = move_sample(
        single(
            method="page-bitmap",
            duration_s=0.01,
            guest_cpu_s=0.02,
            phases_s=Phases(allocate=0.001, send=0.002, translate=0.0, discard=0.006, other=0.001),
            counts=Counts(kicks=1, messages=2, discards=7),
            host_rss_bytes=Change(2 * GIB, GIB),
            guest_free_bytes=Change(None, None),
        )
    )
    assert sample == {
        "duration_s": 0.01,
        "guest_cpu_s": 0.02,
        "allocate_s": 0.001,
        "send_s": 0.002,
        "translate_s": 0.0,
        "discard_s": 0.006,
        "other_s": 0.001,
        "kicks": 1,
        "messages": 2,
        "discards": 7,
        "host_rss_bytes_before": 2 * GIB,
        "host_rss_bytes_after": GIB,
    }


def test_the_table_says_what_a_reader_asks():
    phases = {"allocate_s": 0.6, "send_s": 0.2, "translate_s": 0.1, "discard_s": 1.0, "other_s": 0.1, "kicks": 3072.0}
    text = shown(result(case("stock", [4.0]), case("fast-pfn", [2.0], **phases), case("fast", [0.02])))
    assert "Inflating takes" in text
    assert "fast, touched guest, 3 GiB of 4 GiB; stock: 4.00 s, 200 (200 .. 200) times as long" in text
    assert "1024" in text  # kicks per GiB
    assert "1000.00 ms (50.0%)" in text  # of the phases
    assert "An unmodified pair counts no phases" in text
    assert "the bare madvise takes 9.0 ms" in text


def test_what_dropping_the_cache_costs_and_leaves_is_shown():
    after = dict(guest_ram_rss_bytes_after=GIB, guest_used_bytes_after=GIB // 4, reread_s=0.5, reread_bytes=256 << 20)
    bench = result(
        case("stock-drop", [5.0], drop_s=1.0, inflate_s=4.0, refaulted_pages=65536, oom_kills=2, **after),
        case("fast", [0.2], inflate_s=0.2, refaulted_pages=100, oom_kills=0, **after),
        case("fast-drop", [0.5], drop_s=0.4, inflate_s=0.1, refaulted_pages=65536, oom_kills=0, **after),
        scenario="drop-cache",
        guest_state="cached",
    )
    text = shown(bench)
    assert "Dropping the cache first, then inflating" in text
    assert re.search(r"stock-drop / fast-drop +10 \(10 \.\. 10\)", text)
    assert re.search(r"fast-drop / fast +2\.5 \(2\.5 \.\. 2\.5\)", text)
    assert "100 of 65536 pages" in text
    assert "1 GiB, 1.00 of it" in text  # of the 1 GiB that is left to the guest
    assert "processes killed for want of memory" in text
    assert bench.document()["ratios"]["stock-drop/fast-drop"]["duration_s"] == 10.0


def test_an_interval_covers_the_true_ratio_and_is_the_same_each_time():
    chance = random.Random(7)
    hits = 0
    for _ in range(100):
        one = [chance.gauss(3.0, 0.3) for _ in range(9)]
        other = [chance.gauss(1.0, 0.1) for _ in range(9)]
        low, high = ratio_interval(one, other)
        hits += low <= 3.0 <= high
        assert (low, high) == ratio_interval(one, other)
    assert hits >= 85
    with pytest.raises(ValueError):
        ratio_interval([1.0], [0.0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(repeat=0), "number of samples"),
        (dict(target_bytes=4 * GIB), "not between"),
        (dict(target_bytes=0), "not between"),
        (dict(variants=("virtio-mem",), target_bytes=GIB + (1 << 20)), "virtio-mem cannot unplug"),
    ],
)
def test_refuses_values_that_cannot_be_right(changes, message):
    with pytest.raises(UsageError, match=message):
        running.run(Bench(scenario="inflate", **changes), Silent())


def test_targets_follow_the_memory():
    assert Bench(scenario="inflate", memory_bytes=8 * GIB).target == 6 * GIB
    assert Bench(scenario="inflate", guest_state="fragmented").target == 5 * GIB // 2
    assert Bench(scenario="inflate", target_bytes=GIB).target == GIB


def test_variants_follow_the_scenario():
    assert Bench(scenario="drop-cache").chosen == ("stock", "stock-drop", "fast", "fast-drop", "fast-reclaim")
    assert Bench(scenario="inflate", variants=("fast", "stock", "fast")).chosen == ("fast", "stock")


def test_samples_that_do_not_agree_are_warned_of():
    steady, noisy = case("stock", [4.0, 4.5, 5.0]), case("fast", [0.02, 0.02, 0.05])
    text = " ".join(shown(result(steady, noisy)).split())
    assert "Noisy, samples are apart by more than half of their median: inflate" in text
    assert "fast (20.0 ms .. 50.0 ms). Measure again" in text
    assert "stock (4.00 s" not in text
    assert "Noisy" not in shown(result(steady, case("fast", [0.02, 0.05])))  # two of them say nothing


@pytest.mark.parametrize(("load", "warns"), [(0.2, False), (64.0, True)])
def test_a_busy_host_is_warned_of_before_anything_is_measured(monkeypatch, tmp_path, load, warns):
    monkeypatch.setattr(os, "getloadavg", lambda: (load, load, load))
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(running, "run", lambda *_: result(case("fast", [0.02] * 3)))
    ran = CliRunner().invoke(root, ["bench", "inflate", "--out", str(tmp_path / "out.json")], catch_exceptions=False)
    assert ran.exit_code == 0
    assert ("the host is busy (load 64.0 on 2 CPUs)" in ran.stderr) is warns


def test_migrations_have_tables_of_their_own():
    bench = migration()
    bench.cases[1].samples[0].update(answer_s=0.01, told_free_bytes=GIB, skipped_free_bytes=2 * GIB)
    text = shown(bench)
    assert "touched guest of 4 GiB, at most 256 MiB/s" in text
    assert "time against fast (95 %)" in text
    assert "8 (8 .. 8)" in text  # bytes
    assert "What it did to the guest, and what was left out" in text
    assert "told to be free" in text
    ratios = bench.document()["ratios"]["stock/fast"]
    assert ratios["transferred_bytes"] == 8.0
    assert ratios["total_s"] == pytest.approx(6, rel=0.1)
    assert bench.document()["bandwidth_bytes_per_s"] == 256 << 20


def test_a_migration_has_no_target_and_a_balloon_that_leaves_something():
    plan = Bench(scenario="migrate", balloon_bytes=2 * GIB)
    assert plan.target == 0
    assert plan.chosen == ("stock", "stock-hint", "fast")
    check(plan)
    with pytest.raises(UsageError, match="leaves nothing"):
        check(Bench(scenario="migrate", balloon_bytes=4 * GIB))


@pytest.fixture
def sampled(monkeypatch):
    """Benches whose samples are made up: ``sampled`` decides what each takes."""
    behave = []
    monkeypatch.setattr(running.build, "qemu", lambda *_: None)
    monkeypatch.setattr(running.build, "kernel", lambda *_: None)
    monkeypatch.setattr(running.build, "image", lambda *_: None)
    monkeypatch.setattr(running, "_floor", lambda bench: 0.01)

    def sample(bench, variant, case, progress):
        if behave:
            behave.pop(0)()
        case.samples.append({"duration_s": 1.0})

    monkeypatch.setattr(running, "_sample", sample)
    return behave


def test_what_was_measured_is_kept_after_each_round_as_of_a_run_that_is_not_over(sampled):
    kept = []
    plan = Bench(scenario="inflate", variants=("fast", "stock"), repeat=3)
    whole = running.run(plan, Silent(), lambda so_far: kept.append(so_far.document()))
    assert [len(one["cases"][1]["metrics"]["duration_s"]["samples"]) for one in kept] == [1, 2]
    assert all(one["interrupted"] for one in kept)
    assert not whole.interrupted


def test_a_defect_in_the_second_round_loses_nothing_of_the_first(sampled):
    def fail():
        raise RuntimeError("a defect")

    sampled += [lambda: None, fail]
    kept = []
    with pytest.raises(RuntimeError):
        running.run(Bench(scenario="inflate", variants=("fast",), repeat=3), Silent(), kept.append)
    assert len(kept) == 1


def test_a_bench_that_was_killed_leaves_no_empty_file(tmp_path):
    """In the first round, that is."""
    code = """
import os, signal
from fastballoon_cli.__main__ import main
from fastballoon_cli.ops.bench import run
run.run = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
main(["bench", "inflate", "--out", "out.json"])
"""
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, timeout=30, check=False)
    assert ran.returncode == -signal.SIGKILL
    assert list(tmp_path.iterdir()) == []
