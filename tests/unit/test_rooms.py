"""Which room imports which: arrows go one way, in the tool and within ``results``."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import fastballoon_cli

_PACKAGE = Path(fastballoon_cli.__file__).parent
_ROOT = _PACKAGE.parent
_MOST_LINES = 400
_RESULTS = _PACKAGE / "results"
_NAME = "fastballoon_cli.results"


def _imported(source: str) -> Iterator[str]:
    """Yield every module that a source imports, at its top or inside a function."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from (one.name for one in names)
            case ast.ImportFrom(module=module, names=names, level=0):
                # What is imported may be a module itself.
                yield from (f"{module}.{one.name}" for one in names)
            case ast.ImportFrom():
                raise AssertionError("a relative import")


def _reaches(source: str, *rooms: str) -> list[str]:
    return [name for name in _imported(source) if any(f"{name}.".startswith(f"{room}.") for room in rooms)]


def _sources(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.py"))


@pytest.mark.parametrize("path", _sources(_RESULTS), ids=lambda path: path.stem)
def test_numbers_know_nothing_of_how_they_are_shown(path):
    assert _reaches(path.read_text(), f"{_NAME}.report", f"{_NAME}.page", "rich") == []


@pytest.mark.parametrize("path", _sources(_RESULTS / "page"), ids=lambda path: path.stem)
def test_a_page_is_written_without_knowing_what_it_says(path):
    found = _reaches(path.read_text(), _NAME)
    assert [name for name in found if not name.startswith(f"{_NAME}.page.")] == []


@pytest.mark.parametrize("path", _sources(_RESULTS / "report"), ids=lambda path: path.stem)
def test_what_is_said_does_not_depend_on_how_it_is_written(path):
    written_as = [f"{_NAME}.page.{one.stem}" for one in _sources(_RESULTS / "page") if one.stem != "model"]
    assert _reaches(path.read_text(), *written_as, "rich") == []


#: Each room, and those that it may import from beside itself and the modules that lie beside the rooms.
_ROOMS = {
    "host": (),
    "qemu": (),
    "guest": (),
    "build": (),
    "results": (),
    "libvirt": ("qemu",),
    "machine": ("host", "qemu", "libvirt", "guest", "build"),
    "ops": ("host", "qemu", "libvirt", "guest", "build", "machine", "results"),
    "cli": ("build", "libvirt", "machine", "ops", "qemu", "results", "guest"),
}


def test_every_room_has_its_place():
    assert {path.parent.name for path in _PACKAGE.glob("*/__init__.py")} == set(_ROOMS)


@pytest.mark.parametrize(
    "path", [path for room in _ROOMS for path in sorted((_PACKAGE / room).rglob("*.py"))], ids=lambda path: path.stem
)
def test_arrows_go_one_way(path):
    room = path.relative_to(_PACKAGE).parts[0]
    others = [other for other in _ROOMS if other != room and other not in _ROOMS[room]]
    assert _reaches(path.read_text(), *(f"fastballoon_cli.{other}" for other in others)) == []


def test_no_module_is_long():
    folders = ("fastballoon_cli", "guest_agent", "tests")
    written = [*(_ROOT / "scripts").iterdir(), *(path for one in folders for path in (_ROOT / one).rglob("*.py"))]
    lines = {path.name: len(path.read_text().splitlines()) for path in written}
    assert "test_rooms.py" in lines
    assert {name: count for name, count in lines.items() if count > _MOST_LINES} == {}


def test_what_is_imported_is_declared():
    """Not by way of something else that needs it today."""
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]
    declared = {re.split(r"[<>=!~ \[]", one)[0].lower() for one in project["dependencies"]}
    tops = {name.partition(".")[0] for path in _PACKAGE.rglob("*.py") for name in _imported(path.read_text())}
    others = tops - sys.stdlib_module_names - {"fastballoon_cli", "guest_agent", "kernel_patches", "qemu_patches"}
    assert "paramiko" in others
    known = packages_distributions()
    assert {top for top in others if not declared & {name.lower() for name in known[top]}} == set()


#: Each module of a bench, and those of the bench that it may import.
_BENCH = {
    "variants": (),
    "plan": ("variants",),
    "states": ("plan",),
    "scenarios": ("plan", "variants"),
    "run": ("plan", "variants", "states", "scenarios"),
    "suite": ("plan", "variants", "run"),
}


def test_operations_know_nothing_of_benches():
    for path in _sources(_PACKAGE / "ops"):
        assert _reaches(path.read_text(), "fastballoon_cli.ops.bench") == [], path.name


def test_every_module_of_a_bench_has_its_place():
    assert {path.stem for path in _sources(_PACKAGE / "ops" / "bench")} - {"__init__"} == set(_BENCH)


@pytest.mark.parametrize("name", _BENCH)
def test_arrows_go_one_way_in_a_bench(name):
    others = [f"fastballoon_cli.ops.bench.{other}" for other in _BENCH if other not in (name, *_BENCH[name])]
    assert _reaches((_PACKAGE / "ops" / "bench" / f"{name}.py").read_text(), *others) == []


def test_every_way_to_import_is_seen():
    module = f"{_NAME}.page"
    for source in (
        f"import {module}",
        f"import {module}.html as one",
        f"from {module} import svg",
        f"from {_NAME} import page",
        f"def f():\n    from {module}.model import Page",
    ):
        assert _reaches(source, module), source
    assert _reaches(f"import {_NAME}.pages", module) == []
