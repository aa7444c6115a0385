"""QEMU with sanitizers: the series' own tests, and the balloon's device fed with what a fuzzer finds interesting."""

import base64
import logging
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from fastballoon_cli import build
from fastballoon_cli.build.qemu import QTESTS
from fastballoon_cli.progress import Silent

pytestmark = [pytest.mark.qemu, pytest.mark.long, pytest.mark.timeout(10000)]

_LOG = logging.getLogger(__name__)
_TARGET = "generic-fuzz-virtio-balloon"
#: So many inputs, or for so long, whichever ends first: some 120 a second on each CPU, as QEMU is reset after each.
_RUNS = int(os.environ.get("FASTBALLOON_FUZZ_RUNS", "1000000"))
_SECONDS = int(os.environ.get("FASTBALLOON_FUZZ_SECONDS", "6000"))
#: Of one input, in a minute or two.
_REPEATS = 20000
#: A guest without MSI-X that gives free page hints to an IOThread. It ended QEMU in one of some thousand runs, when the
#: machine was reset: the thread has set the interrupt pin while others did.
_HINTS_WITHOUT_MSIX = base64.b64decode(
    "AwpiTzETAAAgCFpaAwpvdNHRCkZVWlpHMvoRRg4w/3RlCpH6RlVaWghGVVpaWgZGVVpaASmqyFtaWloIRlVaWgZGVVpaCTuqyFtiRg7/AQqRCpH6"
    "RlVaWghGVVpaWgZGVVpaASmqyFtaWloIRlVaWgZmVVpaATuqyFtiAQpGVVpaRzJGVVpaCEZVWloGRlVaWkcy+hFGDv8BCpH6RlU="
)
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
def test_qtest_cases_pass_with_sanitizers(program, tmp_path, huge_pages):
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
    results = re.findall(r"^ok .*$", ran.stdout, re.MULTILINE)
    assert len(results) == int(planned[1])
    skipped = [line for line in results if "# SKIP" in line]
    assert not [line for line in skipped if huge_pages or "huge pages" not in line], skipped


@pytest.fixture
def fuzzer(tmp_path: Path) -> Path:
    """A copy of the program in a folder that has firmware where it looks for it: it takes no -L."""
    qemu = build.qemu(build.Variant.FAST_FUZZ, Silent())
    bios = tmp_path / "qemu-bundle/usr/local/share/qemu"
    bios.mkdir(parents=True)
    for path in (entry for place in qemu.firmware for entry in place.iterdir()):
        if not (bios / path.name).exists():
            (bios / path.name).symlink_to(path)
    return Path(shutil.copy2(qemu.binary, tmp_path))


def test_an_iothread_leaves_the_interrupt_pin_to_the_main_loop(fuzzer, tmp_path):
    found = tmp_path / "input"
    found.write_bytes(_HINTS_WITHOUT_MSIX)
    ran = subprocess.run(
        [fuzzer, f"--fuzz-target={_TARGET}", f"-runs={_REPEATS}", f"-artifact_prefix={tmp_path}/", found],
        cwd=tmp_path,
        env=_environment(tmp_path),
        stderr=subprocess.PIPE,
        check=False,
    )
    told = ran.stderr.decode(errors="replace")
    assert ran.returncode == 0, _found(tmp_path) + told[-8000:]
    assert _found(tmp_path) == ""
    assert "Executed" in told


def test_fuzzing_the_balloons_queues(fuzzer, tmp_path, record_property):
    corpus, lanes = tmp_path / "corpus", os.cpu_count() or 1
    corpus.mkdir()
    # One for each CPU, and each looks now and then for what is new to it in the others' corpus.
    command = [
        *(fuzzer, f"--fuzz-target={_TARGET}", f"-runs={-(-_RUNS // lanes)}", f"-max_total_time={_SECONDS}"),
        *("-max_len=4096", "-timeout=120", "-rss_limit_mb=4096", f"-artifact_prefix={tmp_path}/", corpus),
    ]
    logs = [tmp_path / f"lane-{lane}.log" for lane in range(lanes)]
    running: list[subprocess.Popen[bytes]] = []
    try:
        for log in logs:
            with log.open("wb") as said:
                running.append(subprocess.Popen(command, cwd=tmp_path, env=_environment(tmp_path), stderr=said))
        deadline = time.monotonic() + _SECONDS + 1200
        codes = [one.wait(timeout=max(0.0, deadline - time.monotonic())) for one in running]
    finally:
        for one in running:
            one.kill()
            one.wait()
    told = [log.read_text(errors="replace") for log in logs]
    assert codes == [0] * lanes, _found(tmp_path) + "\n".join(text[-8000:] for text in told)
    assert _found(tmp_path) == ""
    done = [found for text in told if (found := _DONE.search(text))]
    assert len(done) == lanes, "\n".join(text[-4000:] for text in told)
    inputs, seconds = sum(int(found[1]) for found in done), max(int(found[2]) for found in done)
    record_property("inputs", inputs)
    _LOG.info("%s inputs in %s s", inputs, seconds)
    # All of them, or as many as there was time for.
    assert inputs >= min(_RUNS, 2 * _SECONDS)
