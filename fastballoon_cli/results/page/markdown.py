"""A Page as Markdown, as GitHub reads it."""

import re
from collections.abc import Mapping

from fastballoon_cli.plain import one_line
from fastballoon_cli.results.page.model import Bars, Block, Figures, Grid, Lines, Page, Row
from fastballoon_cli.results.page.text import chart

__all__ = ["markdown_page"]

#: What Markdown or HTML would take for its own, wherever it stands, and what makes a link of a bare address.
_SPECIAL = re.compile(r"[\\`*_|<>\[\]#&~$@]|(?<=\w):(?=//)|(?<=\bwww)\.")
#: What would make a list or a rule of a paragraph that begins with it.
_LEADING = re.compile(r"^(?:(?=[+=-])|\d+(?=[.)]))")


def markdown_page(page: Page, pictures: Mapping[str, str]) -> str:
    """Return a report as one Markdown document.

    :param pictures: slug of a chart -> where its picture is; a chart without one is drawn with characters.
    """
    parts = [f"# {_escape(page.title)}"]
    for section in page.sections:
        parts.append(f"## {_escape(section.title)}")
        parts += [_block(block, pictures) for block in section.blocks]
    return "\n\n".join(parts) + "\n"


def _block(block: Block, pictures: Mapping[str, str]) -> str:
    match block:
        case Grid():
            return _table(block)
        case Figures():
            rows = [(figure.label, figure.value, figure.remark) for figure in block.figures]
            return _table(Grid(("", "", ""), rows, words={2}), strong=1)
        case Bars() | Lines():
            if picture := pictures.get(block.slug):
                return f"![{_escape(block.alt)}](<{picture}>)"
            return "\n".join(f"    {line.plain}".rstrip() for line in chart(block))
    return _paragraph(block.text)


def _table(grid: Grid, *, strong: int | None = None) -> str:
    """Return a table.

    :param strong: the column that stands out.
    """
    rule = " | ".join("---" if grid.is_words(column) else "---:" for column in range(grid.columns))
    header = _row(grid.header or ("",) * grid.columns, None)
    lines = [header, f"| {rule} |"]
    for row in grid.rows:
        # A row of one cell heads those below it: as wide as the others, as Markdown knows no other.
        lines.append(_row((*row, *("",) * (grid.columns - 1)), 0) if grid.heads(row) else _row(row, strong))
    return "\n".join(lines)


def _row(row: Row, strong: int | None) -> str:
    cells = [_escape(str(cell)).strip() for cell in row]
    if strong is not None and cells[strong]:
        cells[strong] = f"**{cells[strong]}**"
    return f"| {' | '.join(cells)} |"


def _paragraph(text: str) -> str:
    return _LEADING.sub(r"\g<0>\\", _escape(text).strip())


def _escape(text: str) -> str:
    return _SPECIAL.sub(r"\\\g<0>", one_line(text))
