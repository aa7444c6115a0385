"""Domains of a libvirt that is made up: arguments, errors, and what is asked of whom. The tool is real."""

import json
import sys
import time

import pytest

from fastballoon_cli.guest.keys import make_key_pair
from tests.unit.fake_libvirt import FAR, OURS, URI, Domain, LibvirtError, at, ok, refused
from tests.unit.fake_qemu import FakeQemu
from tests.unit.made import GIB

pytestmark = pytest.mark.usefixtures("runtime")

MIB = 1 << 20


def test_without_the_binding_one_sentence_says_what_to_install(fastballoon, monkeypatch):
    monkeypatch.setitem(sys.modules, "libvirt", None)
    error = refused(fastballoon, 3, "inflate", "--target", "256M")
    assert error["message"] == "libvirt's Python binding is not installed"
    assert "-m pip install libvirt-python" in error["hint"]


def test_a_domain_is_listed_and_shown(fastballoon, web):
    (one,) = ok(fastballoon, "vm", "list")["vms"]
    assert (one["name"], one["state"], one["accel"], one["cpus"], one["memory_bytes"]) == (
        "web",
        "running",
        "kvm",
        2,
        GIB,
    )
    assert (one["pid"], one["uri"], one["host_rss_bytes"]) == (None, URI, 700 * MIB)
    assert (one["method"], one["drop_cache_method"], one["skip_free_method"]) == ("pfn", None, None)
    assert "libvirt" in fastballoon("--connect", URI, "vm", "list").stdout
    shown = fastballoon("--connect", URI, "vm", "status", "web")
    assert (shown.returncode, "qemu:///system" in shown.stdout) == (0, True)


def test_libvirts_own_words_move_the_balloon_and_its_monitor_is_left_alone(fastballoon, binding, web):
    result = ok(fastballoon, "inflate", "--target", "256M", "--floor", "0")
    assert (result["method"], result["target_bytes"]) == ("pfn", 256 * MIB)
    assert result["balloon_bytes"] == {"before": 0, "after": 256 * MIB}
    assert result["host_rss_bytes"] == {"before": 700 * MIB, "after": 700 * MIB}
    assert result["guest_free_bytes"]["before"] == 300 * MIB
    assert result["provenance"]["libvirt_version"] == "9.0.2"
    assert result["provenance"]["guest_memory_from"] == "statistics"
    assert binding.said("setMemoryFlags") == [["setMemoryFlags", 768 << 10, 1]]
    # Asked every second meanwhile, and then as often as before.
    assert binding.said("setMemoryStatsPeriod") == [["setMemoryStatsPeriod", n, 1] for n in (1, 0)]
    assert binding.said("passed") == []


def test_what_the_host_gained_of_huge_pages_is_not_guessed(fastballoon, web):
    web.xml["backing"] = "<memoryBacking><hugepages/></memoryBacking>"
    result = ok(fastballoon, "inflate", "--target", "256M", "--floor", "0")
    assert result["host_rss_bytes"] == {"before": None, "after": None}
    assert "libvirt does not count" in result["remarks"][0]
    assert "unknown" in fastballoon("--connect", URI, "vm", "list").stdout


def test_dimms_count_and_what_virtio_mem_lends_does_not(fastballoon, web, binding):
    size = "<target><size unit='MiB'>{}</size></target>"
    web.memory, web.actual = 4 * GIB, 2 * GIB
    web.xml["memory"] = (
        f"<memory model='dimm'>{size.format(1024)}</memory><memory model='virtio-mem'>{size.format(2048)}</memory>"
    )
    assert ok(fastballoon, "vm", "status")["balloon_bytes"] == 0
    ok(fastballoon, "inflate", "--target", "512M", "--floor", "0")
    assert binding.said("setMemoryFlags") == [["setMemoryFlags", 1536 << 10, 1]]


def test_the_monitor_is_asked_where_the_xml_names_a_feature_and_where_its_argument_does(fastballoon, web, binding):
    for more in (
        OURS,
        "<qemu:commandline><qemu:arg value='-global'/><qemu:arg value='virtio-balloon-pci.x-page-bitmap=on'/>"
        "</qemu:commandline>",
    ):
        web.xml["more"] = more
        refused(fastballoon, 4, "vm", "status")  # this QEMU answers nothing
        assert binding.said("passed")


def test_that_the_domain_is_tainted_is_said_once(fastballoon, web):
    assert "custom-monitor" not in at(fastballoon, "deflate").stderr
    web.xml["more"] = OURS
    assert "is tainted: custom-monitor" in at(fastballoon, "deflate").stderr
    web.tainted = True
    assert "custom-monitor" not in at(fastballoon, "deflate").stderr


@pytest.mark.parametrize(
    ("code", "message", "exit_code", "said"),
    [
        ("OPERATION_INVALID", "Requested operation is not valid: domain is not running", 128, "was lost"),
        ("OPERATION_TIMEOUT", "cannot acquire state change lock (held by monitor=remoteDispatch)", 4, "is busy"),
        ("OPERATION_DENIED", "read only access prevents memoryStats", 3, "does not allow"),
        ("NO_DOMAIN", "no domain with matching uuid", 128, "was lost"),
    ],
)
def test_what_libvirt_says_is_told_with_our_exit_codes(fastballoon, binding, web, code, message, exit_code, said):
    web.error = LibvirtError(message, getattr(binding, f"VIR_ERR_{code}"))
    assert said in refused(fastballoon, exit_code, "inflate", "--target", "256M")["message"]
    (one,) = ok(fastballoon, "vm", "list")["vms"] or [{"state": "gone"}]
    assert one["state"] == {128: "gone", 4: "does not answer", 3: "unknown"}[exit_code]


def test_a_daemon_that_does_not_answer_is_no_hang(fastballoon, web, monkeypatch):
    from fastballoon_cli.libvirt import connection  # noqa: PLC0415

    monkeypatch.setattr(connection, "_CALL_SECONDS", 0.3)
    monkeypatch.setattr(connection.Connection.call, "__kwdefaults__", {"timeout": 0.3})
    web.memoryStats = lambda: time.sleep(60)
    begun = time.monotonic()
    assert "did not answer within 0.3 s" in refused(fastballoon, 4, "vm", "status")["message"]
    assert time.monotonic() - begun < 10


def test_what_is_there_to_be_pasted_is_one_word_where_the_uri_has_what_a_shell_obeys(fastballoon, binding):
    uri = "qemu+ssh://far/system?keyfile=/key&no_verify=1"
    quoted = f"'{uri}'"
    assert f"virsh -c {quoted} list" in refused(fastballoon, 3, "deflate", uri=uri)["hint"]
    there = binding.daemon(uri)
    assert f"--connect {quoted} vm list" in refused(fastballoon, 3, "deflate", uri=uri)["hint"]
    there.domains.append(Domain(there, "web"))
    assert f"virsh -c {quoted}" in refused(fastballoon, 2, "vm", "stop", uri=uri)["hint"]
    there.domains[0].state_ = 3
    assert f"virsh -c {quoted} resume web" in refused(fastballoon, 3, "inflate", "--target", "256M", uri=uri)["hint"]
    there.domains[0].active = False
    assert f"virsh -c {quoted} start web" in refused(fastballoon, 3, "deflate", uri=uri)["hint"]


def test_what_is_no_domain_that_runs_is_said(fastballoon, binding, daemon, web):
    assert "there is no domain 'nobody'" in refused(fastballoon, 3, "inflate", "--target", "1M", vm="nobody")["message"]
    web.active = False
    assert "start web" in refused(fastballoon, 3, "inflate", "--target", "1M")["hint"]
    assert ok(fastballoon, "vm", "list")["vms"] == []
    assert (
        "cannot connect to libvirt at qemu:///none"
        in refused(fastballoon, 3, "vm", "list", uri="qemu:///none")["message"]
    )
    binding.daemon("lxc:///", kind="LXC")
    assert "domains of LXC" in refused(fastballoon, 3, "vm", "list", uri="lxc:///")["message"]


def test_one_without_a_balloon_is_said(fastballoon, web):
    web.xml["balloon"] = "none"
    assert "<memballoon model='virtio'/>" in refused(fastballoon, 3, "inflate", "--target", "256M")["hint"]
    (one,) = ok(fastballoon, "vm", "list")["vms"]
    assert (one["state"], one["reason"]) == ("unknown", "domain 'web' has no virtio balloon")


@pytest.mark.parametrize(
    "command",
    [
        ("vm", "start"),
        ("vm", "stop"),
        ("vm", "stop", "--all"),
        ("vm", "attach", "x", "--qmp", "y"),
        ("vm", "detach", "x"),
        ("vm", "console", "--log"),
        ("vm", "touch"),
        ("bench", "inflate"),
        ("bench", "all"),
    ],
    ids=" ".join,
)
def test_what_is_for_vms_of_our_own_says_so(fastballoon, web, command):
    assert "leave --connect out" in refused(fastballoon, 2, *command)["hint"]


def test_nobody_has_said_how_to_log_in_to_its_guest(fastballoon, web):
    assert "nobody has said how to log in" in refused(fastballoon, 3, "vm", "ssh")["message"]


def test_libvirts_variable_counts_where_no_vm_of_that_name_is_known_here(fastballoon, binding, web):
    binding.daemons["default:///"] = binding.daemons[URI]
    own = FakeQemu("mine")
    try:
        listed = json.loads(fastballoon("--json", "vm", "list", LIBVIRT_DEFAULT_URI=URI).stdout)["vms"]
        assert [(one["name"], one["pid"]) for one in listed] == [("mine", own.process.pid), ("web", None)]
        shown = json.loads(fastballoon("--json", "--vm", "web", "vm", "status", LIBVIRT_DEFAULT_URI=URI).stdout)
        assert shown["uri"] == URI
        # One of our own goes before, and nothing of this needs the variable.
        web._name = "mine"
        shown = json.loads(fastballoon("--json", "--vm", "mine", "vm", "status", LIBVIRT_DEFAULT_URI=URI).stdout)
        assert shown["pid"] == own.process.pid
        assert [one["name"] for one in json.loads(fastballoon("--json", "vm", "list").stdout)["vms"]] == ["mine"]
    finally:
        own.close()


def test_vms_of_our_own_work_where_the_variable_is_set_and_the_binding_is_missing(fastballoon, monkeypatch):
    monkeypatch.setitem(sys.modules, "libvirt", None)
    own = FakeQemu("mine")
    try:
        listed = fastballoon("--json", "vm", "list", LIBVIRT_DEFAULT_URI=URI)
        assert [one["name"] for one in json.loads(listed.stdout)["vms"]] == ["mine"]
        assert "LIBVIRT_DEFAULT_URI" in listed.stderr
        assert fastballoon("--vm", "mine", "deflate", LIBVIRT_DEFAULT_URI=URI).returncode == 0
    finally:
        own.close()


def test_a_daemon_that_tells_of_no_domains_hides_no_vm_of_our_own(fastballoon, binding, web):
    def refuse(flags):
        raise LibvirtError("internal error: client socket is closed")

    binding.daemons["default:///"] = web.daemon
    web.daemon.listAllDomains = refuse
    own = FakeQemu("mine")
    try:
        listed = fastballoon("--json", "vm", "list", LIBVIRT_DEFAULT_URI=URI)
        assert listed.returncode == 0, listed.stdout
        assert [one["name"] for one in json.loads(listed.stdout)["vms"]] == ["mine"]
        assert "client socket is closed" in listed.stderr
    finally:
        own.close()


def test_what_to_look_at_is_the_domains_and_not_a_vm_of_our_own(fastballoon, web, tmp_path):
    """Hints that name a command name one that works for this machine."""
    key = ("--identity", str(tmp_path / "key"), "--known-hosts", str(tmp_path / "known"))
    make_key_pair(tmp_path / "key", tmp_path / "key.pub", prefix="")
    (tmp_path / "known").write_text(f"[127.0.0.1]:1 {(tmp_path / 'key.pub').read_text()}")
    ran = at(fastballoon, "--ssh", "root@127.0.0.1:1", *key, "drop-cache")
    assert ran.returncode == 5, ran.stdout + ran.stderr
    assert json.loads(ran.stdout)["error"]["hint"] == f"look at the guest's console: virsh -c {URI} console web"
    # The host held little of it, and 'vm touch' is not for domains.
    web.stats["rss"] = 100 << 10
    (remark,) = ok(fastballoon, "inflate", "--target", "256M", "--floor", "0")["remarks"]
    assert "the rest it did not hold" in remark
    assert "touch" not in remark


def test_a_domain_that_somebody_works_with_is_in_use(fastballoon, web, monkeypatch):
    from fastballoon_cli.machine.domain import find  # noqa: PLC0415

    with find(URI, "web").lock():
        assert "is in use" in refused(fastballoon, 3, "deflate")["message"]
    assert ok(fastballoon, "deflate")["balloon_bytes"]["after"] == 0


def test_how_to_log_in_is_checked(fastballoon, web, tmp_path):
    assert "--identity" in refused(fastballoon, 2, "--ssh", "root@10.0.0.1", "deflate")["hint"]
    key = ("--identity", str(tmp_path / "key"), "--known-hosts", str(tmp_path / "known"))
    assert "no way to log in" in refused(fastballoon, 2, "--ssh", "a b", *key, "deflate")["message"]
    assert "--ssh" in refused(fastballoon, 2, "migrate", "--to", FAR, "--verify")["hint"]
    # A guest that cannot be logged in to gives memory all the same.
    (tmp_path / "known").touch()
    ran = at(fastballoon, "--ssh", "root@127.0.0.1:1", *key, "inflate", "--target", "256M")
    assert ran.returncode == 0, ran.stdout
    assert "host key of [127.0.0.1]:1 is not in" in ran.stderr


def test_an_emulator_that_does_not_run_is_said_to_and_not_to_lack_the_series(fastballoon, web, tmp_path):
    error = refused(fastballoon, 3, "vm", "xml", "web", "--emulator", str(tmp_path / "none"))
    assert "No such file" in error["message"]
    # It runs, and knows nothing.
    assert "ended with status 1" in refused(fastballoon, 3, "vm", "xml", "web", "--emulator", "/bin/false")["message"]


@pytest.fixture
def far(binding):
    """A domain of another host, where nobody looks whether its emulator has the series."""
    made = Domain(binding.daemon(FAR), "web")
    made.daemon.domains.append(made)
    return made


def test_a_domain_that_its_new_emulator_cannot_run_stays_as_it_was_and_is_told_why(fastballoon, binding, far):
    """virt-install gives a domain a display and USB redirection, unless it is told not to."""
    far.daemon.refuses = LibvirtError("unsupported configuration: USB redirection is not supported by this QEMU")
    error = refused(fastballoon, 3, "vm", "xml", "web", "--apply", uri=FAR)
    assert "'web' stays as it was" in error["message"]
    assert "USB redirection is not supported" in error["message"]
    assert f"virsh -c {FAR} edit web" in error["hint"]
    assert "--emulator" in error["hint"]


def test_what_to_type_next_works_for_the_daemon_that_was_named(fastballoon, far):
    printed = fastballoon("--connect", FAR, "vm", "xml", "web")
    assert f"virsh -c {FAR} edit web" in printed.stderr
    applied = fastballoon("--connect", FAR, "vm", "xml", "web", "--apply")
    assert f"virsh -c {FAR} shutdown web; when it is off, virsh -c {FAR} start web" in applied.stderr
