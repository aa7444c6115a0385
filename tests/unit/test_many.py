"""One command on several VMs at once: their order, what fails, and what is said of all of them."""

import json
from dataclasses import replace

import pytest

from fastballoon_cli.errors import UsageError
from fastballoon_cli.machine import registry
from fastballoon_cli.results.files import load
from tests.unit.fake_libvirt import OURS, URI, Domain
from tests.unit.fake_qemu import FakeQemu
from tests.unit.made import GIB, record, single

pytestmark = pytest.mark.usefixtures("runtime")

MIB = 1 << 20
INFLATE = ("inflate", "--target", "256M")


@pytest.fixture
def qemu():
    made = []

    def make(name, kind=FakeQemu, **options):
        made.append(kind(name, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def many(fastballoon, keeps_to_schema):
    """Run a command on several VMs: ``many("--vm", "a", ..., code=3)`` returns its document."""

    def call(*arguments, code=0, **environment):
        ran = fastballoon("--json", *arguments, **environment)
        assert ran.returncode == code, ran.stdout + ran.stderr
        assert "Traceback" not in ran.stderr
        document = json.loads(ran.stdout)
        if "dry_run" not in document and "error" not in document:
            keeps_to_schema(document)
        return document

    return call


def named(*names):
    return [word for name in names for word in ("--vm", name)]


def test_each_has_its_own_document_in_the_order_in_which_they_were_named(qemu, many):
    made = {name: qemu(name, balloon=balloon) for name, balloon in (("a", 64 * MIB), ("b", 0), ("c", 0))}
    document = many(*named("c", "a", "b"), *INFLATE)
    assert (document["schema_version"], document["operation"], document["failed"]) == (1, "inflate", 0)
    assert [one["vm"] for one in document["vms"]] == ["c", "a", "b"]
    assert all(one["balloon_bytes"]["after"] == 256 * MIB for one in document["vms"])
    assert {name: it.balloon for name, it in made.items()} == dict.fromkeys("abc", 256 * MIB)
    # Each as it is for one VM.
    assert document["vms"][0].keys() == json.loads(json.dumps(single().document())).keys()
    # And all together.
    assert document["balloon_bytes"] == {"before": 64 * MIB, "after": 768 * MIB}
    assert document["freed_bytes"] is None
    assert document["duration_s"] >= max(one["duration_s"] for one in document["vms"])
    rss = [one["host_rss_bytes"] for one in document["vms"]]
    assert document["host_rss_bytes"] == {side: sum(one[side] for one in rss) for side in ("before", "after")}


def test_nobody_in_a_guest_is_met_for_figures_alone(qemu, many):
    made = [qemu(name) for name in "ab"]
    document = many("--all", *INFLATE)
    assert [one.agent_asked for one in made] == [[], []]
    assert document["vms"][0]["guest_free_bytes"] == {"before": None, "after": None}
    assert document["vms"][0]["provenance"]["guest_memory_from"] is None


def test_all_are_those_that_run_sorted_by_name(qemu, many):
    for name in ("zoe", "adam", "mia"):
        qemu(name)
    record("dead", started=1)
    registry.save(replace(record("boots"), ready=False))
    assert [one["vm"] for one in many("--all", *INFLATE)["vms"]] == ["adam", "mia", "zoe"]


def test_one_of_all_is_still_a_list(qemu, many):
    qemu("a")
    assert [one["vm"] for one in many("--all", *INFLATE)["vms"]] == ["a"]


def test_who_is_named_twice_is_worked_on_once(qemu, many):
    a, _ = qemu("a"), qemu("b")
    assert [one["vm"] for one in many(*named("a", "b", "a"), *INFLATE)["vms"]] == ["a", "b"]
    assert len(a.told("balloon")) == 1
    assert "vms" not in many(*named("nobody", "nobody"), *INFLATE, code=3)


def test_what_fails_with_one_stops_no_other_and_the_first_tells_the_exit_code(qemu, many):
    made = {name: qemu(name, balloon=512 * MIB) for name in "ab"}
    qemu("paused", balloon=512 * MIB, status="paused")
    document = many(*named("a", "nobody", "paused", "b"), "deflate", code=3)
    assert [one["vm"] for one in document["vms"]] == ["a", "nobody", "paused", "b"]
    assert [one["error"]["exit_code"] if "error" in one else 0 for one in document["vms"]] == [0, 3, 6, 0]
    error = document["vms"][1]["error"]
    assert (error["kind"], error["message"]) == ("PreconditionError", "there is no VM 'nobody'")
    assert "vm list" in error["hint"]
    assert {name: it.balloon for name, it in made.items()} == {"a": 0, "b": 0}
    assert (document["failed"], document["balloon_bytes"]) == (2, {"before": GIB, "after": 0})
    assert many(*named("paused", "nobody"), "deflate", code=6)["failed"] == 2


def test_a_vm_that_is_in_use_fails_and_the_error_names_who_uses_it(qemu, many):
    qemu("a"), qemu("b")
    with registry.lock("a"):
        document = many("--all", *INFLATE, code=3)
    assert "is in use by" in document["vms"][0]["error"]["message"]
    assert document["vms"][1]["balloon_bytes"]["after"] == 256 * MIB


def test_the_default_vm_is_not_started_when_it_is_one_of_several(qemu, many):
    qemu("b")
    document = many(*named("default", "b"), *INFLATE, code=3)
    assert document["vms"][0]["error"]["message"] == "there is no VM 'default'"


def test_all_of_none_is_an_error(many):
    error = many("--all", *INFLATE, code=3)["error"]
    assert error["message"] == "no VM runs"
    assert "vm start" in error["hint"]


def test_caches_are_dropped_by_the_device_and_the_agent_is_met_only_where_it_must(qemu, many):
    class Dropping(FakeQemu):
        def answer(self, command, arguments):
            if command == "x-query-balloon-drop-cache":
                return {"negotiated": True}
            return super().answer(command, arguments)

    dropping, other = qemu("a", Dropping), qemu("b")
    document = many("--all", "--timeout", "1", "drop-cache", code=4)
    # What is made up sends no events and refuses to be asked; all that matters here is whom the tool has turned to.
    assert "x-balloon-drop-cache" in document["vms"][0]["error"]["message"]
    assert document["vms"][1]["error"]["exit_code"] == 5
    assert dropping.agent_asked == []
    assert other.agent_asked


@pytest.mark.parametrize(
    "arguments",
    [
        ("--all", "--vm", "a", *INFLATE),
        (*named("a", "b"), "vm", "start"),
        (*named("a", "b"), "vm", "list"),
        (*named("a", "b"), "migrate"),
        (*named("a", "b"), "bench", "inflate"),
        ("--all", "migrate"),
        ("--connect", URI, "--ssh", "root@10.0.0.7", "--identity", "key", "--all", *INFLATE),
        ("--all", "vm", "stop"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(many, arguments):
    error = many(*arguments, code=2)["error"]
    assert error["hint"]
    if "inflate" not in arguments:
        assert "deflate, drop-cache, inflate" in error["hint"]


@pytest.fixture
def of(many):
    """Inflate, and return the names of those that it was done with, or one that does not run."""

    def call(*arguments, code=0, **environment):
        document = many(*arguments, *INFLATE, code=code, **environment)
        if "vms" in document:
            return [one["vm"] for one in document["vms"]]
        return document["error"]["message"].split("'")[1]

    return call


def test_the_environment_names_several_and_the_command_line_wins(qemu, of, many, fastballoon):
    qemu("a"), qemu("b"), qemu("c")
    assert of(FASTBALLOON_VM="a c") == ["a", "c"]
    assert of(FASTBALLOON_VM="nobody", code=3) == "nobody"
    assert of("--all", FASTBALLOON_VM="nobody") == ["a", "b", "c"]
    assert of(FASTBALLOON_ALL="1") == ["a", "b", "c"]
    assert of("--vm", "nobody", FASTBALLOON_ALL="1", code=3) == "nobody"
    assert "exclude" in many(*INFLATE, FASTBALLOON_ALL="1", FASTBALLOON_VM="a", code=2)["error"]["message"]
    # Of a command for one VM they are refused where it needs one.
    assert fastballoon("vm", "list", FASTBALLOON_VM="a c").returncode == 0
    assert "one VM at a time" in many("migrate", FASTBALLOON_VM="a c", code=2)["error"]["message"]


@pytest.mark.parametrize(
    ("text", "names"),
    [('vm_name = "nobody"', "nobody"), ('vm_name = ["b", "a"]', ["b", "a"]), ("all = true", ["a", "b"])],
)
def test_the_configuration_names_them_too(qemu, of, tmp_path, text, names):
    qemu("a"), qemu("b")
    path = tmp_path / "config.toml"
    path.write_text(text)
    assert of(FASTBALLOON_CONFIG=str(path), code=3 if names == "nobody" else 0) == names


def test_a_dry_run_prints_the_plans_of_all_and_does_nothing(qemu, many, fastballoon):
    made = [qemu("a"), qemu("b")]
    words = (*named("b", "nobody", "a"), *INFLATE, "--dry-run")
    document = many(*words, code=3)
    assert (document["dry_run"], document["action"]) == (True, f"inflate to {256 * MIB} bytes")
    assert [one["vm"] for one in document["vms"]] == ["b", "nobody", "a"]
    assert all('"balloon"' in one["commands"][-1] for one in document["vms"][::2])
    assert "no VM 'nobody'" in document["vms"][1]["error"]["message"]
    shown = fastballoon(*words)
    assert [line for line in shown.stdout.splitlines() if line.startswith("#")] == ["# b", "# a"]
    assert "error: nobody: there is no VM" in shown.stderr
    assert all(not one.told("balloon") for one in made)


def test_people_get_a_row_for_each_and_hints_below(qemu, fastballoon):
    qemu("a"), qemu("b", status="paused"), qemu("c", status="paused")
    ran = fastballoon("--all", *INFLATE)
    assert ran.returncode == 3
    rows = {line.split()[0]: line for line in ran.stdout.splitlines() if line.split()}
    assert "0 B → 256 MiB" in rows["a"]
    assert "failed" in rows["b"]
    assert "the guest does not run: QEMU says 'paused'" in rows["b"]
    assert "2 failed" in rows["all"]
    # What is alike is said once.
    assert "hint: b, c: let it go on with QMP's 'cont'" in ran.stderr
    assert "error:" not in ran.stderr
    # There is more to say of those that were done, and it is said whose it is.
    assert "warning: a: the guest gave 256 MiB" in ran.stderr
    assert "Inflating the balloons of 3 VMs ..." in ran.stderr


def test_a_result_of_several_is_no_result_file(qemu, many, tmp_path, fastballoon):
    qemu("a"), qemu("b")
    path = tmp_path / "several.json"
    document = many("--all", *INFLATE)
    path.write_text(json.dumps(document))
    with pytest.raises(UsageError, match="one inflate of several VMs") as refused:
        load(path)
    assert "jq '.vms[0]'" in refused.value.hint
    for command in (("report", str(path)), ("compare", str(path), str(path))):
        assert fastballoon(*command).returncode == 2
    path.write_text(json.dumps(document["vms"][0]))
    assert load(path).result.vm == "a"


@pytest.fixture
def domains(daemon):
    """Two domains that can be worked on, and one without a balloon."""
    made = [Domain(daemon, "web"), Domain(daemon, "db", more=OURS), Domain(daemon, "bare", balloon="none")]
    daemon.domains += made
    return made


def test_all_domains_of_a_libvirt(domains, many, binding):
    document = many("--connect", URI, "--all", *INFLATE, code=4)
    # One names a feature of ours, and what is made up here has no such QEMU.
    assert [(one["vm"], "error" in one) for one in document["vms"]] == [("db", True), ("web", False)]
    assert document["vms"][1]["provenance"]["guest_memory_from"] == "statistics"
    assert binding.said("setMemoryFlags")[-1] == ["setMemoryFlags", 768 << 10, 1]


def test_no_domain_of_a_libvirt(daemon, many):
    daemon.domains.append(Domain(daemon, "bare", balloon="none"))
    error = many("--connect", URI, "--all", *INFLATE, code=3)["error"]
    assert error["message"] == f"no domain with a balloon runs at {URI}"
    assert "virsh" in error["hint"]


def test_a_libvirt_that_cannot_be_reached_is_one_error(binding, many):
    assert (
        "cannot connect to libvirt" in many("--connect", "qemu:///none", "--all", *INFLATE, code=3)["error"]["message"]
    )
