"""``fastballoon compare``: two Result files, or two variants in one."""

import re
import sys
from pathlib import Path
from typing import Any

import click

from fastballoon_cli.cli.common import Context, pass_context
from fastballoon_cli.cli.parameter import ParamType
from fastballoon_cli.errors import RegressionError, UsageError
from fastballoon_cli.results.bench import BenchResult
from fastballoon_cli.results.compare import MIN_SAMPLES, Comparison
from fastballoon_cli.results.compare import compare as compare_results
from fastballoon_cli.results.files import ResultFile, load
from fastballoon_cli.results.page.terminal import terminal
from fastballoon_cli.results.report.compare import comparison_page

__all__ = ["compare"]

_SHARE = re.compile(r"(\d+(?:\.\d+)?)\s*%")


class _Share(ParamType[float]):
    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        match = _SHARE.fullmatch(str(value).strip())
        if match is None:
            self.fail(f"'{value}' is not a share such as 10%", param, ctx)
        return float(match[1]) / 100


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="A [B]")
@click.option(
    "--variants", nargs=2, metavar="A B", help="Compare variant A (of the first file) with variant B (of the last)."
)
@click.option("--force", is_flag=True, help="Compare what was measured on other machines or with other settings, too.")
@click.option(
    "--fail-if-slower",
    "allowed",
    type=_Share(),
    metavar="SHARE",
    help="Exit with 8 if B takes longer than A by more than SHARE, such as 10%, and not by chance.",
)
@pass_context
def compare(
    ctx: Context, files: tuple[Path, ...], variants: tuple[str, str] | None, force: bool, allowed: float | None
) -> None:
    """Compare two Result files of bench, or two variants in one.

    Says for each metric the ratio of the medians, B over A, and the interval that it lies in with 95 % confidence:
    faster or slower if that does not contain 1. Files from different machines or settings are refused.

    \b
    Example:
      fastballoon compare before.json after.json --fail-if-slower 10%
      fastballoon compare before.json --variants stock fast
    """
    if len(files) > 2 or (len(files) == 1 and not variants):
        raise UsageError(
            f"{len(files)} {'file' if len(files) == 1 else 'files'} cannot be compared",
            hint="name two files, or one and --variants A B",
        )
    first, last = load(files[0]), load(files[-1])
    a, b = _bench(first), _bench(last)
    for side, bench, name in zip((first, last), (a, b), variants or (), strict=False):
        if bench.case(name) is None:
            having = ", ".join(case.variant for case in bench.cases if case.samples)
            raise UsageError(f"{side.path} has no samples of '{name}'", hint=f"it has: {having or 'none at all'}")
    comparison = compare_results(a, b, variants)
    _check(comparison, force=force, judged=allowed is not None)
    regressions = [] if allowed is None else comparison.regressions(allowed)
    document = {**comparison.document(), "files": [str(file) for file in files], "forced": force}
    if allowed is not None:
        document |= {"allowed_slower": allowed, "regressions": regressions}
    names = ("A", "B") if first.name == last.name else (first.name, last.name)
    ctx.output.emit(document, *terminal(comparison_page(comparison, *names).sections))
    if regressions:
        # The document is out and says it all, so this is no error on top of it.
        ctx.output.say(f"{RegressionError.meaning} ({allowed:.0%}): {'; '.join(regressions)}")
        sys.exit(RegressionError.exit_code)


def _bench(file: ResultFile) -> BenchResult:
    if file.bench is None:
        raise UsageError(
            f"{file.path} is a single {file.operation}: one sample cannot be compared",
            hint=f"take several: fastballoon bench {file.operation}",
        )
    return file.bench


def _check(comparison: Comparison, *, force: bool, judged: bool) -> None:
    if comparison.differences and not force:
        raise UsageError(
            f"the two differ in more than their variants: {'; '.join(map(str, comparison.differences))}",
            hint="measure both in one run, or compare them all the same with --force",
        )
    if not comparison.pairs and not comparison.lost:
        raise UsageError("the two have no variant in common that was measured", hint="name two with --variants A B")
    if judged and (few := comparison.too_few()):
        raise UsageError(
            f"fewer than {MIN_SAMPLES} samples of {', '.join(few)}: too few to judge",
            hint=f"measure with --repeat {MIN_SAMPLES} or more",
        )
