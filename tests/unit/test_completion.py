import json
import os
import shutil
import subprocess
import sys

import pytest

from fastballoon_cli.machine import registry
from tests.unit.made import record


@pytest.fixture
def running(runtime):
    """Put VMs into the registry: this very process runs as one's QEMU, another's has ended, one is a newer tool's."""
    record("database")
    record("dead", started=1)
    record("newer")
    path = registry.vm_dir("newer") / "vm.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 2}))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_a_script(fastballoon, shell):
    result = fastballoon(_FASTBALLOON_COMPLETE=f"{shell}_source")
    assert result.returncode == 0
    assert f"_FASTBALLOON_COMPLETE={shell}_complete" in result.stdout


@pytest.mark.parametrize(
    ("words", "offered", "withheld"),
    [
        (["--vm", "da"], ["database"], ["dead"]),
        (["vm", "stop", ""], ["database", "newer"], ["dead"]),
        (["vm", "status", "x"], [], ["database"]),
        (["bench", ""], ["inflate", "deflate"], ["doctor"]),
        (["inflate", "--method", "p"], ["page-bitmap", "pfn"], ["auto"]),
        (["build", "--variant", "fast-"], ["fast-debug", "fast-sanitized", "fast-fuzz", "fast-hostile"], ["stock"]),
        (["vm", "start", "--kernel", "f"], ["fast", "fast-debug"], ["fast-hostile"]),
        (["vm", "start", "--qemu", "f"], ["fast", "fast-hostile"], ["fast-debug", "fast-fuzz"]),
    ],
)
def test_what_is_offered(fastballoon, running, words, offered, withheld):
    line = ["fastballoon", *words]
    result = fastballoon(
        _FASTBALLOON_COMPLETE="bash_complete",
        COMP_WORDS=" ".join(line),
        COMP_CWORD=str(len(line) - 1),
    )
    values = [value.partition(",")[2] for value in result.stdout.split()]
    assert result.stderr == ""
    assert set(offered) <= set(values)
    assert not set(withheld) & set(values)


def test_a_runtime_folder_that_cannot_be_used_offers_nothing(fastballoon, tmp_path):
    folder = tmp_path / "open"
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    result = fastballoon(
        _FASTBALLOON_COMPLETE="bash_complete",
        COMP_WORDS="fastballoon --vm ",
        COMP_CWORD="2",
        FASTBALLOON_RUNTIME=str(folder),
    )
    assert (result.stdout.strip(), result.stderr) == ("", "")


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash on this machine")
def test_the_documented_line_works_in_bash(fastballoon, running, tmp_path):
    program = tmp_path / "bin" / "fastballoon"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m fastballoon_cli "$@"\n')
    program.chmod(0o755)
    script = """
eval "$(_FASTBALLOON_COMPLETE=bash_source fastballoon)"
COMP_WORDS=(fastballoon --vm dat) COMP_CWORD=2
_fastballoon_completion fastballoon
echo "${COMPREPLY[@]}"
"""
    environment = os.environ | {"PATH": f"{program.parent}:{os.environ['PATH']}"}
    ran = subprocess.run(
        ["bash", "-c", script], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.stdout.strip() == "database", ran.stderr
