"""What becomes of the command lines of upstream's tests."""

import subprocess
from pathlib import Path

import pytest

from tests.upstream.test_upstream import Ran
from tests.upstream.wrapper import FORCED, wrapped

_FIXED = "-L /f -global e1000.romfile= -global e1000e.romfile="
_FORCED = " ".join(FORCED)


@pytest.mark.parametrize(
    ("kvm", "forced", "asked", "got"),
    [
        (True, (), "-accel kvm -accel tcg -machine pc", "-accel kvm -accel tcg -machine pc"),
        (False, (), "-accel kvm -accel tcg -machine pc", "-accel tcg -machine pc"),
        (False, (), "-accel kvm,dirty-ring-size=4096 -accel tcg", "-accel tcg"),
        (False, FORCED, "-machine q35,usb=off -accel tcg", f"{_FORCED} -machine q35,usb=off -accel tcg"),
        (False, FORCED, "-machine none -accel qtest", "-machine none -accel qtest"),
        (False, FORCED, "-accel", "-accel"),
    ],
)
def test_the_command_line_is_mended(tmp_path, kvm, forced, asked, got):
    script = wrapped(Path("/bin/echo"), [Path("/f")], tmp_path, kvm=kvm, forced=forced)
    ran = subprocess.run([script, *asked.split()], capture_output=True, text=True, check=True, timeout=20)
    assert ran.stdout.strip() == f"{_FIXED} {got}"


def test_cases_are_counted():
    ran = Ran(
        0, "# start\nok 1 /x86_64/a\nok 2 /x86_64/b # SKIP no tool\nnot ok 3 /x86_64/c - broke\nok 4 /x86_64/d\n", ""
    )
    assert ran.passed == {"/x86_64/a", "/x86_64/d"}
    assert ran.skipped == {"/x86_64/b"}
