"""QEMU's own cases for the balloon: good messages and hostile ones, on the device without a guest."""

import os
import subprocess
from pathlib import Path

import pytest

from fastballoon_cli import build
from fastballoon_cli.build.qemu import QTESTS
from fastballoon_cli.progress import Silent

pytestmark = pytest.mark.qemu

#: Hostile messages that must be among the cases of each program that is about the balloon.
_HOSTILE = 20


@pytest.mark.timeout(1000)
@pytest.mark.parametrize("program", [Path(target).name for target in QTESTS])
def test_qtest_cases_pass(program):
    qtest = build.qtest(Silent())
    qemu = build.qemu(build.Variant.FAST, Silent())
    ran = subprocess.run(
        [qtest.programs[program], "--tap", "-k"],
        env=os.environ | {"QTEST_QEMU_BINARY": str(qemu.binary)},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    results = [line for line in ran.stdout.splitlines() if line.startswith(("ok ", "not ok "))]
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert not [line for line in results if line.startswith("not ok")], ran.stdout
    assert results, ran.stdout
    if program.startswith("virtio-balloon"):
        assert len([line for line in results if "hostile" in line]) >= _HOSTILE, ran.stdout
