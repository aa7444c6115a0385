"""The command line as a user meets it, in a process of its own."""

import json
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["inflate", "--target", "3X"], "'3X' is not a size"),
        (["inflate", "--target=-1G"], "'-1G' is negative"),
        (["inflate"], "Missing option '--target'"),
        (["inflate", "--target", "3G", "--method", "magic"], "'magic' is not one of"),
        (["drop-cache", "--mode", "magic"], "'magic' is not one of"),
        (["bench", "inflate", "--variant", "fast-drop"], "'fast-drop' is not one of"),
        (["no-such"], "No such command 'no-such'"),
        (["--no-such"], "No such option"),
        (["vm", "start", "--name", "Not A Name"], "cannot be a VM's name"),
        (["vm", "start", "--memory", "1M"], "cannot be a VM's memory"),
        (["vm", "start", "--cpus", "0"], "cannot be a number of CPUs"),
        (["--timeout", "0", "vm", "list"], "timeout"),
        (["build", "qemu", "--variant", "fast-debug"], "there is no qemu 'fast-debug'"),
        (["build", "kernel", "--variant", "fast-fuzz"], "there is no kernel 'fast-fuzz'"),
        (["vm", "start", "--variant", "fast-debug"], "'fast-debug' is not one of"),
        (["vm", "start", "--qemu", "fast-fuzz"], "'fast-fuzz' is not one of"),
    ],
)
def test_bad_usage_is_one_message_and_exit_2(fastballoon, arguments, message):
    plain = fastballoon(*arguments)
    assert plain.returncode == 2
    assert plain.stdout == ""
    assert message in plain.stderr
    assert "Traceback" not in plain.stderr
    as_json = fastballoon("--json", *arguments)
    assert as_json.returncode == 2
    assert json.loads(as_json.stdout)["error"]["exit_code"] == 2


@pytest.mark.parametrize(
    "arguments",
    [["deflate"], ["drop-cache"], ["vm", "status"], ["vm", "stop"], ["vm", "ssh"], ["vm", "console"], ["vm", "touch"],
     ["--vm", "other", "inflate", "--target", "1G"]],
)  # fmt: skip
def test_a_vm_that_does_not_run_is_a_missing_precondition(fastballoon, arguments):
    result = fastballoon("--json", *arguments)
    assert result.returncode == 3
    error = json.loads(result.stdout)["error"]
    assert "there is no VM" in error["message"]
    assert "vm list" in error["hint"]


@pytest.mark.parametrize(
    ("arguments", "built"),
    [
        ([], ["kernel-fast", "qemu-fast", "image"]),
        (["--variant", "stock"], ["kernel-stock", "qemu-stock", "image"]),
        (["--variant", "fast-debug"], ["kernel-fast-debug", "image"]),
        (["--variant", "fast-hostile"], ["qemu-fast-hostile", "image"]),
        (["qemu", "--variant", "fast-sanitized"], ["qemu-fast-sanitized"]),
    ],
)
def test_what_a_build_makes(fastballoon, arguments, built):
    result = fastballoon("--json", "build", "--dry-run", *arguments)
    planned = [one["artifact"] for one in json.loads(result.stdout)["artifacts"]]
    assert len(planned) == len(built), planned
    assert all(name.startswith(start) for name, start in zip(planned, built, strict=True)), planned


def test_listing_nothing(fastballoon):
    assert fastballoon("vm", "list").stdout == "no VM runs\n"
    assert json.loads(fastballoon("--json", "vm", "list").stdout) == {"schema_version": 1, "vms": []}


def test_the_environment_and_the_file_set_options_and_the_command_line_wins(fastballoon, tmp_path):
    config = tmp_path / "config" / "fastballoon"
    config.mkdir(parents=True)
    (config / "config.toml").write_text('vm_name = "from-file"\n')
    named = lambda result: json.loads(result.stdout)["error"]["message"]  # noqa: E731
    assert "'from-file'" in named(fastballoon("--json", "deflate"))
    assert "'from-env'" in named(fastballoon("--json", "deflate", FASTBALLOON_VM="from-env"))
    assert "'flag'" in named(fastballoon("--json", "--vm", "flag", "deflate", FASTBALLOON_VM="from-env"))


def test_a_broken_configuration_is_named(fastballoon, tmp_path):
    broken = tmp_path / "broken.toml"
    broken.write_text("vm = [")
    result = fastballoon("vm", "list", FASTBALLOON_CONFIG=str(broken))
    assert result.returncode == 2
    assert f"{broken} is not valid TOML" in result.stderr.replace("\n", "")


def test_every_command_has_help(fastballoon):
    commands = [["vm"], ["drop-cache"], ["bench", "drop-cache"], ["inflate"], ["deflate"], ["build"],
                ["vm", "start"], ["vm", "ssh"], ["vm", "console"]]  # fmt: skip
    for command in commands:
        result = fastballoon(*command, "--help")
        assert result.returncode == 0
        assert result.stdout.startswith("Usage: ")


def test_what_is_to_be_pasted_is_not_cut_into_lines(fastballoon, tmp_path):
    runtime = tmp_path / ("long-" * 40)
    plan = fastballoon("inflate", "--target", "1G", "--dry-run", FASTBALLOON_RUNTIME=str(runtime))
    assert plan.returncode == 0, plan.stderr
    (line,) = [line for line in plan.stdout.splitlines() if line.startswith("QMP")]
    assert str(runtime) in line
    assert json.loads(line[line.index("{") :])["execute"] == "balloon"


def test_a_command_imports_only_what_it_uses(environment):
    command = [sys.executable, "-X", "importtime", "-m", "fastballoon_cli", "inflate", "--target", "1G", "--dry-run"]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip() for line in ran.stderr.splitlines()}
    assert "fastballoon_cli.ops.balloon" in imported
    assert not imported & {
        "fastballoon_cli.build",
        "fastballoon_cli.ops.bench",
        "fastballoon_cli.results.report.report",
        "paramiko",
    }
