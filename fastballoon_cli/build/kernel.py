"""The guest's kernel: the smallest configuration plus our fragments, with or without the patch series."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from fastballoon_cli.build import sources, trees
from fastballoon_cli.build.compiler import ccache_environment, compiler_version, have_ccache, jobs
from fastballoon_cli.build.job import Job, job
from fastballoon_cli.build.kconfig import unknown_symbols, unmet
from fastballoon_cli.build.packages import require
from fastballoon_cli.build.paths import tree_dir, work_dir
from fastballoon_cli.build.planning import source_commands
from fastballoon_cli.build.progressing import LineCounter
from fastballoon_cli.build.series import Series, load_series
from fastballoon_cli.build.sources import Source
from fastballoon_cli.build.store import Inputs, find, key_of, publish, read_meta
from fastballoon_cli.build.variants import KernelRecipe, Plan, Variant, kernel_recipe, patches_of, source_inputs
from fastballoon_cli.build.workdir import building
from fastballoon_cli.errors import BuildError
from fastballoon_cli.process import paste
from fastballoon_cli.progress import Progress
from fastballoon_cli.units import GIB, MIB

__all__ = ["KernelArtifact", "compile_kernel", "configure_kernel", "kernel", "plan_kernel"]

#: Raised when what this module does changes what comes out.
_RECIPE = 1
#: What must be free: source and its git objects 3.6 GiB, objects and compiler cache 0.5 GiB.
_NEED_FRESH = int(4.5 * GIB)
_NEED_AGAIN = 700 * MIB
#: Lines that a whole build prints, for the first one's progress bar.
_USUAL_LINES = 2000

#: Reproducible: no time, user or host of this build in the image.
_ENVIRONMENT: dict[str, str | None] = {
    "KBUILD_BUILD_TIMESTAMP": "2025-01-01 00:00:00 +0000",
    "KBUILD_BUILD_USER": "fastballoon",
    "KBUILD_BUILD_HOST": "localhost",
    "KBUILD_BUILD_VERSION": "1",
    "SOURCE_DATE_EPOCH": "1735689600",
    "KCONFIG_NOTIMESTAMP": "1",
}


@dataclass(frozen=True)
class KernelArtifact:
    """A built kernel.

    :param release: as in ``uname -r``.
    :param series_sha256: of the patches in it, or that its module was made of; None for none.
    :param initrd: what it needs to find the root file system; None for nothing, as all of it is built in.
    """

    dir: Path
    bzimage: Path
    release: str
    series_sha256: str | None
    key: str
    initrd: Path | None = None


def kernel(variant: Variant, progress: Progress) -> KernelArtifact:
    """Return the guest kernel, built if it is not there yet.

    :raise PreconditionError: packages or space are missing.
    :raise BuildError: source, patches or compiler failed.
    """
    series = patches_of(kernel_recipe(variant), load_series("kernel"))
    if done := _cached(variant, series):
        return done
    source = sources.fetched(series)
    need = _NEED_AGAIN if source and tree_dir("kernel").exists() else _NEED_FRESH
    with job("kernel", f"building kernel-{variant}", progress, need_bytes=need) as work:
        if done := _cached(variant, series):  # by the one that we waited for
            return done
        require("sources", "kernel")
        source = sources.obtain(series, work)
        tree = trees.prepare(series, source, work)
        trees.apply_series(series, tree, work)
        trees.checkout(tree, trees.series_branch(series), work)
        _build(variant, series, source, tree, work)
    done = _cached(variant, series)
    assert done is not None
    return done


def plan_kernel(variant: Variant) -> Plan:
    """Return what :func:`kernel` would do."""
    recipe = kernel_recipe(variant)
    series = patches_of(recipe, load_series("kernel"))
    if done := _cached(variant, series):
        return Plan(f"kernel-{variant}", done.dir, [])
    tree, out = tree_dir("kernel"), work_dir(recipe.folder)
    commands = source_commands(series, trees.series_branch(series))
    steps = [*_configure_commands(recipe, series, tree, out), _make_command(tree, out, variant, "bzImage")]
    return Plan(f"kernel-{variant}", None, [*commands, *(f"cd {tree} && {paste(argv)}" for argv in steps)])


def _inputs(variant: Variant, series: Series, source: Source) -> Inputs:
    return {
        **source_inputs(series, source),
        "recipe": _RECIPE,
        "fragment": _wanted(kernel_recipe(variant), series),
        "compiler": compiler_version(),
    }


def _cached(variant: Variant, series: Series) -> KernelArtifact | None:
    source = sources.fetched(series)
    if source is None:
        return None
    key = key_of(_inputs(variant, series, source))
    folder = find("kernel", variant, key)
    meta = read_meta(folder) if folder else None
    if folder is None or meta is None:
        return None
    return KernelArtifact(folder, folder / "bzImage", meta["release"], meta["inputs"]["series_sha256"], key)


def _build(variant: Variant, series: Series, source: Source, tree: Path, work: Job) -> None:
    with building(kernel_recipe(variant).folder) as out:
        config = configure_kernel(variant, series, tree, out, work)
        compile_kernel(variant, tree, out, work)
    release = (out / "include/config/kernel.release").read_text().strip()
    bzimage = out / "arch/x86/boot/bzImage"
    if (found := _release_in(bzimage)) != release:
        raise BuildError(f"{bzimage} says it is Linux '{found}', not '{release}'")
    extra = {"release": release, "series_sha256": series.sha256}
    with publish("kernel", variant, _inputs(variant, series, source), extra) as folder:
        shutil.copyfile(bzimage, folder / "bzImage")
        shutil.copyfile(out / "System.map", folder / "System.map")
        (folder / "config").write_text(config)


def _make_command(tree: Path, out: Path, variant: Variant, *targets: str) -> list[str | Path]:
    ccache = "ccache " if have_ccache() else ""
    return [
        *("make", "-C", tree, f"O={out}", "ARCH=x86_64", f"-j{jobs()}"),
        # Shown by uname -r; and without it, a git tree makes it end in a plus sign.
        f"LOCALVERSION=-{variant}",
        *(f"CC={ccache}gcc", f"HOSTCC={ccache}gcc"),
        *targets,
    ]


def _fragments(recipe: KernelRecipe, series: Series) -> list[Path]:
    return [series.directory / name for name in recipe.fragments]


def _wanted(recipe: KernelRecipe, series: Series) -> str:
    """Return the text of all fragments; what a later one says of a symbol counts."""
    return "".join(path.read_text() for path in _fragments(recipe, series))


def _configure_commands(recipe: KernelRecipe, series: Series, tree: Path, out: Path) -> list[list[str | Path]]:
    return [
        _make_command(tree, out, Variant.FAST, "tinyconfig"),
        [
            tree / "scripts/kconfig/merge_config.sh",
            *("-m", "-O", out, out / ".config"),
            *_fragments(recipe, series),
        ],
        _make_command(tree, out, Variant.FAST, "olddefconfig"),
    ]


def configure_kernel(variant: Variant, series: Series, tree: Path, out: Path, work: Job) -> str:
    """Configure the tree in the folder ``out`` and return the configuration.

    :raise BuildError: the tree cannot be configured as the fragments ask.
    """
    recipe = kernel_recipe(variant)
    work.progress.step("configure the kernel")
    for argv in _configure_commands(recipe, series, tree, out):
        work.run(argv, cwd=tree, env=_ENVIRONMENT)
    config = (out / ".config").read_text()
    if wrong := unmet(_wanted(recipe, series), config):
        new = unknown_symbols(tree, wrong)  # an unmodified kernel does not know what the series brings
        if refused := [name for name in wrong if name not in new]:
            raise BuildError(
                f"the kernel's configuration refuses {', '.join(refused)}",
                hint=f"see what they depend on, and mend {' or '.join(map(str, _fragments(recipe, series)))}",
            )
        if recipe.patched and series.patches:
            raise BuildError(f"neither Linux nor the series knows {', '.join(wrong)}")
    return config


def compile_kernel(variant: Variant, tree: Path, out: Path, work: Job, *, target: str = "bzImage") -> str:
    """Compile a configured tree; return what make says.

    :param target: ``bzImage``, or ``vmlinux`` if nobody is to boot it.
    :raise BuildError: the compiler refused.
    """
    work.progress.step(f"compile kernel-{variant}", total=_USUAL_LINES)
    with LineCounter(work.progress, out.with_name(f"{out.name}.lines"), _USUAL_LINES) as counter:
        argv = _make_command(tree, out, variant, target)
        return work.run(argv, cwd=tree, env={**_ENVIRONMENT, **ccache_environment()}, on_line=counter)


def _release_in(bzimage: Path) -> str:
    """Return the release that a bzImage holds.

    Documentation/arch/x86/boot.rst: "HdrS" at 0x202, kernel_version at 0x20e.
    """
    image = bzimage.read_bytes()
    if image[0x202:0x206] != b"HdrS":
        raise BuildError(f"{bzimage} is no bzImage")
    start = int.from_bytes(image[0x20E:0x210], "little") + 0x200
    return image[start : image.index(b"\0", start)].decode().split(" ")[0]
