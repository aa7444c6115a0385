"""What is left behind by builds that end well, badly, or not at all."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastballoon_cli.build import job as jobs
from fastballoon_cli.build.job import job
from fastballoon_cli.build.locks import locked
from fastballoon_cli.build.paths import checked_cache_dir
from fastballoon_cli.build.store import find, key_of, publish, read_meta
from fastballoon_cli.build.workdir import building
from fastballoon_cli.errors import BuildError, PreconditionError
from fastballoon_cli.progress import Silent

_INPUTS = {"recipe": 1}

# A build as the real ones are, of a file that takes a while to write; says so when it is half written.
_FAKE_BUILD = """
import sys, time
from pathlib import Path
from fastballoon_cli.build.job import job
from fastballoon_cli.build.store import find, key_of, publish
from fastballoon_cli.build.workdir import building

class Told:
    def step(self, title, total=None): pass
    def update(self, done, *, total=None, note=None): pass
    def warn(self, message): print(message, flush=True)

with job("kernel", "building kernel-fake", Told(), need_bytes=0) as work:
    if not find("kernel", "fake", key_of({"recipe": 1})):
        with building("kernel") as out:
            script = "echo half > object; echo $$ > pid; sleep SECONDS; echo whole > object"
            work.run(["sh", "-c", script], cwd=out)
        with publish("kernel", "fake", {"recipe": 1}, {}) as folder:
            (folder / "bzImage").write_text((out / "object").read_text())
print("done", flush=True)
"""


class Told(Silent):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, message: str) -> None:
        self.warnings.append(message)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FASTBALLOON_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def _start(seconds: float) -> subprocess.Popen[str]:
    code = _FAKE_BUILD.replace("SECONDS", str(seconds))
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _wait_for(path: Path) -> None:
    end = time.monotonic() + 10
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.01)


def test_publish_and_find(cache: Path) -> None:
    assert find("kernel", "fast", key_of(_INPUTS)) is None
    with publish("kernel", "fast", _INPUTS, {"release": "1"}) as folder:
        (folder / "bzImage").write_bytes(b"x")
    found = find("kernel", "fast", key_of(_INPUTS))
    assert found is not None
    meta = read_meta(found)
    assert meta is not None
    assert (meta["release"], meta["inputs"], meta["sizes"]) == ("1", _INPUTS, {"bzImage": 1})
    assert find("kernel", "fast", key_of({"recipe": 2})) is None


@pytest.mark.parametrize("error", [BuildError("no"), KeyboardInterrupt(), OSError(errno.ENOSPC, "full")])
def test_failed_publish_leaves_nothing(cache: Path, error: BaseException) -> None:
    with pytest.raises(type(error)), publish("kernel", "fast", _INPUTS, {}) as folder:
        (folder / "bzImage").write_bytes(b"x")
        raise error
    assert not list((cache / "artifacts").iterdir())


def test_damaged_artifact_is_not_found_and_made_again(cache: Path) -> None:
    for content in (b"whole", b"whole again"):
        with publish("kernel", "fast", _INPUTS, {}) as folder:
            (folder / "bzImage").write_bytes(content)
        found = find("kernel", "fast", key_of(_INPUTS))
        assert found is not None
        (found / "bzImage").write_bytes(b"")
        assert find("kernel", "fast", key_of(_INPUTS)) is None


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_build_leaves_nothing_and_the_next_starts_anew(cache: Path, how: signal.Signals) -> None:
    first = _start(60)
    _wait_for(cache / "work/kernel/pid")
    compiler = int((cache / "work/kernel/pid").read_text())
    first.send_signal(how)
    begun = time.monotonic()
    first.wait(10)
    second = _start(0)
    out, _ = second.communicate(timeout=10)
    assert time.monotonic() - begun < 10
    assert "done" in out
    with pytest.raises(ProcessLookupError):
        os.kill(compiler, 0)
    found = find("kernel", "fake", key_of(_INPUTS))
    assert found is not None
    assert (found / "bzImage").read_text() == "whole\n"
    assert not (cache / "work/kernel.busy").exists()
    assert [p.name for p in (cache / "artifacts").iterdir()] == [found.name]


def test_second_builder_waits_and_says_for_whom(cache: Path) -> None:
    first = _start(2)
    _wait_for(cache / "work/kernel/pid")
    begun = time.monotonic()
    second = _start(0)
    assert second.stdout
    line = second.stdout.readline()
    assert time.monotonic() - begun < 1.5
    assert line == f"waiting for another fastballoon (pid {first.pid}) building kernel-fake\n"
    assert first.wait(10) == 0
    assert "done" in second.communicate(timeout=10)[0]
    assert second.returncode == 0


def test_lock_is_free_after_use(cache: Path) -> None:
    told = Told()
    for _ in range(2):
        with locked("x", "working", told):
            pass
    assert not told.warnings


def test_interrupted_build_folder_is_wiped(cache: Path) -> None:
    with pytest.raises(KeyboardInterrupt), building("qemu") as out:
        (out / "object").touch()
        raise KeyboardInterrupt
    with building("qemu") as out:
        assert not list(out.iterdir())


def test_build_folder_is_kept_after_a_compiler_error(cache: Path) -> None:
    with pytest.raises(BuildError), building("qemu") as out:
        (out / "object").touch()
        raise BuildError("exit 1 from: make", details="error: expected ';'")
    with building("qemu") as out:
        assert (out / "object").exists()


def test_too_little_space_is_found_before_the_work(cache: Path) -> None:
    with (
        pytest.raises(BuildError, match="not enough space") as error,
        job("x", "building x", Silent(), need_bytes=1 << 60),
    ):
        pass
    assert error.value.hint is not None
    assert "FASTBALLOON_CACHE" in error.value.hint


@pytest.mark.parametrize(
    "trouble", [OSError(errno.ENOSPC, "x"), BuildError("exit 1 from: cc", details="cc: No space left on device")]
)
def test_disk_that_fills_up(cache: Path, trouble: Exception) -> None:
    with pytest.raises(BuildError, match="not enough space"), job("x", "building x", Silent(), need_bytes=0):
        raise trouble


@pytest.fixture
def tiny_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tiny", disk], check=False).returncode:
        pytest.skip("only root may mount a tiny disk")
    monkeypatch.setenv("FASTBALLOON_CACHE", str(disk / "cache"))
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_really_full_disk(tiny_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "_AS_GOOD_AS_FULL", 0)  # go by what the command says
    with (
        pytest.raises(BuildError, match="not enough space") as error,
        job("kernel", "building kernel-fake", Silent(), need_bytes=0) as work,
        building("kernel") as out,
    ):
        work.run(["dd", "if=/dev/zero", f"of={out / 'object'}", "bs=64k"])
    assert error.value.exit_code == 3
    (tiny_disk / "cache/work/kernel/object").unlink()
    with building("kernel") as out:
        assert not list(out.iterdir())


def test_cache_folder_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("FASTBALLOON_CACHE", str(tmp_path / "file/cache"))
    with pytest.raises(PreconditionError, match="cannot make the cache folder"):
        checked_cache_dir()
    monkeypatch.setenv("FASTBALLOON_CACHE", str(tmp_path / "a b"))
    with pytest.raises(PreconditionError, match="no spaces"):
        checked_cache_dir()
