"""The tool's own VMs for somebody who is not root: folders of their own, no right to /dev/kvm, builds made by root."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pytest

from fastballoon_cli import build
from fastballoon_cli.build.paths import checkout_dir
from fastballoon_cli.build.series import load_series
from fastballoon_cli.build.sources import fetched
from fastballoon_cli.host import procfs
from fastballoon_cli.progress import Silent
from tests.conftest import await_true

pytestmark = pytest.mark.guest

MIB = 1 << 20
_NOBODY = 65534
_PACKAGES = ("fastballoon_cli", "guest_agent", "kernel_patches", "qemu_patches")
_EVERYBODY_READS = 0o004


def share(source: str, target: str) -> None:
    """Link or copy a file so that everybody may read it."""
    if Path(source).stat().st_mode & _EVERYBODY_READS:
        with suppress(OSError):
            os.link(source, target)
            return
    shutil.copyfile(source, target)
    Path(target).chmod(0o755)


def share_tree(source: Path, target: Path) -> None:
    shutil.copytree(source, target, copy_function=share, ignore=shutil.ignore_patterns("__pycache__"))
    for folder in [target, *(path for path in target.rglob("*") if path.is_dir())]:
        folder.chmod(0o755)


class User:
    """Somebody with a home, a folder for what runs, and nothing else: runs the tool's own process.

    :ivar cache: what root has built, for everybody to read.
    """

    def __init__(self, folder: Path) -> None:
        self.uid = _NOBODY if os.geteuid() == 0 else os.geteuid()
        self.home, self.run, self.cache, self.code = (folder / name for name in ("home", "run", "cache", "code"))
        self.account = {"user": _NOBODY, "group": _NOBODY, "extra_groups": []} if self.uid != os.geteuid() else {}
        for own in (self.home, self.run):
            own.mkdir(mode=0o700)
            if self.account:
                os.chown(own, _NOBODY, _NOBODY)
        self.environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(self.home),
            "XDG_RUNTIME_DIR": str(self.run),
            "FASTBALLOON_CACHE": str(self.cache),
            "PYTHONPATH": f"{self.code}:{self.code / 'site'}",
        }
        self.python = Path(sys.executable)

    def give(self) -> None:
        """Put the tool, and what it needs for VMs with both halves patched, where they may read it."""
        for name in _PACKAGES:
            share_tree(checkout_dir() / name, self.code / name)
        share_tree(Path(sysconfig.get_path("purelib")), self.code / "site")
        fast = build.Variant.FAST
        for made in (build.qemu(fast, Silent()), build.kernel(fast, Silent()), build.image(Silent())):
            share_tree(made.dir, self.cache / "artifacts" / made.dir.name)
        # Of the sources, what says which they are.
        for product in ("kernel", "qemu"):
            source = fetched(load_series(product))
            folder = self.cache / "sources" / product / source.directory.name
            folder.mkdir(parents=True)
            for name in ("source.json", source.main):
                share(str(source.directory / name), str(folder / name))

    def find_python(self) -> bool:
        """Return whether there is one that they may run, and that can load what is compiled for this one."""
        for self.python in (Path(sys.executable).resolve(), Path("/usr/bin/python3")):
            code = f"import sys; sys.exit(sys.version_info[:2] != {sys.version_info[:2]})"
            with suppress(OSError):
                if not subprocess.run([self.python, "-c", code], cwd="/", **self.account, check=False).returncode:
                    return True
        return False

    def may_open_kvm(self) -> bool:
        opened = subprocess.run(["sh", "-c", ": <>/dev/kvm"], **self.account, stderr=subprocess.DEVNULL, check=False)
        return not opened.returncode

    def call(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.python, "-m", "fastballoon_cli", *arguments],
            **self.account,
            env=self.environment | more,
            cwd="/",
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )

    def ok(self, *arguments: str) -> dict:
        ran = self.call("--json", *arguments)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return json.loads(ran.stdout)

    def refused(self, code: int, *arguments: str, **more: str) -> dict:
        begun = time.monotonic()
        ran = self.call("--json", *arguments, **more)
        assert ran.returncode == code, ran.stdout + ran.stderr
        assert "Traceback" not in ran.stderr
        assert time.monotonic() - begun < 30
        return json.loads(ran.stdout)["error"]


@pytest.fixture(scope="module")
def user():
    folder = Path(tempfile.mkdtemp(prefix="fbu-"))
    folder.chmod(0o755)
    somebody = User(folder)
    try:
        if not somebody.find_python():
            pytest.skip(
                f"no Python {sys.version_info[0]}.{sys.version_info[1]} here may be run by another user than root"
            )
        somebody.give()
        yield somebody
        somebody.call("vm", "stop", "--all")
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def vm(user):
    """A VM of theirs."""
    return user.ok("--timeout", "240", "vm", "start", "--name", "own", "--memory", "512M")


def test_what_they_start_is_their_own_and_lies_in_their_folders(user, vm):
    assert vm["directory"] == str(user.run / "fastballoon" / "own")
    assert Path(f"/proc/{vm['pid']}").stat().st_uid == user.uid
    # Confined: a guest that takes over its QEMU starts no program by that.
    assert "Seccomp:\t2\n" in Path(f"/proc/{vm['pid']}/status").read_text()
    if not user.may_open_kvm():
        assert vm["accel"] == "tcg"
    there = [path for top in (user.run, user.home) for path in top.rglob("*")]
    assert {path.lstat().st_uid for path in there} == {user.uid}
    assert [one["name"] for one in user.ok("vm", "list")["vms"]] == ["own"]


def test_they_move_its_balloon_drop_its_cache_and_migrate_it(user, vm):
    assert user.ok("--vm", "own", "vm", "touch", "--size", "200M", "--verify")["mismatches"] == 0
    given = user.ok("--vm", "own", "inflate", "--target", "256M")
    assert (given["method"], given["balloon_bytes"]["after"]) == ("page-bitmap", 256 * MIB)
    assert given["host_rss_bytes"]["before"] - given["host_rss_bytes"]["after"] > 128 * MIB
    assert given["guest_free_bytes"]["after"] < given["guest_free_bytes"]["before"]
    assert user.ok("--vm", "own", "drop-cache")["method"] == "balloon"
    moved = user.ok("--vm", "own", "migrate", "--skip-free", "--verify")
    assert moved["verified"]["mismatches"] == 0
    after = user.ok("vm", "status", "own")
    assert after["pid"] != vm["pid"]
    assert after["balloon_bytes"] == 256 * MIB
    assert user.ok("--vm", "own", "deflate")["balloon_bytes"]["after"] == 0
    assert "uid=0" in user.call("--vm", "own", "vm", "ssh", "--", "id").stdout  # they are root in there


def test_what_they_may_not_is_said(user, vm):
    assert "not below the VM's memory" in user.refused(2, "--vm", "own", "inflate", "--target", "8G")["message"]
    if Path("/dev/kvm").exists() and not user.may_open_kvm():
        asked = user.refused(3, "vm", "start", "--name", "other", "--memory", "512M", "--accel", "kvm")
        assert "may not be opened by this user" in asked["message"]
    if not user.account:
        return  # all of the following is their own
    # What nobody has built for them cannot be built there.
    unbuilt = user.refused(3, "vm", "start", "--name", "other", "--memory", "512M", "--variant", "stock")
    assert str(user.cache) in unbuilt["message"]
    assert "FASTBALLOON_CACHE" in unbuilt["hint"]
    # Somebody else's folder of running VMs.
    elsewhere = user.refused(3, "vm", "list", FASTBALLOON_RUNTIME=str(user.cache))
    assert "not this user's own private folder" in elsewhere["message"]
    assert [one["name"] for one in user.ok("vm", "list")["vms"]] == ["own"]


def test_stopping_leaves_nothing(user, vm):
    pid = user.ok("vm", "status", "own")["pid"]
    assert user.ok("vm", "stop", "own")["stopped"] == ["own"]
    await_true(lambda: procfs.start_time(pid) is None, what="QEMU to be gone")
    assert list((user.run / "fastballoon").iterdir()) == []
    assert [path for path in user.home.rglob("*") if path.is_file()] == []
