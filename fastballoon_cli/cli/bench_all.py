"""``fastballoon bench all``: every bench, and a report on them."""

import sys
from pathlib import Path

import click

from fastballoon_cli.aside import write_whole
from fastballoon_cli.cli.bench import warn_if_busy
from fastballoon_cli.cli.common import Context, pass_context
from fastballoon_cli.errors import InterruptedByUser
from fastballoon_cli.ops.bench import suite
from fastballoon_cli.results.files import load
from fastballoon_cli.results.model import SCHEMA_VERSION
from fastballoon_cli.results.page.files import markdown
from fastballoon_cli.results.page.html import html_page
from fastballoon_cli.results.page.terminal import terminal
from fastballoon_cli.results.report.report import report

__all__ = ["bench_all"]


@click.command("all")
@click.option("--quick", is_flag=True, help="Fewer samples of smaller guests: 6 minutes on two cores.")
@click.option("--accel", type=click.Choice(["auto", "kvm", "tcg"]), default="auto", show_default=True,
              help="auto takes KVM where a guest really boots on it.")  # fmt: skip
@click.option(
    "--out-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("fastballoon-results"),
    show_default=True,
    metavar="DIR",
    help="Where the Result files and the report go.",
)
@pass_context
def bench_all(ctx: Context, quick: bool, accel: str, out_dir: Path) -> None:
    """Run every bench, one after the other, and write a report.

    Each bench has a Result file of its own in DIR. Those that are finished there are not run again: after an
    interruption the same command goes on.

    \b
    Example:
      fastballoon bench all --quick
    """
    ctx.own()
    out = ctx.output
    warn_if_busy(ctx)
    out_dir.mkdir(parents=True, exist_ok=True)
    outcome = suite.run(suite.steps(quick=quick, accel=accel), out_dir, out)
    for path in outcome.resumed:
        out.say(f"was there: {path}")
    document = {
        "schema_version": SCHEMA_VERSION,
        "operation": "bench-all",
        "files": [str(path) for path in outcome.files],
        "resumed": [str(path) for path in outcome.resumed],
        "failed": {name: error.message for name, error in outcome.failed.items()},
        "interrupted": outcome.interrupted,
        "report": None,
    }
    shown = []
    if outcome.files:
        page = report([load(path) for path in outcome.files])
        written = out_dir / f"{'quick-' if quick else ''}report.html"
        write_whole(written, html_page(page))
        write_whole(written.with_suffix(".md"), markdown(page, {}, out_dir))
        document["report"] = str(written)
        shown = [*terminal(page.sections), f"\nreport: {written}"]
    out.emit(document, *shown)
    if outcome.interrupted:
        out.say("interrupted; the same command goes on where it was")
        sys.exit(InterruptedByUser.exit_code)
    if outcome.failed:
        out.say(f"gave no result: {', '.join(outcome.failed)}; the same command tries them again")
        sys.exit(next(iter(outcome.failed.values())).exit_code)
