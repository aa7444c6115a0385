"""The order of things in ``bench all``, with benches that take no time."""

import json

import click
import pytest
from click.testing import CliRunner

from fastballoon_cli.cli import root
from fastballoon_cli.errors import PreconditionError, VmLostError
from fastballoon_cli.host import procfs
from fastballoon_cli.ops.bench import run as running
from fastballoon_cli.ops.bench import suite
from fastballoon_cli.ops.bench.plan import check
from fastballoon_cli.progress import Silent
from fastballoon_cli.results.files import load, save
from tests.unit.made import bench, case

GIB = 1 << 30


def measured(plan):
    """Return the result that a bench would have."""
    return bench(
        *(case(variant, [0.1] * plan.repeat, provenance_changes=_now(variant)) for variant in plan.variants),
        scenario=plan.scenario,
        guest_state=plan.guest_state,
        init_on_alloc=plan.init_on_alloc,
        memory_bytes=plan.memory_bytes,
        target_bytes=plan.target,
        repeat=plan.repeat,
        balloon_bytes=plan.balloon_bytes,
        bandwidth_bytes_per_s=plan.bandwidth if plan.migrates else None,
    )


def _now(variant):
    here = {"host_cpu": procfs.cpu_model(), "host_kernel": procfs.kernel_release()}
    sums = {product: suite.load_series(product).sha256 for product in ("kernel", "qemu")}
    return here | {f"{product}_series_sha256": sums[product] if variant == "fast" else None for product in sums}


@pytest.fixture
def ran(monkeypatch):
    """Make benches take no time, and note which were run; a test changes ``behave``."""
    noted = []

    def run(plan, progress, keep):
        progress.step("Measuring", 1.0)
        noted.append(plan)
        return noted.behave(plan)

    class Noted(list):
        behave = staticmethod(measured)

    noted = Noted()
    monkeypatch.setattr(running, "run", run)
    return noted


def test_all_are_run_and_then_none(ran, tmp_path):
    steps = suite.steps()
    first = suite.run(steps, tmp_path, Silent())
    assert len(ran) == len(steps) >= 7
    assert [path.stem for path in first.files] == [step.name for step in steps]
    assert first.resumed == []
    ran.clear()
    second = suite.run(steps, tmp_path, Silent())
    assert ran == []
    assert second.files == second.resumed == first.files


def test_an_interrupted_run_goes_on_where_it_was(ran, tmp_path):
    steps = suite.steps(quick=True)

    def third_is_cut(plan):
        if len(ran) == 3:
            result = measured(plan)
            result.interrupted = True
            result.cases[0].samples.pop()
            return result
        return measured(plan)

    ran.behave = third_is_cut
    first = suite.run(steps, tmp_path, Silent())
    assert first.interrupted
    assert len(first.files) == 3
    assert load(first.files[2]).bench.interrupted
    ran.clear()
    ran.behave = measured
    second = suite.run(steps, tmp_path, Silent())
    assert [plan.guest_state for plan in ran] == [step.bench.guest_state for step in steps[2:]]
    assert second.resumed == first.files[:2]
    assert len(second.files) == len(steps)


def test_ctrl_c_before_the_first_sample_leaves_no_file(ran, tmp_path):
    def cut(_):
        raise KeyboardInterrupt

    ran.behave = cut
    outcome = suite.run(suite.steps(), tmp_path, Silent())
    assert outcome.interrupted
    assert list(tmp_path.iterdir()) == []


def test_one_that_fails_does_not_stop_the_others_and_is_tried_again(ran, tmp_path):
    def no_fragments(plan):
        if (plan.scenario, plan.guest_state) == ("inflate", "fragmented"):
            raise VmLostError("QEMU has ended")
        return measured(plan)

    ran.behave = no_fragments
    steps = suite.steps()
    outcome = suite.run(steps, tmp_path, Silent())
    assert list(outcome.failed) == ["inflate-fragmented"]
    assert len(outcome.files) == len(steps) - 1
    ran.clear()
    suite.run(steps, tmp_path, Silent())
    assert [plan.guest_state for plan in ran] == ["fragmented"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda document: document.update(repeat=4),
        lambda document: document.update(bandwidth_bytes_per_s=1 << 20),
        lambda document: document.update(balloon_bytes=1 << 20),
        lambda document: document.update(memory_bytes=8 * GIB),
        lambda document: document.update(guest_state="idle"),
        lambda document: document["cases"].pop(),
        lambda document: document["cases"][0]["metrics"]["duration_s"]["samples"].pop(),
        lambda document: document["cases"][-1]["provenance"].update(kernel_series_sha256="of another series"),
        lambda document: document.update(schema_version=2),
        lambda document: document["cases"][0]["provenance"].update(cpus=3),
        lambda document: document["cases"][0]["provenance"].update(host_cpu="of another host"),
        lambda document: document["cases"][0]["provenance"].update(host_kernel="another one"),
        lambda document: document["cases"][0]["provenance"].pop("host_kernel"),
    ],
)
def test_a_file_that_is_not_this_bench_is_measured_anew(ran, tmp_path, spoil):
    step = suite.steps()[3]
    document = measured(step.bench).document()
    document["cases"][0]["metrics"].pop("guest_cpu_s")  # as many samples as the duration has
    spoil(document)
    save(tmp_path / f"{step.name}.json", document)
    suite.run([step], tmp_path, Silent())
    assert len(ran) == 1
    assert load(tmp_path / f"{step.name}.json").bench.repeat == step.bench.repeat


def test_what_was_measured_without_kvm_is_no_answer_with_it(ran, tmp_path):
    for accel, measured_anew in (("tcg", 1), ("tcg", 0), ("auto", 0), ("kvm", 1)):
        ran.clear()
        suite.run(suite.steps(accel=accel)[3:4], tmp_path, Silent())
        assert len(ran) == measured_anew, accel


def test_quick_is_smaller_and_never_replaces_the_whole():
    whole, quick = suite.steps(), suite.steps(quick=True)
    assert not {step.name for step in whole} & {step.name for step in quick}
    samples = lambda steps: sum(len(step.bench.variants) * step.bench.repeat for step in steps)  # noqa: E731
    assert samples(quick) < samples(whole) / 1.8
    assert all(step.bench.repeat >= 3 and step.bench.memory_bytes < 4 * GIB for step in quick)
    for step in (*whole, *quick):
        check(step.bench)


def call(*arguments):
    return CliRunner().invoke(root, ["--json", "bench", "all", *arguments])


def test_the_command_ends_with_a_report(ran, tmp_path):
    result = call("--quick", "--out-dir", str(tmp_path / "out"))
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["report"] == str(tmp_path / "out" / "quick-report.html")
    assert (tmp_path / "out" / "quick-report.html").read_text().startswith("<!DOCTYPE html>")
    assert (tmp_path / "out" / "quick-report.md").exists()
    assert "[1 of 6] Measuring" in result.stderr


def test_the_command_says_how_it_ended(ran, tmp_path):
    def refuse(_):
        raise PreconditionError("the host has too little memory")

    ran.behave = refuse
    result = call("--out-dir", str(tmp_path))
    assert result.exit_code == 3
    document = json.loads(result.stdout)
    assert document["report"] is None
    assert document["failed"]["inflate-idle"] == "the host has too little memory"

    def cut(plan):
        result = measured(plan)
        result.interrupted = True
        return result

    ran.behave = cut
    result = call("--out-dir", str(tmp_path))
    assert result.exit_code == 130
    assert json.loads(result.stdout)["interrupted"] is True
    assert "goes on where it was" in result.stderr


def test_it_is_a_command_of_bench():
    context = click.Context(root)
    group = root.get_command(context, "bench")
    assert isinstance(group, click.Group)
    command = group.get_command(context, "all")
    assert command is not None
    assert command.name == "all"
