"""QEMU's own tests, unmodified, fail with the patched QEMU only where they fail with the unmodified one."""

import logging
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fastballoon_cli import build
from fastballoon_cli.machine import accel
from fastballoon_cli.progress import Silent
from tests.upstream.wrapper import FORCED, wrapped

pytestmark = [pytest.mark.qemu, pytest.mark.long, pytest.mark.timeout(5400)]

_LOG = logging.getLogger(__name__)
_MIGRATION = "migration-test"
_CASE = re.compile(r"^(ok|not ok) \d+ (/\S+)(.*)$")
#: For one program, but the migrations: on two busy cores the slowest takes minutes.
_SECONDS = 1200
#: Cases that are left out, and why.
_LEFT_OUT = {
    "qmp-cmd-test": (
        ["/x86_64/qmp/x-query-balloon-drop-cache", "/x86_64/qmp/x-query-balloon-free-pages"],
        "asks every query without a device; which of ours need one, only the program of the series knows",
    ),
    "cdrom-test": (
        ["/x86_64/cdrom/boot/am53c974", "/x86_64/cdrom/boot/dc390"],
        "Debian 12's SeaBIOS (1.16.2) hangs at these controllers, with the unmodified QEMU as well",
    ),
    "pxe-test": (["/x86_64/pxe"], "the builds have no boot ROMs of network cards"),
}
_MIGRATION_SECONDS = 600


class Upstream:
    """The tests, and the scripts to run them with."""

    def __init__(self, folder: Path) -> None:
        self.tests = build.upstream_tests(Silent())
        stock, fast = build.qemu(build.Variant.STOCK, Silent()), build.qemu(build.Variant.FAST, Silent())
        kernel = build.kernel(build.Variant.FAST, Silent())
        firmware = tuple(fast.firmware)
        chosen = accel.choose(
            "auto", qemu=fast.binary, firmware=firmware, kernel=kernel.bzimage, progress=Silent()
        )  # fmt: skip
        self.scripts = {}
        for name, qemu, forced in (("stock", stock, ()), ("fast", fast, ()), ("forced", fast, FORCED)):
            place = folder / name
            place.mkdir()
            self.scripts[name] = wrapped(qemu.binary, qemu.firmware, place, kvm=chosen == "kvm", forced=forced)

    def run(self, program: str, script: str, *arguments: str, seconds: float) -> "Ran":
        """Run a program, of all its cases or those named; it may fail."""
        environment = os.environ | {"QTEST_QEMU_BINARY": str(self.scripts[script]), "PYTHON": sys.executable}
        command = [self.tests.programs[program], "--tap", "-k", *arguments]
        try:
            ran = subprocess.run(
                command, cwd=self.tests.dir, env=environment, capture_output=True, text=True, timeout=seconds,
                check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as e:
            return Ran(-1, _text(e.stdout), f"not done after {seconds:g} s\n{_text(e.stderr)}")
        return Ran(ran.returncode, ran.stdout, ran.stderr)

    def cases(self, program: str, *arguments: str) -> list[str]:
        """Return the names of a program's cases."""
        ran = self.run(program, "fast", *arguments, "-l", seconds=60)
        return [line for line in ran.out.splitlines() if line.startswith("/")]


def _text(output: bytes | str | None) -> str:
    return output.decode(errors="replace") if isinstance(output, bytes) else output or ""


class Ran:
    """How a run of a program ended.

    :ivar passed: the cases that did, skipped ones not among them.
    """

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err
        found = [match for line in out.splitlines() if (match := _CASE.match(line))]
        self.passed = {m[2] for m in found if m[1] == "ok" and "# SKIP" not in m[3]}
        self.skipped = {m[2] for m in found if "# SKIP" in m[3]}

    @property
    def said(self) -> str:
        return f"exit {self.code}\n{self.out[-4000:]}\n{self.err[-4000:]}"


@pytest.fixture(scope="module")
def upstream(tmp_path_factory):
    return Upstream(tmp_path_factory.mktemp("upstream"))


def _worse(upstream, program, *arguments, script, seconds):
    """Return what our QEMU fails that the unmodified one does not, and how many cases ran."""
    ours = upstream.run(program, script, *arguments, seconds=seconds)
    if ours.code == 0:
        return "", ours
    stock = upstream.run(program, "stock", *arguments, seconds=seconds)
    if stock.code != 0 and stock.passed <= ours.passed:
        return "", ours
    # On a busy machine a time limit of the test's own may have passed: what is wrong is wrong twice.
    again = upstream.run(program, script, *arguments, seconds=seconds)
    return "" if again.code == 0 else f"{program} {' '.join(arguments)} ({script}): {again.said}", again


def test_all_qtests_but_the_migrations(upstream):
    """Between them hundreds of cases."""
    found, passed = [], 0
    for program in sorted(upstream.tests.programs):
        if program != _MIGRATION:
            left_out, why = _LEFT_OUT.get(program, ([], ""))
            skip = [word for case in left_out for word in ("--skip-prefix", case)]
            worse, ran = _worse(upstream, program, *skip, script="fast", seconds=_SECONDS)
            found += [worse] if worse else []
            passed += len(ran.passed)
            _LOG.info(f"{program}: {len(ran.passed)} passed, {len(ran.skipped)} skipped")
            for case in left_out:
                _LOG.info(f"{case}: left out, as {why}")
    assert found == []
    assert passed >= 300


@pytest.mark.parametrize("script", ["fast", "forced"])
def test_all_migrations(upstream, script):
    """As it is, and with a balloon that asks which pages are free in every one of them."""
    cases = upstream.cases(_MIGRATION, "--full")
    found, passed = [], 0
    for case in cases:
        begun = time.monotonic()
        worse, ran = _worse(upstream, _MIGRATION, "--full", "-p", case, script=script, seconds=_MIGRATION_SECONDS)
        found += [worse] if worse else []
        passed += len(ran.passed)
        _LOG.info(f"{case}: {'passed' if ran.passed else 'skipped' if ran.skipped else 'FAILED'}, "
              f"{time.monotonic() - begun:.1f} s")  # fmt: skip
    assert found == []
    assert passed >= 30
