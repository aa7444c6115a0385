"""QEMU with sanitizers: the series' own tests, and the balloon's device fed with what a fuzzer finds interesting."""

import logging
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from fastballoon_cli import build
from fastballoon_cli.build.qemu import QTESTS
from fastballoon_cli.progress import Silent

pytestmark = [pytest.mark.qemu, pytest.mark.long, pytest.mark.timeout(10000)]

_LOG = logging.getLogger(__name__)
_TARGET = "generic-fuzz-virtio-balloon"
#: So many inputs, or for so long, whichever ends first: some 120 a second, as QEMU is reset after each.
_RUNS = int(os.environ.get("FASTBALLOON_FUZZ_RUNS", "1000000"))
_SECONDS = int(os.environ.get("FASTBALLOON_FUZZ_SECONDS", "8400"))
_DONE = re.compile(r"^Done (\d+) runs in (\d+) second", re.MULTILINE)


def _environment(folder: Path) -> dict[str, str]:
    """Have whatever is found written to files of a folder, and end the program."""
    return os.environ | {
        # QEMU ends without freeing all that it has.
        "ASAN_OPTIONS": f"detect_leaks=0:log_path={folder}/asan",
        "UBSAN_OPTIONS": f"halt_on_error=1:print_stacktrace=1:log_path={folder}/ubsan",
    }


def _found(folder: Path) -> str:
    lines = [line for path in folder.glob("*san.*") for line in path.read_text(errors="replace").splitlines()]
    # Each process begins with it.
    return "\n".join(line for line in lines if "ASan doesn't fully support makecontext" not in line)


def test_the_sanitizers_are_there(tmp_path):
    """Else nothing here could fail."""
    binary = build.qemu(build.Variant.FAST_SANITIZED, Silent()).binary
    symbols = binary.read_bytes()
    for name in (b"__asan_report_load8", b"__ubsan_handle_shift_out_of_bounds"):
        assert name in symbols


@pytest.mark.parametrize("program", [Path(target).name for target in QTESTS])
def test_qtest_cases_pass_with_sanitizers(program, tmp_path):
    qtest = build.qtest(Silent())
    qemu = build.qemu(build.Variant.FAST_SANITIZED, Silent())
    ran = subprocess.run(
        [qtest.programs[program], "--tap", "-k"],
        env=_environment(tmp_path) | {"QTEST_QEMU_BINARY": str(qemu.binary)},
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert _found(tmp_path) == ""
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-4000:]
    planned = re.search(r"^1\.\.(\d+)$", ran.stdout, re.MULTILINE)
    assert planned is not None, ran.stdout[-4000:]
    assert len(re.findall(r"^ok (?!.*# SKIP)", ran.stdout, re.MULTILINE)) == int(planned[1])


def _with_firmware(binary: Path, firmware: list[Path], folder: Path) -> Path:
    """Return a copy of the program in a folder that has firmware where it looks for it: it takes no -L."""
    bios = folder / "qemu-bundle/usr/local/share/qemu"
    bios.mkdir(parents=True)
    for path in (entry for place in firmware for entry in place.iterdir()):
        if not (bios / path.name).exists():
            (bios / path.name).symlink_to(path)
    return Path(shutil.copy2(binary, folder))


def test_fuzzing_the_balloons_queues(tmp_path, record_property):
    qemu = build.qemu(build.Variant.FAST_FUZZ, Silent())
    program = _with_firmware(qemu.binary, qemu.firmware, tmp_path)
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    ran = subprocess.run(
        [
            program,
            f"--fuzz-target={_TARGET}",
            *(f"-runs={_RUNS}", f"-max_total_time={_SECONDS}", "-max_len=4096", "-timeout=120", "-rss_limit_mb=4096"),
            f"-artifact_prefix={tmp_path}/",
            corpus,
        ],
        cwd=tmp_path,
        env=_environment(tmp_path),
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_SECONDS + 1200,
        check=False,
    )
    assert ran.returncode == 0, _found(tmp_path) + ran.stderr[-8000:]
    assert _found(tmp_path) == ""
    done = _DONE.search(ran.stderr)
    assert done is not None, ran.stderr[-4000:]
    record_property("inputs", int(done[1]))
    _LOG.info("%s inputs in %s s", done[1], done[2])
    # All of them, or as many as there was time for.
    assert int(done[1]) >= min(_RUNS, 2 * _SECONDS)
