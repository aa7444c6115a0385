import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastballoon_cli.errors import UsageError
from fastballoon_cli.results.bench import Failure
from fastballoon_cli.results.files import load, save
from tests.unit.made import GIB, bench, case, three_variants


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
    assert loaded.bench.document() == loaded.document == result.document()
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
        ({"schema_version": 1, "operation": "bench"}, "lacks 'scenario'"),
        ({"schema_version": 1, "operation": "inflate", "vm": "v"}, "lacks 'method'"),
        ("[" * 100_000, "not a whole JSON document"),
        ('{"schema_version": 1, "operation": "bench", "repeat": NaN}', "NaN is no JSON number"),
    ],
)
def test_what_is_no_result_is_refused_with_one_sentence(written, content, message):
    assert message in refused(written(content))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("cases"), "lacks 'cases'"),
        (lambda d: d.update(cases={}), "'cases' is not a list"),
        (lambda d: d.update(memory_bytes="4G"), "'memory_bytes' is not a whole number"),
        (lambda d: d.update(repeat=True), "'repeat' is not a whole number"),
        (lambda d: d.update(init_on_alloc=1), "'init_on_alloc' is not true or false"),
        (lambda d: d["cases"].append(3), "case 4 is not an object"),
        (lambda d: d["cases"].append(d["cases"][0]), "two cases 'stock'"),
        (lambda d: d["cases"][1].pop("metrics"), "case 2 is not a whole Result: it lacks 'metrics'"),
        (lambda d: d["cases"][0]["metrics"].update(duration_s=4), "metric 'duration_s' has no samples"),
        (lambda d: d["cases"][0]["metrics"]["duration_s"].update(samples=["4"]), "its samples are not numbers"),
        (lambda d: d["cases"][0]["metrics"]["duration_s"].update(samples=[None]), "its samples are not numbers"),
        (lambda d: d["cases"][0].update(failures=[{}]), "a failure has a round and a message"),
        (lambda d: d["cases"][0].update(guest_memory={}), "'guest_memory' is no curve"),
        (lambda d: d["cases"][0]["guest_memory"].update(bytes=[1]), "'guest_memory' is no curve"),
        (lambda d: d["cases"][0]["guest_memory"].update(bytes=["1", 2]), "'guest_memory' is no curve"),
        (lambda d: d["cases"][0]["guest_memory"].update(seconds=[2, 1]), "'guest_memory' is no curve"),
        (lambda d: d["cases"][0]["guest_memory"].update(seconds=[], bytes=[]), "'guest_memory' is no curve"),
        (lambda d: d["floor"].update(samples=[True]), "floor is not a Result"),
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


def test_a_single_result_is_loaded_as_it_is(written):
    document = {
        "schema_version": 1, "operation": "inflate", "vm": "v", "method": "pfn", "duration_s": 2,
        "balloon_bytes": {"before": 0, "after": GIB}, "provenance": {}, "later": [1],
    }  # fmt: skip
    loaded = load(written(document))
    assert loaded.document == document
    assert loaded.bench is None


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
