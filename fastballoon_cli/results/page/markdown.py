"""A report as Markdown."""

import re
from collections.abc import Mapping

from fastballoon_cli.results.page.model import Bars, Block, Grid, Lines, Page
from fastballoon_cli.results.page.text import chart

__all__ = ["markdown_page"]

#: What Markdown or HTML would take for its own.
_SPECIAL = re.compile(r"([\\`*_|<>\[\]])")


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
        case Bars() | Lines():
            if picture := pictures.get(block.slug):
                return f"![{_escape(block.alt)}](<{picture}>)"
            return "\n".join(f"    {line.plain}".rstrip() for line in chart(block))
    return _escape(block.text)


def _table(grid: Grid) -> str:
    rule = ["---" if grid.words or not number else "---:" for number in range(len(grid.header))]
    lines = [grid.header, rule, *grid.rows]
    return "\n".join(f"| {' | '.join(cell if line is rule else _escape(cell) for cell in line)} |" for line in lines)


def _escape(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", text)
