import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastballoon_cli.errors import UsageError
from fastballoon_cli.results.bench import Failure
from fastballoon_cli.results.curve import Curve
from fastballoon_cli.results.files import load, save
from fastballoon_cli.results.model import Change, Phases
from fastballoon_cli.results.page.files import markdown
from fastballoon_cli.results.page.html import html_page
from fastballoon_cli.results.page.terminal import terminal
from fastballoon_cli.results.report.report import report
from tests.unit.made import GIB, bench, case, single, three_variants


@pytest.fixture
def written(tmp_path):
    def write(content):
        path = tmp_path / "result.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write


def refused(path):
    with pytest.raises(UsageError) as caught:
        load(path)
    assert str(path) in caught.value.message
    assert "\n" not in caught.value.message
    return caught.value.message


def test_what_was_saved_is_loaded_again(tmp_path):
    result = three_variants(over_time=True)
    result.cases[0].failures.append(Failure(2, "the guest did not answer"))
    path = tmp_path / "result.json"
    save(path, result.document())
    loaded = load(path)
    assert loaded.operation == "bench"
    assert loaded.bench.document() == result.document()
    assert loaded.bench == result
    assert list(tmp_path.iterdir()) == [path]


def test_a_metric_that_some_samples_lack_keeps_its_values(tmp_path):
    result = bench(case("fast", [1.0, 2.0, 3.0]))
    del result.cases[0].samples[0]["guest_cpu_s"]
    path = tmp_path / "result.json"
    save(path, result.document())
    loaded = load(path).bench.cases[0]
    assert len(loaded.values("duration_s")) == 3
    assert loaded.values("guest_cpu_s") == result.cases[0].values("guest_cpu_s")


def test_a_failed_save_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "result.json"
    path.write_text("old")
    with pytest.raises(TypeError):
        save(path, {"a": object()})
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("cut", [0, 1, 100, -20, -3])
def test_a_truncated_file_is_said_to_be_one(written, cut):
    whole = json.dumps(three_variants().document())
    assert "not a whole JSON document" in refused(written(whole[:cut]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"name": "fastballoon", "version": 3}, "not a Result of fastballoon"),
        ([1, 2, 3], "not a Result of fastballoon"),
        ("null", "not a Result of fastballoon"),
        ({"schema_version": 2, "operation": "bench"}, "schema version 2, and this fastballoon reads version 1"),
        ({"schema_version": "1", "operation": "bench"}, "schema version"),
        ({"schema_version": True, "operation": "bench"}, "schema version true"),
        ({"schema_version": 1, "operation": "build"}, 'operation "build"'),
        ({"schema_version": 1, "operation": ["bench"]}, "operation"),
        ({"schema_version": 1, "operation": "inflate", "dry_run": True}, "a dry run"),
        ({"schema_version": 1, "operation": "bench"}, "missing required field 'scenario'"),
        ({"schema_version": 1, "operation": "inflate", "vm": "v"}, "missing required field 'method'"),
        ("[" * 100_000, "not a whole JSON document"),
        ('{"schema_version": 1, "operation": "inflate", "duration_s": [1e300]}', "'$.duration_s[0]' cannot have been"),
        ('{"schema_version": 1, "operation": "bench", "repeat": NaN}', "not a whole JSON document"),
    ],
)
def test_what_is_no_result_is_refused_with_one_sentence(written, content, message):
    assert message in refused(written(content))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("cases"), "missing required field 'cases'"),
        (lambda d: d.update(cases={}), "Expected 'array', got 'object' - at '$.cases'"),
        (lambda d: d.update(memory_bytes="4G"), "Expected 'int', got 'str' - at '$.memory_bytes'"),
        (lambda d: d.update(repeat=True), "Expected 'int', got 'bool' - at '$.repeat'"),
        (lambda d: d.update(init_on_alloc=1), "Expected 'bool', got 'int' - at '$.init_on_alloc'"),
        (lambda d: d["cases"].append(3), "at '$.cases[3]'"),
        (lambda d: d["cases"].append(d["cases"][0]), "two cases 'stock'"),
        (lambda d: d["cases"][1].pop("metrics"), "missing required field 'metrics' - at '$.cases[1]'"),
        (
            lambda d: d["cases"][0]["metrics"].update(duration_s=4),
            "Expected 'object', got 'int' - at '$.cases[0].metrics[...]'",
        ),
        (
            lambda d: d["cases"][0]["metrics"]["duration_s"].update(samples=["4"]),
            "at '$.cases[0].metrics[...].samples[0]'",
        ),
        (lambda d: d["cases"][0]["metrics"]["duration_s"].update(samples=[None]), "Expected 'float', got 'null'"),
        (lambda d: d["cases"][0].update(failures=[{}]), "missing required field 'round' - at '$.cases[0].failures[0]'"),
        (lambda d: d["cases"][0].update(guest_memory={}), "missing required field 'of' - at '$.cases[0].guest_memory'"),
        (lambda d: d["cases"][0]["guest_memory"].update(bytes=[1]), "no curve"),
        (lambda d: d["cases"][0]["guest_memory"].update(bytes=["1", 2]), "at '$.cases[0].guest_memory.bytes[0]'"),
        (lambda d: d["cases"][0]["guest_memory"].update(seconds=[2, 1]), "no curve"),
        (lambda d: d["cases"][0]["guest_memory"].update(seconds=[], bytes=[]), "no curve"),
        (lambda d: d["floor"].update(samples=[True]), "at '$.floor.samples[0]'"),
    ],
)
def test_a_bench_with_something_missing_or_of_another_kind_is_refused(written, change, message):
    document = three_variants(over_time=True).document()
    change(document)
    assert message in refused(written(document))


def test_files_that_cannot_be_read(tmp_path):
    assert "No such file" in refused(tmp_path / "absent.json")
    assert "Is a directory" in refused(tmp_path)
    (tmp_path / "picture.json").write_bytes(b"\x89PNG\xff\xfe")
    assert "no text" in refused(tmp_path / "picture.json")


def test_a_single_result_is_loaded_whatever_a_later_version_added(written):
    result = single(guest_memory=Curve("left", [0.0, 2.5], [4 * GIB, 3 * GIB]))
    loaded = load(written({**result.document(), "later": [1]}))
    assert loaded.result == result
    assert loaded.bench is None
    assert loaded.operation == "inflate"


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_parts = st.sampled_from(
    ["scenario", "guest_state", "memory_bytes", "target_bytes", "repeat", "cases", "floor", "interrupted"]
)


_parts_of_a_case = st.sampled_from(["variant", "method", "metrics", "failures", "provenance", "guest_memory"])


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(_parts, _json, max_size=3), st.dictionaries(_parts_of_a_case, _json, max_size=3))
def test_nothing_that_is_json_ends_in_anything_but_a_result_or_one_error(tmp_path_factory, top, inside):
    document = three_variants().document()
    document["cases"][0].update(inside)
    document.update(top)
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(json.dumps(document))
    try:
        load(path)
    except UsageError as e:
        assert str(path) in e.message
    else:
        assert_shown(path)


_numbers = st.integers(-(10**18), 10**18) | st.floats(-1e18, 1e18) | st.just(0)


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(["inflate", "deflate", "drop-cache", "migrate", "other"]),
    st.dictionaries(
        st.sampled_from(["duration_s", "total_s", "send_s", "other_s", "kicks", "transferred_bytes", "reread_bytes"]),
        st.lists(_numbers, max_size=3),
    ),
    st.lists(st.tuples(st.floats(0, 1e9), st.integers(0, 2**50)), max_size=3),
    st.fixed_dictionaries(
        {name: st.integers(-(10**18), 10**18) for name in ("memory_bytes", "target_bytes", "repeat")}
    ),
)
def test_whatever_was_measured_is_shown(tmp_path_factory, scenario, metrics, points, sizes):
    document = three_variants().document() | sizes | {"scenario": scenario}
    for one in document["cases"][:2]:
        one["metrics"] |= {name: {"samples": values} for name, values in metrics.items()}
    if points:
        seconds, sizes = zip(*sorted(points), strict=True)
        document["cases"][0]["guest_memory"] = {"of": "left", "seconds": seconds, "bytes": sizes}
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(json.dumps(document))
    assert_shown(path)


@settings(deadline=None, max_examples=60)
@given(
    st.floats(-1e18, 1e18),
    st.integers(-(10**18), 10**18),
    st.none() | st.floats(-1e18, 1e18),
)
def test_whatever_a_single_run_says_is_shown(tmp_path_factory, seconds, size, phase):
    sizes = dict.fromkeys(("balloon_bytes", "host_rss_bytes", "guest_free_bytes"), Change(0, size))
    result = single(duration_s=seconds, target_bytes=size, phases_s=Phases(send=phase), **sizes)
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(json.dumps(result.document()))
    assert_shown(path)


def assert_shown(path):
    page = report([load(path)])
    assert html_page(page).startswith("<!DOCTYPE html>")
    assert markdown(page, {}, None)
    assert terminal(page.sections)
