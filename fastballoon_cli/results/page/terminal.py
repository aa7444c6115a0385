"""A Page on a terminal: rich tables and bars. What it says is handed to rich as text, never as markup."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from rich import box
from rich.console import Console, ConsoleOptions, JustifyMethod, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from fastballoon_cli.plain import one_line, width
from fastballoon_cli.results.page.colours import TERMINAL, TONES
from fastballoon_cli.results.page.model import Bars, Block, Cell, Chart, Figures, Grid, Lines, Row, Section
from fastballoon_cli.results.page.text import chart

__all__ = ["terminal"]


_Measure = Callable[[str], int]


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
            return [_Tables(block)]
        case Figures():
            return [_figures(block)]
        case Bars() | Lines():
            return [Text(), _Drawn(block), Text()]
    return [Text(one_line(block.text))]


@dataclass(frozen=True)
class _Drawn:
    """A chart, as wide as there is room for."""

    shown: Chart

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> RenderResult:
        yield from chart(self.shown, options.max_width)


@dataclass(frozen=True)
class _Tables:
    """A grid as a table for the rows below each heading, as rich knows no cell across columns; nothing of it is cut.

    Where not even single words fit beside each other, each row is a sentence.
    """

    grid: Grid

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if _together(self._columns(_longest_word, _longest_word)) > options.max_width:
            yield from map(self._sentence, self.grid.rows)
            return
        widths = self._shared_widths(options.max_width)
        together = widths is not None
        if together:
            yield self._table(widths, show_header=bool(self.grid.header))
        for title, rows in self._parts():
            table = self._table(widths, show_header=bool(self.grid.header) and not together, show_edge=not together)
            for row in rows:
                table.add_row(*map(_cell, row))
            if title:
                yield Text(title, "italic")
            if rows:
                yield Padding(table, (0, 0, 1, 1), expand=False) if together else table

    def _shared_widths(self, room: int) -> list[int] | None:
        """Return how wide the columns of all tables are, or None: each is as it needs to be.

        Titles are whole where there is room for that, else in lines of whole words; cells are always whole.
        """
        if not any(map(self.grid.heads, self.grid.rows)):
            return None  # there is one table
        choices = (self._columns(title, width) for title in (width, _longest_word))
        return next((widths for widths in choices if _together(widths) <= room), None)

    def _columns(self, title: _Measure, cell: _Measure) -> list[int]:
        """Return how wide each column is by these measures of a title and of a cell."""
        rows = [row for row in self.grid.rows if not self.grid.heads(row)]
        titles = [title(str(one)) for one in self.grid.header] or [0] * self.grid.columns
        return [max([least, *(cell(str(row[n])) for row in rows)]) for n, least in enumerate(titles)]

    def _sentence(self, row: Row) -> Text:
        if self.grid.heads(row):
            return Text(one_line(str(row[0])), "italic")
        titles = self.grid.header or ("",) * self.grid.columns
        told = (Text(" ").join(filter(None, map(_cell, pair))) for pair in zip(titles[1:], row[1:], strict=True))
        return Text.assemble((_cell(row[0]).plain, "bold"), ": ", Text(", ").join(told))

    def _parts(self) -> list[tuple[str, list[Row]]]:
        """Return each heading, and the rows below it."""
        parts: list[tuple[str, list[Row]]] = [("", [])]
        for row in self.grid.rows:
            if self.grid.heads(row):
                parts.append((one_line(str(row[0])), []))
            else:
                parts[-1][1].append(row)
        return parts

    def _table(self, widths: list[int] | None, *, show_header: bool, show_edge: bool = True) -> Table:
        table = Table(box=box.SIMPLE, pad_edge=False, show_header=show_header, show_edge=show_edge)
        for n in range(self.grid.columns):
            title = _cell(self.grid.header[n]) if self.grid.header else ""
            side: JustifyMethod = "left" if self.grid.is_words(n) else "right"
            table.add_column(title, justify=side, width=widths[n] if widths else None, style="" if n else "bold")
        return table


def _together(widths: list[int]) -> int:
    """Return how wide columns are with three blanks between two of them, and one at either end."""
    return sum(widths) + 3 * len(widths) - 1


def _longest_word(title: str) -> int:
    return max(map(width, title.split()), default=0)


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
