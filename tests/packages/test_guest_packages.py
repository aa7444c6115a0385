"""The packages for guests, as they are installed."""

import subprocess
import tarfile
from io import BytesIO

import pytest

from fastballoon_cli.build import guest_packages
from fastballoon_cli.build.module import SHARED
from fastballoon_cli.build.paths import checkout_dir, tree_dir
from fastballoon_cli.build.series import load_series
from fastballoon_cli.build.trees import series_branch
from fastballoon_cli.progress import Silent

pytestmark = pytest.mark.guest

#: A module for several kernels compares versions, and stands in for what others declare.
IGNORED = (
    *("SPACING", "LINUX_VERSION_CODE", "CONSTANT_COMPARISON", "AVOID_EXTERNS", "EMBEDDED_FUNCTION_NAME"),
    *("COMPLEX_MACRO", "MACRO_ARG_UNUSED", "MACRO_ARG_REUSE", "MACRO_ARG_PRECEDENCE"),
)
SOURCES = "./usr/src/fastballoon-0.1.0/"


@pytest.fixture(scope="module")
def installed():
    """Path in the package of the module -> content."""
    package = guest_packages(Silent()).dkms
    content = subprocess.run(["dpkg-deb", "--fsys-tarfile", package], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=BytesIO(content)) as tar:
        return {one.name: tar.extractfile(one).read() for one in tar if one.isfile()}


def test_what_the_module_shares_with_the_series_is_the_same_to_the_byte(installed):
    branch = series_branch(load_series("kernel"))
    for theirs, ours in SHARED.items():
        shown = subprocess.run(
            ["git", "-C", tree_dir("kernel"), "show", f"{branch}:{theirs}"], capture_output=True, check=True
        )
        assert installed[SOURCES + ours] == shown.stdout, theirs


def test_what_it_has_of_its_own_is_in_the_checkout_and_nothing_is_there_twice(installed):
    own = checkout_dir() / "guest_module"
    for path in (name.removeprefix(SOURCES) for name in installed if name.startswith(SOURCES)):
        if path in SHARED.values() or path in {"dkms.conf", "VERSION"}:
            assert not (own / path).exists(), path
        else:
            assert installed[SOURCES + path] == (own / path).read_bytes(), path


def test_what_it_has_of_its_own_is_in_the_kernels_style():
    checked = subprocess.run(
        [tree_dir("kernel") / "scripts/checkpatch.pl", "--no-tree", "--terse", "--ignore", ",".join(IGNORED),
         *(arg for path in sorted((checkout_dir() / "guest_module").rglob("*.[ch]")) for arg in ("-f", path))],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout


def test_it_brings_sources_and_its_papers_and_nothing_else(installed):
    papers = {f"./usr/share/doc/fastballoon-dkms/{name}" for name in ("changelog.gz", "copyright")}
    assert {name for name in installed if not name.startswith(SOURCES)} == papers
    assert b'PACKAGE_VERSION="0.1.0"' in installed[f"{SOURCES}dkms.conf"]
