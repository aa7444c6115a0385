"""A Page on a terminal: rich tables and bars. What it says is handed to rich as text, never as markup."""

from collections.abc import Iterable

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from fastballoon_cli.plain import one_line
from fastballoon_cli.results.page.colours import TERMINAL, TONES
from fastballoon_cli.results.page.model import Bars, Block, Cell, Figures, Grid, Lines, Section
from fastballoon_cli.results.page.text import chart

__all__ = ["terminal"]


def terminal(sections: Iterable[Section]) -> list[RenderableType]:
    """Return sections as what is printed, one after the other."""
    shown: list[RenderableType] = []
    for section in sections:
        shown += [Text(), Text(one_line(section.title), "bold underline")]
        for block in section.blocks:
            shown += _block(block)
    return shown


def _block(block: Block) -> list[RenderableType]:
    match block:
        case Grid():
            return _tables(block)
        case Figures():
            return [_figures(block)]
        case Bars() | Lines():
            return [Text(), *chart(block), Text()]
    return [Text(one_line(block.text))]


def _tables(grid: Grid) -> list[RenderableType]:
    """Return a table for the rows below each heading: rich knows no cell across columns."""
    shown: list[RenderableType] = []
    table: Table | None = None
    for row in grid.rows:
        if grid.heads(row):
            shown.append(Text(one_line(str(row[0])), "italic"))
            table = None
            continue
        if table is None:
            shown.append(table := _table(grid))
        table.add_row(*map(_cell, row))
    return shown


def _table(grid: Grid) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False, show_header=bool(grid.header))
    for column in range(grid.columns):
        title = _cell(grid.header[column]) if grid.header else ""
        table.add_column(title, justify="left" if grid.is_words(column) else "right", style="" if column else "bold")
    return table


def _figures(block: Figures) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(justify="right")
    for figure in block.figures:
        value = Text(one_line(figure.value), f"bold {TERMINAL[figure.colour]}" if figure.colour else "bold")
        table.add_row(value, Text(one_line(figure.label)), Text(one_line(figure.remark), "dim"))
    return table


def _cell(cell: str | Cell) -> Text:
    if isinstance(cell, str):
        return Text(one_line(cell))
    return Text(one_line(cell.text), TERMINAL[cell.colour] if cell.colour else TONES[cell.tone])
