"""What must hold for a patch series before anybody else sees it."""

import re
from pathlib import Path

from fastballoon_cli.build import sources, trees
from fastballoon_cli.build.compiler import compiler_version
from fastballoon_cli.build.devtree import patched_tree
from fastballoon_cli.build.git import git
from fastballoon_cli.build.job import Job, job
from fastballoon_cli.build.kernel import compile_kernel, configure_kernel
from fastballoon_cli.build.packages import require
from fastballoon_cli.build.paths import Product
from fastballoon_cli.build.qemu import QTESTS, compile_qemu
from fastballoon_cli.build.series import Series, load_series
from fastballoon_cli.build.store import passed_file
from fastballoon_cli.build.variants import Variant
from fastballoon_cli.build.workdir import building
from fastballoon_cli.errors import BuildError
from fastballoon_cli.progress import Progress
from fastballoon_cli.units import GIB

__all__ = ["check_series", "trailers", "warnings_in"]

#: Raised when the checks become stricter.
_RECIPE = 1
_TRAILER = re.compile(r"^(?:[A-Z][\w-]*-by|Cc|Change-Id|Link|Message-ID): .*", re.IGNORECASE | re.MULTILINE)
_WARNING = re.compile(r"^(?:\.\./)*(?:.*/)?(?P<path>[\w./+-]+?):\d+(?::\d+)?: warning: .*", re.MULTILINE)
_CHECKPATCH: dict[Product, tuple[str, ...]] = {
    # Whoever sends a patch upstream signs it off and enters new files in MAINTAINERS.
    "kernel": ("--quiet", "--show-types", "--ignore", "MISSING_SIGN_OFF,FILE_PATH_CHANGES"),
    "qemu": ("--quiet", "--no-signoff"),
}


def check_series(product: Product, progress: Progress, *, build_each: bool = True) -> None:
    """Check that the series applies, that checkpatch is content, and that each patch builds without new warnings.

    One that passed is not checked again until it, its source or the compiler changes.

    :param build_each: build the tree after each patch: up to half an hour for a series that changes common headers.
    :raise BuildError: with all findings.
    """
    series = load_series(product)
    with job(product, f"checking the series of {product}", progress, need_bytes=GIB) as work:
        require("sources", product)
        # What passed with builds has passed without them.
        if any(file.exists() for file in (_passed_file(series, True), _passed_file(series, build_each)) if file):
            return
        tree = patched_tree(series, work)
        # checkpatch looks at the tree, so that must be the one that a patch is for; the whole series will do.
        trees.checkout(tree, trees.series_branch(series), work)
        findings = [
            *(f for patch in series.patches for f in _style(series, patch, tree, work)),
            *(_build_each(series, tree, work) if build_each else ()),
        ]
        if findings:
            raise BuildError(f"the series of {product} has {len(findings)} findings", details="\n".join(findings))
        passed = _passed_file(series, build_each)
        assert passed is not None
        passed.touch()


def _passed_file(series: Series, build_each: bool) -> Path | None:
    source = sources.fetched(series)
    if source is None:
        return None
    fragment = series.directory / "guest.config"
    inputs = {
        "recipe": _RECIPE,
        "build_each": build_each,
        "series": series.sha256,
        "source": source.sha256,
        "compiler": compiler_version(),
        "fragment": fragment.read_text() if fragment.exists() else None,
    }
    return passed_file(series.product, inputs)


def trailers(message: str) -> list[str]:
    """Return the trailers in a patch's message that the project does not write."""
    return _TRAILER.findall(message)


def warnings_in(output: str, touched: set[str]) -> list[str]:
    """Return the compiler's warnings about files that a patch touches.

    :param touched: paths from the tree's root.
    """
    found = dict.fromkeys(m[0] for m in _WARNING.finditer(output) if any(t in m[0] for t in touched))
    return list(found)


def _style(series: Series, patch: Path, tree: Path, work: Job) -> list[str]:
    work.progress.step(f"check {patch.name}")
    text = patch.read_text()
    found = [f"{patch.name}: trailer '{line}'" for line in trailers(text.partition("\n---\n")[0])]
    said: list[str] = []
    try:
        checkpatch: list[str | Path] = ["perl", tree / "scripts/checkpatch.pl", *_CHECKPATCH[series.product], patch]
        work.run(checkpatch, cwd=tree, on_line=said.append)
    except BuildError:
        found.append("\n".join([f"{patch.name}:", *said]))
    return found


def _build_each(series: Series, tree: Path, work: Job) -> list[str]:
    head = trees.series_branch(series)
    commits = git(work, tree, ["rev-list", "--reverse", f"{trees.BASE}..{head}"]).split()
    touched = set(git(work, tree, ["diff", "--name-only", trees.BASE, head]).split())
    found: list[str] = []
    for number, (commit, patch) in enumerate(zip(commits, series.patches, strict=True)):
        trees.checkout(tree, commit, work)
        changed = git(work, tree, ["diff", "--name-only", f"{commit}~", commit]).split()
        with building(series.product) as out:
            try:
                if series.product == "qemu":
                    output = _compile_qemu(tree, out, work)
                else:
                    # Only then is there anything new to configure, which takes as long as to compile a patch does.
                    configure = number == 0 or any(Path(name).name.startswith("Kconfig") for name in changed)
                    output = _compile_kernel(tree, out, work, configure=configure)
            except BuildError as e:
                return [*found, f"{patch.name} does not build: {e.message}\n{e.details}"]
        found += [f"{patch.name}: {warning}" for warning in warnings_in(output, touched)]
    return found


def _compile_kernel(tree: Path, out: Path, work: Job, *, configure: bool) -> str:
    if configure:
        # Half a series need not know every symbol of the fragment.
        configure_kernel(Variant.STOCK, load_series("kernel"), tree, out, work)
    return compile_kernel(Variant.FAST, tree, out, work, target="vmlinux")


def _compile_qemu(tree: Path, out: Path, work: Job) -> str:
    # Half a series does not have all the tests.
    tests = [target for target in QTESTS if (tree / target).with_suffix(".c").exists()]
    return compile_qemu(tree, out, ["qemu-system-x86_64", *tests], work)
