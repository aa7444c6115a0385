"""Which part of ``results`` imports which: numbers, then what is said of them, then how it is written."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import fastballoon_cli

_PACKAGE = Path(fastballoon_cli.__file__).parent
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


@pytest.mark.parametrize("path", sorted(_RESULTS.rglob("*.py")), ids=lambda path: path.stem)
def test_results_need_no_machine(path):
    rooms = ("build", "cli", "guest", "host", "libvirt", "machine", "ops", "policy", "qemu")
    assert _reaches(path.read_text(), *(f"fastballoon_cli.{room}" for room in rooms)) == []


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
