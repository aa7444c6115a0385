"""The published JSON Schema: as the tool makes it now, and true of what has been measured."""

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from fastballoon_cli.errors import GuestError
from fastballoon_cli.results.documents import DOCUMENTS
from fastballoon_cli.results.many import Done, ManyResult
from fastballoon_cli.results.schema import result_schema
from tests.unit.made import migration, single, three_variants

_DOCS = Path(__file__).parents[2] / "docs"


def test_the_published_schema_is_what_the_tool_makes():
    published = json.loads((_DOCS / "schema" / "result.json").read_text())
    assert published == result_schema(), "see fastballoon_cli/results/schema.py for how to write it anew"
    Draft202012Validator.check_schema(published)


@pytest.mark.parametrize("path", sorted((_DOCS / "results").glob("*.json")), ids=lambda path: path.stem)
def test_the_published_results_keep_to_it(path, keeps_to_schema):
    keeps_to_schema(json.loads(path.read_text()))


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.pop("operation"),
        lambda d: d.update(schema_version=2),
        lambda d: d.update(operation="build"),
        lambda d: d.update(memory_bytes="4G"),
        lambda d: d["cases"][0].pop("variant"),
        lambda d: d["cases"][0]["metrics"]["duration_s"].update(samples=[None]),
        lambda d: d["ratio_intervals_95"]["stock/fast"].update(duration_s=[1.0]),
    ],
)
def test_it_finds_what_is_wrong(change):
    document = json.loads(json.dumps(three_variants().document()))
    assert Draft202012Validator(result_schema()).is_valid(document)
    change(document)
    assert not Draft202012Validator(result_schema()).is_valid(document)


def several():
    """Return what an inflation of three VMs has printed: two were done, and one failed."""
    done = Done(single(vm="a"))
    outcomes = {"a": done, "b": GuestError("no"), "c": done}
    return json.loads(json.dumps(ManyResult(operation="inflate", outcomes=outcomes, duration_s=3.0).document()))


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d["vms"][0].pop("schema_version"),
        lambda d: d["vms"][0].pop("duration_s"),
        lambda d: d["vms"][1].pop("vm"),
        lambda d: d["vms"][1]["error"].update(exit_code="5"),
        lambda d: d["vms"].append({}),
        lambda d: d.pop("failed"),
        lambda d: d.update(host_rss_bytes=3),
    ],
)
def test_it_finds_what_is_wrong_with_one_of_several(change):
    document = several()
    assert Draft202012Validator(result_schema()).is_valid(document)
    change(document)
    assert not Draft202012Validator(result_schema()).is_valid(document)


def test_every_field_of_several_is_in_it():
    document, schema = several(), result_schema()["$defs"]
    assert document.keys() - schema["ManyDocument"]["properties"].keys() == {"schema_version", "operation"}
    assert document["vms"][1]["error"].keys() == schema["ErrorDocument"]["properties"].keys()
    assert document["vms"][1].keys() == schema["VmFailure"]["properties"].keys()


def test_every_field_of_a_result_is_in_it():
    schema = result_schema()
    for document in (three_variants(over_time=True).document(), migration().document(), single().document()):
        known = schema["$defs"][DOCUMENTS[document["operation"]].__name__]["properties"]
        assert document.keys() - known.keys() <= {"schema_version", "operation"}


def test_fields_are_described():
    moved = result_schema()["$defs"]["MoveResult"]["properties"]
    assert moved["method"]["description"] == "`page-bitmap` or `pfn`."
