"""QEMU's own test programs, from the unmodified source, to be run against any QEMU."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastballoon_cli.build import sources
from fastballoon_cli.build.qemu import compile_qemu, prepare_qemu, qemu_inputs, qemu_job
from fastballoon_cli.build.series import Series, load_series
from fastballoon_cli.build.store import Inputs, find, key_of, publish, read_meta
from fastballoon_cli.build.variants import Variant, patches_of, qemu_recipe
from fastballoon_cli.build.workdir import building
from fastballoon_cli.errors import BuildError
from fastballoon_cli.progress import Progress

__all__ = ["UpstreamTests", "upstream_tests"]

#: Raised when what this module does changes what comes out.
_RECIPE = 1
_SUITE = "qtest-x86_64"
#: What the programs look for in the folder that they run in.
_NEEDED = ("tests/data", "scripts/analyze-migration.py")


@dataclass(frozen=True)
class UpstreamTests:
    """QEMU's own test programs; they find QEMU in ``QTEST_QEMU_BINARY``.

    :param dir: the folder to run them in.
    :param programs: by the names of their files.
    """

    dir: Path
    programs: dict[str, Path]
    key: str


def upstream_tests(progress: Progress) -> UpstreamTests:
    """Return the tests that the unmodified QEMU has for x86_64, built if they are not there yet.

    :raise PreconditionError: packages or space are missing.
    :raise BuildError: source or compiler failed.
    """
    recipe = qemu_recipe(Variant.STOCK)
    series = patches_of(recipe, load_series("qemu"))
    if done := _cached(series):
        return done
    with qemu_job("building upstream-tests", progress) as work:
        if done := _cached(series):  # by the one that we waited for
            return done
        source, tree = prepare_qemu(recipe, series, work)
        with building(recipe.folder) as out:
            # The list is written anew when the build's description has changed, as it has if another variant was built.
            compile_qemu(tree, out, ["build.ninja"], work, recipe=recipe)
            targets = _targets(json.loads((out / "meson-info/intro-tests.json").read_text()), out)
            compile_qemu(tree, out, targets, work, recipe=recipe)
            with publish("upstream-tests", Variant.STOCK, _inputs(series, source), {}) as folder:
                for target in targets:
                    shutil.copy2(out / target, folder / Path(target).name)
                for name in _NEEDED:
                    (folder / name).parent.mkdir(parents=True, exist_ok=True)
                    copy = shutil.copytree if (tree / name).is_dir() else shutil.copy2
                    copy(tree / name, folder / name)
    done = _cached(series)
    assert done is not None
    return done


def _targets(tests: list[dict[str, Any]], out: Path) -> list[str]:
    """Return what ninja has to make, from meson's list of tests."""
    programs = (Path(test["cmd"][0]) for test in tests if any(_SUITE in suite for suite in test["suite"]))
    targets = sorted({str(program.relative_to(out)) for program in programs})
    if not targets:
        raise BuildError(f"QEMU's build knows no tests of the suite {_SUITE}")
    return targets


def _inputs(series: Series, source: sources.Source) -> Inputs:
    return {**qemu_inputs(Variant.STOCK, series, source), "tests": _RECIPE}


def _cached(series: Series) -> UpstreamTests | None:
    source = sources.fetched(series)
    if source is None:
        return None
    key = key_of(_inputs(series, source))
    folder = find("upstream-tests", Variant.STOCK, key)
    meta = read_meta(folder) if folder else None
    if folder is None or meta is None:
        return None
    return UpstreamTests(folder, {name: folder / name for name in meta["sizes"] if "/" not in name}, key)
