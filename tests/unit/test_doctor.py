"""The doctor on machines that are made up, and on this one from outside."""

import json
from pathlib import Path

import pytest

from fastballoon_cli import build
from fastballoon_cli.errors import PreconditionError, QmpError
from fastballoon_cli.host import procfs
from fastballoon_cli.machine import accel
from fastballoon_cli.ops import doctor
from fastballoon_cli.ops.doctor import examine
from fastballoon_cli.ops.findings import Status, document
from fastballoon_cli.progress import Silent
from fastballoon_cli.qemu.features import Abilities, abilities

GIB = 1 << 30


@pytest.fixture
def machine(runtime, monkeypatch, tmp_path):
    """A machine on which all is well and everything is built; a test breaks one thing."""
    monkeypatch.setenv("FASTBALLOON_CACHE", str(tmp_path / "cache"))
    artifact = tmp_path / "artifact"
    artifact.mkdir()
    (artifact / "file").write_bytes(b"x" * 2048)

    def plan(name):
        return lambda *variant: build.Plan("-".join([name, *variant]), artifact, [])

    binary = artifact / "file"
    kernel = build.KernelArtifact(artifact, binary, "6.12.1-fast", "a" * 64, "key")
    qemu = build.QemuArtifact(artifact, binary, [], "10.0.1", "b" * 64, "c" * 64, "key")
    for name in ("kernel", "qemu", "image"):
        monkeypatch.setattr(build, f"plan_{name}", plan(name))
    monkeypatch.setattr(build, "kernel", lambda *_: kernel)
    monkeypatch.setattr(build, "qemu", lambda *_: qemu)
    monkeypatch.setattr(accel, "choose", lambda *_, **__: "kvm")
    monkeypatch.setattr(doctor, "abilities", lambda *_: _able("x-page-bitmap", "x-drop-cache"))
    monkeypatch.setattr(doctor, "missing", lambda: [])
    monkeypatch.setattr(procfs, "mem_available", lambda: 8 * GIB)
    monkeypatch.setattr(procfs, "thp_setting", lambda: "madvise")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: _Usage(20 * GIB))
    monkeypatch.setattr(doctor.shutil, "which", lambda _: "/usr/bin/ssh")
    return monkeypatch


def _able(*properties):
    return Abilities(frozenset(properties), sandbox=False)


class _Usage:
    def __init__(self, free):
        self.free = free


def found(vm="default"):
    checks = examine(vm, Silent())
    return {check.name: check for check in checks}, document(checks)["ok"]


def nothing_built(machine):
    for name in ("kernel", "qemu", "image"):
        machine.setattr(build, f"plan_{name}", lambda *v, name=name: build.Plan("-".join([name, *v]), None, ["make"]))
    for name in ("kernel", "qemu", "image"):
        machine.setattr(build, name, lambda *_: pytest.fail("the doctor builds nothing"))


def test_all_is_well(machine):
    checks, ok = found()
    assert {check.status for check in checks.values()} == {Status.OK}, checks
    assert ok
    assert checks["accelerator"].found.startswith("KVM")
    assert "page bitmaps, dropping the guest's cache" in checks["QEMU"].found
    assert "kernel-fast 2 KiB" in checks["build cache"].found


def test_nothing_is_built_and_nothing_gets_built(machine):
    nothing_built(machine)
    checks, ok = found()
    assert ok
    assert checks["accelerator"].found.startswith("unknown until")
    assert checks["accelerator"].hint == "fastballoon build"
    assert checks["build cache"].hint == "fastballoon build"
    assert {checks[name].status for name in ("accelerator", "build cache", "QEMU", "guest")} == {Status.WARN}


def test_kvm_that_boots_nothing_is_a_warning_with_the_reason(machine):
    def refuse(*_, **__):
        raise PreconditionError("KVM cannot be used: a guest kernel did not boot within 8 s")

    machine.setattr(accel, "choose", refuse)
    checks, ok = found()
    assert ok
    assert checks["accelerator"].status is Status.WARN
    assert "did not boot within 8 s" in checks["accelerator"].found


@pytest.mark.parametrize(
    ("available", "status", "hint"),
    [(8 * GIB, Status.OK, None), (2 * GIB, Status.WARN, "--memory 1536M"), (GIB // 2, Status.FAIL, "stop other")],
)
def test_memory(machine, available, status, hint):
    machine.setattr(procfs, "mem_available", lambda: available)
    checks, ok = found()
    assert checks["memory"].status is status
    assert ok is (status is not Status.FAIL)
    assert (hint or "") in (checks["memory"].hint or "")


def test_a_full_disk_stops_builds_but_not_guests(machine):
    machine.setattr(doctor.shutil, "disk_usage", lambda _: _Usage(GIB // 2))
    checks, ok = found()
    assert (checks["disk"].status, ok) == (Status.WARN, True)
    nothing_built(machine)
    checks, ok = found()
    assert (checks["disk"].status, ok) == (Status.FAIL, False)
    assert "FASTBALLOON_CACHE" in checks["disk"].hint


def test_packages_matter_as_far_as_they_are_needed(machine):
    flex = next(package for package in build.packages.PACKAGES if package.name == "flex")
    seabios = next(package for package in build.packages.PACKAGES if package.name == "seabios")
    machine.setattr(doctor, "missing", lambda: [flex])
    assert found()[0]["packages"].status is Status.WARN
    machine.setattr(doctor, "missing", lambda: [seabios])
    checks, ok = found()
    assert (checks["packages"].status, ok) == (Status.FAIL, False)
    assert "apt-get install" in checks["packages"].hint
    nothing_built(machine)
    machine.setattr(doctor, "missing", lambda: [flex])
    assert found()[0]["packages"].status is Status.FAIL


@pytest.mark.parametrize("setting", ["never", "absent"])
def test_huge_pages_that_are_off(machine, setting):
    machine.setattr(procfs, "thp_setting", lambda: setting)
    checks, ok = found()
    assert ok
    assert checks["host THP"].status is Status.WARN
    assert checks["host THP"].hint


def test_a_qemu_without_the_series_fails(machine):
    machine.setattr(doctor, "abilities", lambda *_: _able("deflate-on-oom"))
    checks, ok = found()
    assert (checks["QEMU"].status, ok) == (Status.FAIL, False)


def test_one_probe_that_breaks_hides_no_other(machine):
    def broken(*_):
        raise QmpError("does not answer")

    machine.setattr(doctor, "abilities", broken)
    checks, ok = found()
    assert not ok
    assert checks["QEMU"].found == "does not answer"
    assert len(checks) == 10


def test_a_folder_of_vms_with_a_path_that_is_too_long(machine, tmp_path):
    machine.setenv("FASTBALLOON_RUNTIME", str(tmp_path / ("x" * 100)))
    checks, ok = found()
    assert (checks["VM folder"].status, ok) == (Status.FAIL, False)
    assert "FASTBALLOON_RUNTIME" in checks["VM folder"].hint


@pytest.mark.parametrize(
    ("said", "sandbox"),
    [({"return": [{"option": "sandbox", "parameters": []}]}, True), ({"error": {"desc": "Invalid parameter"}}, False)],
)
def test_a_binary_is_asked_what_it_can_do(tmp_path, said, sandbox):
    binary = tmp_path / "qemu"
    properties = {"id": "properties", "return": [{"name": "x-page-bitmap", "type": "bool"}]}
    answers = [{"QMP": {}}, {"return": {}}, properties, {"id": "sandbox", **said}, {"return": {}}]
    body = "\n".join(f"echo '{json.dumps(answer)}'" for answer in answers)
    binary.write_text(f"#!/bin/sh\n{body}\n")
    binary.chmod(0o755)
    assert abilities(binary, "virtio-balloon-pci") == Abilities(frozenset({"x-page-bitmap"}), sandbox)
    binary.write_text("#!/bin/sh\necho no firmware >&2\nexit 3\n")
    with pytest.raises(QmpError, match="status 3"):
        abilities(binary, "virtio-balloon-pci")
    with pytest.raises(QmpError, match="does not answer"):
        abilities(Path("/absent"), "virtio-balloon-pci")


def test_the_command_reports_and_leaves_nothing_behind(fastballoon, tmp_path):
    result = fastballoon("--json", "doctor")
    document = json.loads(result.stdout)
    assert result.returncode == (0 if document["ok"] else 3)
    assert document["operation"] == "doctor"
    by_name = {check["name"]: check for check in document["checks"]}
    assert by_name["accelerator"]["hint"] == "fastballoon build"
    assert not (tmp_path / "cache").exists()
    plain = fastballoon("doctor")
    assert "accelerator" in plain.stdout
    assert "Traceback" not in plain.stderr
