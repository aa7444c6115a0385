"""QEMU's own cases for the balloon: good messages and hostile ones, on the device without a guest.

Nothing of the tool is in them: cases that have passed are not run again before QEMU or they themselves are built anew.
"""

import fcntl
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastballoon_cli import build
from fastballoon_cli.build.qemu import QTESTS
from fastballoon_cli.build.store import passed_file
from fastballoon_cli.host import procfs
from fastballoon_cli.progress import Silent

pytestmark = pytest.mark.qemu

#: Hostile messages that must be among the cases of each program that is about the balloon.
_HOSTILE = 20


#: Of 2 MiB: for two guests of 256 MiB, and one of 32 MiB. Cases that find none are skipped.
_HUGE_PAGES = 272
_NR_HUGE_PAGES = Path("/proc/sys/vm/nr_hugepages")
#: Bytes of memory that must be available for that.
_ENOUGH = 8 << 30


def _add_huge_pages(number: int) -> int:
    """Have the host hold so many more, or less; return by how many there are more now."""
    with _NR_HUGE_PAGES.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        now = int(file.read())
        file.seek(0)
        file.write(str(max(0, now + number)))
        file.flush()
        file.seek(0)
        return int(file.read()) - now


@pytest.fixture
def huge_pages() -> Iterator[bool]:
    """Have the host hold some huge pages, where it may be asked to and has memory enough; whether it does."""
    if os.geteuid() != 0 or procfs.mem_available() < _ENOUGH:
        yield False
        return
    try:
        added = _add_huge_pages(_HUGE_PAGES)
    except OSError:
        yield False
        return
    if added < _HUGE_PAGES:
        # The host's memory is in pieces: with some of them cases would begin that need them all.
        _add_huge_pages(-added)
        added = 0
    yield added > 0
    _add_huge_pages(-added)


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
