"""A report on a terminal: rich tables and bars."""

from rich import box
from rich.console import RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from fastballoon_cli.results.page.model import Bars, Block, Grid, Lines, Page
from fastballoon_cli.results.page.text import chart

__all__ = ["terminal_page"]


def terminal_page(page: Page) -> list[RenderableType]:
    """Return a report's parts, to be printed one after the other."""
    shown: list[RenderableType] = []
    for section in page.sections:
        shown.append(Padding(f"[bold underline]{escape(section.title)}[/]", (1, 0, 0, 0)))
        for block in section.blocks:
            shown += _block(block)
    return shown


def _block(block: Block) -> list[RenderableType]:
    match block:
        case Grid():
            return [_table(block)]
        case Bars() | Lines():
            return ["", *chart(block), ""]
    return [escape(block.text)]


def _table(grid: Grid) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False)
    for number, title in enumerate(grid.header):
        numbers = number and not grid.words
        table.add_column(escape(title), justify="right" if numbers else "left", style="" if number else "bold")
    for row in grid.rows:
        table.add_row(*map(escape, row))
    return table
