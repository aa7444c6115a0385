"""``fastballoon report``: Result files as Markdown, as a page, or on the terminal."""

import sys
from pathlib import Path
from typing import Any

import click

from fastballoon_cli.aside import write_whole
from fastballoon_cli.cli.common import Context, pass_context
from fastballoon_cli.errors import UsageError
from fastballoon_cli.results.files import load
from fastballoon_cli.results.model import SCHEMA_VERSION
from fastballoon_cli.results.page.files import markdown, write_pictures
from fastballoon_cli.results.page.html import html_page
from fastballoon_cli.results.page.terminal import terminal
from fastballoon_cli.results.report.report import report as make_report

__all__ = ["report"]

_FORMATS = ("md", "html", "terminal")


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@click.option(
    "--format",
    "form",
    type=click.Choice(_FORMATS),
    help="html: one page, pictures and all. md: Markdown.  [default: as the name of --out ends, else terminal]",
)
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write to FILE, not stdout."
)
@click.option(
    "--pictures",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="md: write the charts as SVG files to DIR; without it, they are drawn with characters.",
)
@pass_context
def report(ctx: Context, files: tuple[Path, ...], form: str | None, out: Path | None, pictures: Path | None) -> None:
    """Show what Result files say: tables, charts, and where they come from.

    \b
    Example:
      fastballoon report before.json --out report.html
    """
    form = form or _by_name(out) or ("md" if ctx.output.as_json else "terminal")
    if pictures and form != "md":
        raise UsageError("--pictures is for --format md", hint="the page of --format html has its pictures inside")
    if form == "terminal" and (out or ctx.output.as_json):
        raise UsageError("--format terminal is for a terminal", hint="use --format md or html")
    page = make_report([load(file) for file in dict.fromkeys(files)])
    if form == "terminal":
        ctx.output.emit({}, *terminal(page.sections))
        return
    drawn = write_pictures(page, pictures) if pictures else {}
    text = html_page(page) if form == "html" else markdown(page, drawn, out.parent if out else Path())
    document: dict[str, Any] = {"schema_version": SCHEMA_VERSION, "operation": "report", "format": form}
    document |= {"pictures": [str(path) for path in drawn.values()]}
    if out:
        write_whole(out, text)
        ctx.output.emit({**document, "out": str(out)}, f"written to {out}")
    elif ctx.output.as_json:
        ctx.output.emit({**document, "content": text})
    else:
        sys.stdout.write(text)


def _by_name(out: Path | None) -> str | None:
    suffix = out.suffix.lower() if out else ""
    return {".md": "md", ".html": "html", ".htm": "html"}.get(suffix)
