"""The wheel: installed into a fresh environment, away from the checkout, it has all that a build needs."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.install

_ROOT = Path(__file__).parents[2]


def run(*argv, **more):
    ran = subprocess.run(argv, capture_output=True, text=True, timeout=280, check=False, **more)
    assert ran.returncode == 0, f"{argv}\n{ran.stdout}\n{ran.stderr}"
    return ran.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    # From a clone: setuptools leaves a build folder in its source, and would take old files from one that is there.
    source = tmp_path_factory.mktemp("source") / "fastballoon"
    run("git", "clone", "-q", "--no-hardlinks", str(_ROOT), str(source))
    changed = run("git", "-C", str(_ROOT), "ls-files", "-z", "--modified", "--others", "--exclude-standard").split("\0")
    for name in filter(None, changed):
        target = source / name
        if (_ROOT / name).is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((_ROOT / name).read_bytes())
        else:
            target.unlink(missing_ok=True)
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(out), str(source))
    (path,) = out.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Return the program of a fresh environment, and an environment for it that knows no checkout."""
    folder = tmp_path_factory.mktemp("fresh")
    run(sys.executable, "-m", "venv", str(folder / "venv"))
    run(str(folder / "venv/bin/python"), "-m", "pip", "install", "--quiet", str(wheel))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("FASTBALLOON", "PYTHON"))}
    environment |= {"FASTBALLOON_CACHE": str(folder / "cache"), "FASTBALLOON_RUNTIME": str(folder / "run")}
    return folder / "venv/bin/fastballoon", {"env": environment, "cwd": folder}


def test_the_wheel_carries_what_the_checkout_has(wheel):
    inside = set(zipfile.ZipFile(wheel).namelist())
    folders = {"kernel_patches", "qemu_patches", "guest_agent", "guest_module", "fastballoon_cli"}
    tracked = run("git", "-C", str(_ROOT), "ls-files", *sorted(folders))
    wanted = {name for name in tracked.split() if (_ROOT / name).is_file()}
    assert wanted - inside == set()
    # And nothing that would get in the way of other packages.
    tops = {name.split("/")[0] for name in inside if ".dist-info/" not in name}
    assert tops == folders


def test_a_build_is_planned_away_from_the_checkout(installed):
    program, where = installed
    plans = run(str(program), "build", "--dry-run", **where)
    assert "kernel_patches/linux-6.12/0001-" in plans
    assert "qemu_patches/qemu-10.0/0001-" in plans
    assert str(_ROOT) + "/" not in plans
    # What it names is there.
    patches = [word for line in plans.splitlines() for word in line.split() if word.endswith(".patch")]
    assert patches
    assert all(Path(patch).is_file() for patch in patches)


def test_it_builds_boots_and_inflates_from_there(installed):
    """With the cache that everything else uses: the same series give the same artifacts, so it is quick."""
    program, where = installed
    environment = {name: value for name, value in where["env"].items() if name != "FASTBALLOON_CACHE"}
    if cache := os.environ.get("FASTBALLOON_CACHE"):
        environment["FASTBALLOON_CACHE"] = cache
    there = {**where, "env": environment}
    built = json.loads(run(str(program), "--json", "build", **there))
    assert [one["product"] for one in built["artifacts"]] == ["kernel", "qemu", "image"]
    try:
        # No VM runs: the default one is started.
        inflated = json.loads(run(str(program), "--json", "inflate", "--target", "3G", **there))
    finally:
        run(str(program), "vm", "stop", **there)
    assert inflated["method"] == "page-bitmap"
    assert inflated["balloon_bytes"]["after"] == 3 << 30
    assert json.loads(run(str(program), "--json", "vm", "list", **there))["vms"] == []


def test_the_patches_have_the_sums_of_the_checkout(installed):
    program, where = installed
    ask = (
        "from fastballoon_cli.build.series import load_series\n"
        "print(load_series('kernel').sha256, load_series('qemu').sha256)"
    )
    there = run(str(program.with_name("python")), "-c", ask, **where)
    here = run(sys.executable, "-c", ask, cwd=_ROOT)
    assert there == here


def test_the_parts_that_are_no_python_are_found(installed):
    program, where = installed
    ask = (
        "from importlib.resources import files\n"
        "assert (files('guest_agent') / '__main__.py').is_file()\n"
        "assert (files('fastballoon_cli.build') / 'guest_files' / 'init').is_file()\n"
        "assert (files('fastballoon_cli.results.page') / 'page.css').is_file()\n"
    )
    run(str(program.with_name("python")), "-c", ask, **where)
    assert run(str(program), "--version", **where).startswith("fastballoon, version ")
