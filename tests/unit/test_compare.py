import json

import pytest

from fastballoon_cli.results.compare import Verdict, compare
from fastballoon_cli.results.files import save
from tests.unit.foreign import FOREIGN
from tests.unit.made import GIB, bench, case, provenance, single, three_variants

STEADY = [4.0, 3.9, 4.2, 4.1, 3.8]


def judged(a, b):
    comparison = compare(bench(case("fast", a)), bench(case("fast", b)))
    return comparison.pairs[0].judged


def test_verdicts_follow_the_interval():
    assert judged(STEADY, STEADY).verdict is Verdict.SAME
    assert judged(STEADY, [value * 1.01 for value in STEADY]).verdict is Verdict.SAME
    slower = judged(STEADY, [value * 1.5 for value in STEADY])
    assert slower.verdict is Verdict.SLOWER
    assert slower.ratio.value == pytest.approx(1.5)
    assert slower.ratio.low > 1
    faster = judged(STEADY, [value / 2 for value in STEADY])
    assert faster.verdict is Verdict.FASTER
    assert faster.ratio.high < 1


def test_one_sample_a_side_says_nothing_however_far_apart():
    assert judged([1.0], [5.0]).verdict is Verdict.TOO_FEW
    assert judged([1.0, 1.1], STEADY).verdict is Verdict.TOO_FEW


def test_counts_are_more_or_less_and_exact_ones_need_no_statistics():
    comparison = compare(
        bench(case("fast", STEADY, kicks=1, discards=7, messages=0)),
        bench(case("fast", STEADY, kicks=1, discards=14, messages=3)),
    )
    verdicts = {line.metric.name: line.verdict for line in comparison.pairs[0].lines}
    assert verdicts["kicks"] is Verdict.SAME
    assert verdicts["discards"] is Verdict.MORE
    assert verdicts["messages"] is Verdict.MORE  # from none to some: there is no ratio, but a difference


def test_slower_than_allowed_must_be_both_large_and_no_chance():
    steady, third = bench(case("fast", STEADY)), bench(case("fast", [value * 1.3 for value in STEADY]))
    assert compare(steady, third).regressions(0.10) == ["fast: duration is 30.0% longer"]
    assert compare(steady, third).regressions(0.50) == []
    assert compare(third, steady).regressions(0.10) == []
    noisy = bench(case("fast", [1.0, 9.0, 4.0, 6.0, 4.8]))
    assert compare(steady, noisy).pairs[0].judged.ratio.value > 1.10
    assert compare(steady, noisy).regressions(0.10) == []


def test_a_variant_that_cannot_be_measured_any_more_is_a_regression():
    before, after = three_variants(), three_variants()
    after.cases[0].samples.clear()
    comparison = compare(before, after)
    assert comparison.only_a == comparison.lost == ["stock"]
    assert comparison.regressions(0.10) == ["stock: not one sample could be taken any more"]
    after.cases.pop(0)
    assert compare(before, after).lost == []


def test_memory_that_is_left_is_better_when_it_is_more():
    less = compare(
        bench(case("fast", STEADY, guest_min_free_bytes=2 * GIB)), bench(case("fast", STEADY, guest_min_free_bytes=GIB))
    )
    line = next(line for line in less.pairs[0].lines if line.metric.name == "guest_min_free_bytes")
    assert line.verdict is Verdict.LESS
    assert line.exceeds(0.10)


@pytest.mark.parametrize(
    "setting",
    ["host_cpu", "host_kernel", "host_thp", "accel", "cpus", "memory_bytes", "guest_thp", "init_on_alloc"],
)
def test_every_setting_of_the_machine_and_guest_is_watched(setting):
    other = bench(case("fast", STEADY, provenance_changes={setting: "another"}))
    found = compare(bench(case("fast", STEADY)), other).differences
    assert [(one.setting, one.b) for one in found] == [(setting, "another")]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("guest_state", "idle"),
        ("init_on_alloc", True),
        ("memory_bytes", GIB),
        ("target_bytes", GIB),
        ("scenario", "deflate"),
        ("balloon_bytes", GIB),
        ("bandwidth_bytes_per_s", GIB),
    ],
)
def test_every_setting_of_the_bench_is_watched(setting, value):
    found = compare(three_variants(), three_variants(**{setting: value})).differences
    assert [(one.setting, one.b) for one in found] == [(setting, value)]


def test_builds_may_differ_and_are_told():
    other = case("fast", STEADY, provenance_changes={"kernel_series_sha256": "c" * 64})
    comparison = compare(bench(case("fast", STEADY)), bench(other))
    assert comparison.differences == []
    assert [one.setting for one in comparison.pairs[0].builds] == ["kernel_series_sha256"]
    assert provenance("fast")["time"] not in str(comparison.pairs[0].builds)


@pytest.fixture
def files(tmp_path):
    before, after = three_variants(), three_variants()
    for sample in after.case("fast").samples:
        sample["duration_s"] *= 1.5
    for name, result in (("before", before), ("after", after)):
        save(tmp_path / f"{name}.json", result.document())
    return str(tmp_path / "before.json"), str(tmp_path / "after.json")


def test_comparing_two_files(fastballoon, files):
    plain = fastballoon("compare", *files)
    assert plain.returncode == 0, plain.stderr
    assert "slower" in plain.stdout
    assert "no difference" in plain.stdout
    document = json.loads(fastballoon("--json", "compare", *files).stdout)
    fast = next(one for one in document["cases"] if one["b"] == "fast")
    assert fast["metrics"]["duration_s"]["ratio"] == pytest.approx(1.5)
    assert fast["metrics"]["duration_s"]["verdict"] == "slower"
    assert document["differences"] == []


def test_a_regression_is_exit_8_with_one_document(fastballoon, files):
    result = fastballoon("--json", "compare", *files, "--fail-if-slower", "10%")
    assert result.returncode == 8
    assert json.loads(result.stdout)["regressions"] == ["fast: duration is 50.0% longer"]
    assert "slower than allowed" in result.stderr
    assert fastballoon("compare", *files, "--fail-if-slower", "60%").returncode == 0
    assert fastballoon("compare", *reversed(files), "--fail-if-slower", "10%").returncode == 0


def test_comparing_two_variants_of_one_file(fastballoon, files):
    document = json.loads(fastballoon("--json", "compare", files[0], "--variants", "stock", "fast").stdout)
    (pair,) = document["cases"]
    assert (pair["a"], pair["b"]) == ("stock", "fast")
    assert pair["metrics"]["duration_s"]["ratio"] == pytest.approx(0.014 / 4.0)
    text = fastballoon("compare", files[0], "--variants", "stock", "fast").stdout
    assert "faster, by 286" in text


def test_other_settings_are_refused_unless_forced(fastballoon, files, tmp_path):
    other = tmp_path / "idle.json"
    save(other, three_variants(guest_state="idle").document())
    refused = fastballoon("compare", files[0], str(other))
    assert refused.returncode == 2
    assert "guest_state: touched against idle" in refused.stderr
    assert "--force" in refused.stderr
    forced = fastballoon("compare", files[0], str(other), "--force")
    assert forced.returncode == 0
    assert "guest_state: touched against idle" in forced.stdout
    assert json.loads(fastballoon("--json", "compare", files[0], str(other), "--force").stdout)["forced"] is True


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{before}"], "1 file cannot be compared"),
        (["{before}", "{before}", "{before}"], "3 files cannot be compared"),
        (["{before}", "{after}", "--fail-if-slower", "10"], "not a share such as 10%"),
        (["{before}", "--variants", "stock", "virtio-mem"], "no samples of 'virtio-mem'"),
        (["{before}", "/absent.json"], "cannot read /absent.json"),
        (["{before}", "{single}"], "one sample cannot be compared"),
        (["{before}", "{few}", "--fail-if-slower", "10%"], "too few to judge"),
        (["{before}", "{strange}"], "no variant in common"),
    ],
)
def test_what_cannot_be_compared(fastballoon, files, tmp_path, arguments, message):
    save(tmp_path / "single.json", single().document())
    save(tmp_path / "few.json", bench(case("fast", [0.5])).document())
    save(tmp_path / "strange.json", bench(case("other", STEADY)).document())
    names = {name: str(tmp_path / f"{name}.json") for name in ("before", "after", "single", "few", "strange")}
    result = fastballoon("compare", *(argument.format(**names) for argument in arguments))
    assert result.returncode == 2
    assert message in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("name", FOREIGN)
def test_names_in_a_file_are_only_words(fastballoon, tmp_path, name):
    path = tmp_path / "foreign.json"
    save(path, bench(case(name, STEADY), case("fast", STEADY)).document())
    for arguments in (
        ["compare", str(path), str(path)],
        ["compare", str(path), "--variants", name, "fast"],
        ["report", str(path)],
        ["report", str(path), "--format", "md"],
        ["report", str(path), "--format", "html"],
    ):
        if ("\x00" in name and name in arguments) or "\ud800" in name:
            continue  # no argument of a process can hold that
        result = fastballoon(*arguments)
        assert result.returncode == 0, (arguments, result.stderr)
        assert "\x1b" not in result.stdout
        if name == "[/x]":
            assert name in result.stdout.replace("\\", "")


def test_names_in_an_error_are_only_words(fastballoon, tmp_path):
    path = tmp_path / "foreign.json"
    save(path, bench(case("\x1b[31m[/x]", STEADY)).document())
    result = fastballoon("compare", str(path), "--variants", "fast", "stock")
    assert result.returncode == 2
    assert "\N{REPLACEMENT CHARACTER}[31m[/x]" in result.stderr
    assert "\x1b" not in result.stderr
