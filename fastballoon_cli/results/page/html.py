"""A Page as one HTML page that needs nothing beside it."""

from html import escape
from importlib import resources

from fastballoon_cli.plain import one_line
from fastballoon_cli.results.page.colours import style
from fastballoon_cli.results.page.model import Bars, Block, Cell, Colour, Figures, Grid, Lines, Page, Row, Section, Tone
from fastballoon_cli.results.page.svg import picture

__all__ = ["html_page"]


def html_page(page: Page) -> str:
    """Return a report as one page: its style and its pictures are in it."""
    layout = (resources.files("fastballoon_cli.results.page") / "page.css").read_text()
    title = _escape(page.title)
    return (
        "<!DOCTYPE html>\n"
        '<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        # A page without an icon is asked for one by every browser, and that is a request and an error.
        '<link rel="icon" href="data:,">\n'
        f"<title>{title}</title>\n<style>\n{style(':root')}{layout}</style>\n</head>\n"
        f"<body>\n<main>\n<h1>{title}</h1>\n{''.join(map(_section, page.sections))}</main>\n</body>\n</html>\n"
    )


def _section(section: Section) -> str:
    inner = "".join(_block(block, section.title) for block in section.blocks)
    return f"<section>\n<h2>{_escape(section.title)}</h2>\n{inner}</section>\n"


def _block(block: Block, about: str) -> str:
    match block:
        case Grid():
            return _table(block, about)
        case Figures():
            return _figures(block)
        case Bars() | Lines():
            return f"<figure>\n{picture(block)}\n</figure>\n"
    return f"<p>{_escape(block.text)}</p>\n"


def _figures(block: Figures) -> str:
    shown = "".join(
        f'<div{_edge(figure.colour)}><dt>{_escape(figure.label)}</dt><dd class="value">{_escape(figure.value)}</dd>'
        f"<dd>{_escape(figure.remark)}</dd></div>\n"
        for figure in block.figures
    )
    return f'<dl class="figures">\n{shown}</dl>\n'


def _edge(colour: Colour | None) -> str:
    return f' style="border-left-color:var(--{colour})"' if colour else ""


def _table(grid: Grid, about: str) -> str:
    header = "".join(f'<th scope="col"{_side(grid, n)}>{_cell(cell)}</th>' for n, cell in enumerate(grid.header))
    head = f"<thead><tr>{header}</tr></thead>\n" if grid.header else ""
    rows = "".join(f"<tr>{_row(grid, row)}</tr>\n" for row in grid.rows)
    # A wide table scrolls in a box of its own, which the keyboard can reach, and leaves the page where it is.
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{_escape(about)}: table">'
        f"<table>\n{head}<tbody>\n{rows}</tbody>\n</table></div>\n"
    )


def _row(grid: Grid, row: Row) -> str:
    if grid.heads(row):
        return f'<th scope="colgroup" class="head" colspan="{grid.columns}">{_cell(row[0])}</th>'
    cells = "".join(f"<td{_side(grid, n)}>{_cell(cell)}</td>" for n, cell in enumerate(row) if n)
    return f'<th scope="row">{_cell(row[0])}</th>{cells}'


def _side(grid: Grid, column: int) -> str:
    return "" if grid.is_words(column) else ' class="number"'


def _cell(cell: str | Cell) -> str:
    text = _escape(str(cell))
    if isinstance(cell, str):
        return text
    if cell.colour:
        swatch = f'<span class="swatch" style="background:var(--{cell.colour})"></span>'
        return f'<span class="name">{swatch}{text}</span>'
    return text if cell.tone is Tone.PLAIN else f'<span class="{cell.tone}">{text}</span>'


def _escape(text: str) -> str:
    return escape(one_line(text))
