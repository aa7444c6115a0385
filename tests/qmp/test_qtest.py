"""QEMU's own cases for the balloon: good messages and hostile ones, on the device without a guest.

Nothing of the tool is in them: cases that have passed are not run again before QEMU or they themselves are built anew.
"""

import os
import subprocess
from pathlib import Path

import pytest

from fastballoon_cli import build
from fastballoon_cli.build.qemu import QTESTS
from fastballoon_cli.build.store import passed_file
from fastballoon_cli.progress import Silent

pytestmark = pytest.mark.qemu

#: Hostile messages that must be among the cases of each program that is about the balloon.
_HOSTILE = 20


_BALLOON = [Path(target).name for target in QTESTS if "virtio-balloon" in target]
_OTHERS = [Path(target).name for target in QTESTS if "virtio-balloon" not in target]


def _all_pass(program: str, *options: str, at_least: int = 1, huge_pages: bool = False) -> None:
    """Run a program's cases, unless they have passed; all of them have to.

    :param options: which cases, as GLib's test programs take it.
    """
    qtest = build.qtest(Silent())
    qemu = build.qemu(build.Variant.FAST, Silent())
    cases = " ".join([program, *options, str(at_least)])
    inputs = {"qtest": qtest.key, "qemu": qemu.key, "cases": cases, "huge_pages": huge_pages}
    passed = passed_file("qtest", inputs)
    if passed.exists():
        return
    ran = subprocess.run(
        [qtest.programs[program], "--tap", "-k", *options],
        env=os.environ | {"QTEST_QEMU_BINARY": str(qemu.binary)},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    results = [line for line in ran.stdout.splitlines() if line.startswith(("ok ", "not ok "))]
    # Each case starts QEMU, with a long command line; what matters would be lost among these.
    said = "\n".join(
        line for line in (ran.stdout + ran.stderr).splitlines() if not line.startswith(("ok ", "# starting QEMU"))
    )
    assert ran.returncode == 0, said
    assert not [line for line in results if line.startswith("not ok")], said
    assert len(results) >= at_least, said
    passed.touch()


def _hostile(program: str) -> str:
    """Return the path of a program's cases of hostile messages."""
    about = program.removeprefix("virtio-balloon-").removesuffix("-test")
    return f"/x86_64/virtio-balloon/{about}/hostile"


@pytest.mark.timeout(1000)
@pytest.mark.parametrize("program", [*_BALLOON, *_OTHERS])
def test_qtest_cases_pass(program, huge_pages):
    _all_pass(program, *(("-s", _hostile(program)) if program in _BALLOON else ()), huge_pages=huge_pages)


@pytest.mark.timeout(1000)
@pytest.mark.parametrize("program", _BALLOON)
def test_hostile_messages_do_no_harm(program):
    """By themselves, as they are half of the cases and another lane can run them: they need no huge pages."""
    _all_pass(program, "-p", _hostile(program), at_least=_HOSTILE)
