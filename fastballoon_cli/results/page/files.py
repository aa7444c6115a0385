"""A Page as files: the HTML page or the Markdown document, and its pictures."""

import os
from pathlib import Path

from fastballoon_cli.results.page.markdown import markdown_page
from fastballoon_cli.results.page.model import Page
from fastballoon_cli.results.page.svg import standalone

__all__ = ["markdown", "write", "write_pictures"]


def markdown(page: Page, pictures: dict[str, Path], folder: Path) -> str:
    """Return a report as Markdown.

    :param pictures: as :func:`write_pictures` returned them; a chart without one is drawn with characters.
    :param folder: where the document will be: links to pictures begin there.
    """
    return markdown_page(page, {slug: os.path.relpath(path, folder) for slug, path in pictures.items()})


def write_pictures(page: Page, folder: Path) -> dict[str, Path]:
    """Write a report's charts to ``folder`` as SVG files and return where each one is: slug -> path."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for chart in page.charts():
        paths[chart.slug] = folder / f"{chart.slug}.svg"
        write(paths[chart.slug], standalone(chart))
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
