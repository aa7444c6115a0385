"""A report as files: the page or the Markdown document, and its pictures where they can be drawn."""

import os
from pathlib import Path

from fastballoon_cli.errors import PreconditionError
from fastballoon_cli.results.page import svg as plots
from fastballoon_cli.results.page.html import html_page
from fastballoon_cli.results.page.markdown import markdown_page
from fastballoon_cli.results.page.model import Page

__all__ = ["html", "markdown", "write", "write_pictures"]


def html(page: Page) -> str:
    """Return a report as one page, with pictures where matplotlib is installed and bars of characters elsewhere."""
    drawn = {chart.slug: plots.inline_svg(chart) for chart in page.charts()} if plots.available() else {}
    return html_page(page, drawn)


def markdown(page: Page, pictures: dict[str, Path], folder: Path) -> str:
    """Return a report as Markdown.

    :param pictures: as :func:`write_pictures` returned them; a chart without one is drawn with characters.
    :param folder: where the document will be: links to pictures begin there.
    """
    return markdown_page(page, {slug: os.path.relpath(path, folder) for slug, path in pictures.items()})


def write_pictures(page: Page, folder: Path) -> dict[str, Path]:
    """Write a report's charts to ``folder`` as SVG files and return where each one is.

    :raise PreconditionError: matplotlib is not installed.
    """
    if not plots.available():
        raise PreconditionError("pictures need matplotlib, which is not installed", hint=plots.INSTALL)
    folder.mkdir(parents=True, exist_ok=True)
    paths = {chart.slug: folder / f"{chart.slug}.svg" for chart in page.charts()}
    for chart in page.charts():
        write(paths[chart.slug], plots.standalone_svg(chart))
    return paths


def write(path: Path, text: str) -> None:
    """Write aside and rename, so that a reader never sees half a report."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        aside.write_text(text)
        aside.rename(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
