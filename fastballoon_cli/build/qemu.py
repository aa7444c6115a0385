"""QEMU for the host, with or without the patch series, and the programs that test its balloon device."""

import os
import re
import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fastballoon_cli.build import sources, trees
from fastballoon_cli.build.buildtools import python_with_meson
from fastballoon_cli.build.compiler import ccache_environment, compiler_version, jobs
from fastballoon_cli.build.job import Job, job
from fastballoon_cli.build.packages import require
from fastballoon_cli.build.paths import tools_dir, tree_dir, work_dir
from fastballoon_cli.build.planning import source_commands
from fastballoon_cli.build.progressing import ninja_progress
from fastballoon_cli.build.series import Series, load_series
from fastballoon_cli.build.sources import Source
from fastballoon_cli.build.store import Inputs, find, key_of, publish, read_meta
from fastballoon_cli.build.variants import Plan, QemuRecipe, Variant, patches_of, qemu_recipe, source_inputs
from fastballoon_cli.build.workdir import building
from fastballoon_cli.errors import BuildError
from fastballoon_cli.process import paste
from fastballoon_cli.progress import Progress
from fastballoon_cli.units import GIB, MIB

__all__ = [
    "QTESTS",
    "QemuArtifact",
    "QtestArtifact",
    "compile_qemu",
    "configure_qemu",
    "plan_qemu",
    "prepare_qemu",
    "qemu",
    "qemu_inputs",
    "qemu_job",
    "qtest",
]

#: Raised when what this module does changes what comes out.
_RECIPE = 1
#: The test programs of the series, as ninja knows them.
QTESTS = (
    "tests/qtest/virtio-balloon-bitmap-test",
    "tests/qtest/virtio-balloon-drop-cache-test",
    "tests/qtest/virtio-balloon-free-pages-test",
    "tests/qtest/tcg-memory-test",
)
_FIRMWARE = (Path("/usr/share/seabios"), Path("/usr/share/qemu"))
#: What must be free: source and its git objects 1.6 GiB, objects and compiler cache 0.6 GiB.
_NEED_FRESH = int(2.5 * GIB)
_NEED_AGAIN = 700 * MIB

_CONFIGURE = (
    "--target-list=x86_64-softmmu",
    "--without-default-features",
    "--enable-system",
    "--enable-tcg",
    "--enable-kvm",
    "--enable-slirp",
    # For -sandbox.
    "--enable-seccomp",
    # What domains of libvirt need: on a host with KVM it asks for vhost-net, and a migration may be encrypted.
    "--enable-vhost-kernel",
    "--enable-vhost-net",
    "--enable-gnutls",
    # For x-colo, with which nothing may be left out of a migration.
    "--enable-replication",
    "--enable-trace-backends=log",
    "--disable-docs",
    "--disable-install-blobs",
    "--disable-download",
    # Half the time to link, a tenth of the size.
    "--disable-debug-info",
)


@dataclass(frozen=True)
class QemuArtifact:
    """A built QEMU.

    :param firmware: folders for ``-L``, in this order.
    :param version: as upstream numbers it.
    :param sha256: of the binary.
    :param series_sha256: of the patches in it; None for none.
    """

    dir: Path
    binary: Path
    firmware: list[Path]
    version: str
    sha256: str
    series_sha256: str | None
    key: str


@dataclass(frozen=True)
class QtestArtifact:
    """The test programs of the QEMU series; they find QEMU in ``QTEST_QEMU_BINARY``.

    :param programs: by the names of their files.
    """

    dir: Path
    programs: dict[str, Path]
    key: str


def qemu(variant: Variant, progress: Progress) -> QemuArtifact:
    """Return QEMU, built if it is not there yet.

    :raise PreconditionError: packages or space are missing.
    :raise BuildError: source, patches or compiler failed.
    """
    recipe = qemu_recipe(variant)
    series = patches_of(recipe, load_series("qemu"))
    if done := _cached(variant, series):
        return done
    with qemu_job(f"building qemu-{variant}", progress) as work:
        if done := _cached(variant, series):  # by the one that we waited for
            return done
        source, tree = prepare_qemu(recipe, series, work)
        with building(recipe.folder) as out:
            compile_qemu(tree, out, [recipe.binary], work, recipe=recipe)
        binary = out / recipe.binary
        version = _verify(binary, work) if recipe.runs_guests else (tree / "VERSION").read_text().strip()
        with publish(
            "qemu", variant, qemu_inputs(variant, series, source), {"version": version, "series_sha256": series.sha256}
        ) as folder:
            shutil.copy2(binary, folder / recipe.binary)
    done = _cached(variant, series)
    assert done is not None
    return done


def qtest(progress: Progress) -> QtestArtifact:
    """Return the test programs of the series, built if they are not there yet.

    :raise PreconditionError: packages or space are missing.
    :raise BuildError: source, patches or compiler failed.
    """
    series = load_series("qemu")
    if done := _cached_qtest(series):
        return done
    with qemu_job("building qtest-fast", progress) as work:
        if done := _cached_qtest(series):
            return done
        recipe = qemu_recipe(Variant.FAST)
        source, tree = prepare_qemu(recipe, series, work)
        with building(recipe.folder) as out:
            compile_qemu(tree, out, QTESTS, work)
        with publish("qtest", Variant.FAST, qemu_inputs(Variant.FAST, series, source), {}) as folder:
            for target in QTESTS:
                shutil.copy2(out / target, folder / Path(target).name)
    done = _cached_qtest(series)
    assert done is not None
    return done


def plan_qemu(variant: Variant) -> Plan:
    """Return what :func:`qemu` would do."""
    recipe = qemu_recipe(variant)
    series = patches_of(recipe, load_series("qemu"))
    if done := _cached(variant, series):
        return Plan(f"qemu-{variant}", done.dir, [])
    tree, out = tree_dir("qemu"), work_dir(recipe.folder)
    python = tools_dir() / "qemu-python/bin/python"
    steps = [_configure_command(tree, python, recipe), _ninja_command(python, [recipe.binary])]
    commands = source_commands(series, trees.series_branch(series))
    return Plan(f"qemu-{variant}", None, [*commands, *(f"cd {out} && {paste(argv)}" for argv in steps)])


def qemu_job(doing: str, progress: Progress) -> AbstractContextManager[Job]:
    """Hold QEMU's lock while something of it is built."""
    fresh = not tree_dir("qemu").exists()
    return job("qemu", doing, progress, need_bytes=_NEED_FRESH if fresh else _NEED_AGAIN)


def prepare_qemu(recipe: QemuRecipe, series: Series, work: Job) -> tuple[Source, Path]:
    """Return the source, and its tree with the patches of a variant.

    :raise PreconditionError: packages are missing.
    :raise BuildError: the source cannot be had, or a patch does not apply.
    """
    require("sources", "qemu", *recipe.packages)
    source = sources.obtain(series, work)
    tree = trees.prepare(series, source, work)
    trees.apply_series(series, tree, work)
    trees.checkout(tree, trees.series_branch(series), work)
    return source, tree


def qemu_inputs(variant: Variant, series: Series, source: Source) -> Inputs:
    """Return all that decides what comes out of a build."""
    recipe = qemu_recipe(variant)
    return {
        **source_inputs(series, source),
        "recipe": _RECIPE,
        "configure": " ".join([*_CONFIGURE, *recipe.options]),
        "compiler": compiler_version(recipe.compiler),
    }


def _cached(variant: Variant, series: Series) -> QemuArtifact | None:
    source = sources.fetched(series)
    if source is None:
        return None
    key = key_of(qemu_inputs(variant, series, source))
    folder = find("qemu", variant, key)
    meta = read_meta(folder) if folder else None
    if folder is None or meta is None:
        return None
    binary = qemu_recipe(variant).binary
    return QemuArtifact(
        dir=folder,
        binary=folder / binary,
        firmware=list(_FIRMWARE),
        version=meta["version"],
        sha256=meta["sha256"][binary],
        series_sha256=meta["inputs"]["series_sha256"],
        key=key,
    )


def _cached_qtest(series: Series) -> QtestArtifact | None:
    source = sources.fetched(series)
    if source is None:
        return None
    key = key_of(qemu_inputs(Variant.FAST, series, source))
    folder = find("qtest", Variant.FAST, key)
    if folder is None:
        return None
    names = [Path(target).name for target in QTESTS]
    return QtestArtifact(folder, {name: folder / name for name in names}, key)


def _configure_command(tree: Path, python: Path, recipe: QemuRecipe) -> list[str | Path]:
    return [tree / "configure", f"--python={python}", *_CONFIGURE, *recipe.options]


def _ninja_command(python: Path, targets: Sequence[str]) -> list[str | Path]:
    return [python.with_name("ninja"), f"-j{jobs()}", *targets]


def _environment(python: Path) -> dict[str, str | None]:
    # Debian's folder of links that call ccache by the compilers' names: meson and configure need no telling.
    return {**ccache_environment(), "PATH": f"{python.parent}:/usr/lib/ccache:{os.environ['PATH']}"}


def configure_qemu(tree: Path, out: Path, work: Job, *, recipe: QemuRecipe) -> Path:
    """Configure the tree in the folder ``out`` unless it is so configured; return the Python that builds it.

    :raise BuildError: configure failed.
    """
    python = python_with_meson(work)
    command = _configure_command(tree, python, recipe)
    stamp = out / ".fastballoon-configured"
    if stamp.exists() and stamp.read_text() == paste(command):
        return python
    work.progress.step("configure qemu")
    for leftover in list(out.iterdir()):
        shutil.rmtree(leftover) if leftover.is_dir() and not leftover.is_symlink() else leftover.unlink()
    work.run(command, cwd=out, env=_environment(python), hint=f"see {out / 'config.log'}")
    stamp.write_text(paste(command))
    return python


def compile_qemu(tree: Path, out: Path, targets: Sequence[str], work: Job, *, recipe: QemuRecipe | None = None) -> str:
    """Configure and compile targets of ninja's; return what ninja says.

    :param recipe: None for that of ``fast``.
    :raise BuildError: the compiler refused.
    """
    python = configure_qemu(tree, out, work, recipe=recipe or qemu_recipe(Variant.FAST))
    what = " and ".join(Path(target).name for target in targets) if len(targets) < 5 else f"{len(targets)} programs"
    work.progress.step(f"compile {what}", total=1)
    return work.run(
        _ninja_command(python, targets),
        cwd=out,
        env=_environment(python),
        on_line=partial(ninja_progress, work.progress),
    )


def _verify(binary: Path, work: Job) -> str:
    """Return the version that the binary says it has.

    :raise BuildError: it does not run, or lacks the balloon.
    """
    answer = work.run([binary, "--version"])
    work.run([binary, "-device", "virtio-balloon-pci,help"])
    # A sanitizer may have something to say before that.
    version = re.search(r"^QEMU emulator version (\S+)", answer, re.MULTILINE)
    if not version:
        raise BuildError(f"{binary} does not say which version it is: {' '.join(answer.split())[:80]}")
    return version[1]
