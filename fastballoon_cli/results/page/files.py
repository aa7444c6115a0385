"""A Page as a Markdown document and files of pictures."""

import os
from pathlib import Path

from fastballoon_cli.aside import write_whole
from fastballoon_cli.results.page.markdown import markdown_page
from fastballoon_cli.results.page.model import Page
from fastballoon_cli.results.page.svg import standalone

__all__ = ["markdown", "write_pictures"]


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
        write_whole(paths[chart.slug], standalone(chart))
    return paths
