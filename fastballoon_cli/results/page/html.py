"""A report as one HTML page that needs nothing beside it."""

from collections.abc import Mapping
from html import escape
from importlib import resources

from fastballoon_cli.results.page.model import Bars, Block, Chart, Grid, Lines, Page, Section
from fastballoon_cli.results.page.text import chart

__all__ = ["html_page"]


def html_page(page: Page, pictures: Mapping[str, str]) -> str:
    """Return a report as one page: its style and its pictures are in it.

    :param pictures: slug of a chart -> its picture as an ``<svg>`` element; without one it is drawn with characters.
    """
    style = (resources.files("fastballoon_cli.results.page") / "page.css").read_text()
    return (
        "<!DOCTYPE html>\n"
        '<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        # A page without an icon is asked for one by every browser, and that is a request and an error.
        '<link rel="icon" href="data:,">\n'
        f"<title>{escape(page.title)}</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body>\n<main>\n<h1>{escape(page.title)}</h1>\n"
        + "".join(_section(section, pictures) for section in page.sections)
        + "</main>\n</body>\n</html>\n"
    )


def _section(section: Section, pictures: Mapping[str, str]) -> str:
    inner = "".join(_block(block, pictures) for block in section.blocks)
    return f"<section>\n<h2>{escape(section.title)}</h2>\n{inner}</section>\n"


def _block(block: Block, pictures: Mapping[str, str]) -> str:
    match block:
        case Grid():
            return _table(block)
        case Bars() | Lines():
            return _figure(block, pictures)
    return f"<p>{escape(block.text)}</p>\n"


def _figure(shown: Chart, pictures: Mapping[str, str]) -> str:
    drawn = pictures.get(shown.slug)
    if drawn is None:
        text = "\n".join(line.plain for line in chart(shown))
        drawn = f'<pre role="img" aria-label="{escape(shown.alt)}" tabindex="0">{escape(text)}</pre>'
    return f"<figure>\n{drawn}\n<figcaption>{escape(shown.title)}</figcaption>\n</figure>\n"


def _table(grid: Grid) -> str:
    head = "".join(f'<th scope="col">{escape(title)}</th>' for title in grid.header)
    rows = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in row[1:])}</tr>\n'
        for row in grid.rows
    )
    kind = "words" if grid.words else "numbers"
    # A wide table scrolls in a box of its own, which the keyboard can reach, and leaves the page where it is.
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{escape(grid.header[0] or "settings")} table">'
        f'<table class="{kind}">\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n'
    )
