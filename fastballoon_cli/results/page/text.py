"""Charts as characters, for terminals and for Markdown."""

import math

from rich.text import Text

from fastballoon_cli.results.page.model import Bar, Bars, Chart, Line, Lines
from fastballoon_cli.units import format_duration

__all__ = ["chart"]

_WIDTH = 40
#: One look per part: without colours the characters alone must tell them apart.
_CHARACTERS = "█▓▒░▞·"
_STYLES = ("blue", "magenta", "cyan", "green", "yellow", "dim")
_EIGHTHS = " ▏▎▍▌▋▊▉"
_HEIGHTS = "▁▂▃▄▅▆▇█"


def chart(shown: Chart) -> list[Text]:
    """Return a chart as text: its title, a row for each bar or line, and what the parts of bars are."""
    return _bars(shown) if isinstance(shown, Bars) else _lines(shown)


def _lines(lines: Lines) -> list[Text]:
    labels = max(len(line.label) for line in lines.lines)
    most = max(max(line.bytes) for line in lines.lines)
    shown = [Text(f"{lines.title} (as wide as {format_duration(lines.seconds)})", style="bold")]
    for line in lines.lines:
        drawn = Text(_heights(line, lines.seconds, most), _STYLES[0])
        shown.append(Text.assemble(f"{line.label:<{labels}}  ", drawn, f"  {line.said}"))
    return shown


def _heights(line: Line, seconds: float, most: int) -> str:
    """Return a character for each part of the time that a line has, as high as what is least there."""
    cells: dict[int, int] = {}
    for at, size in zip(line.seconds, line.bytes, strict=True):
        cell = min(_WIDTH - 1, int(_WIDTH * at / seconds)) if seconds else 0
        cells[cell] = min(cells.get(cell, size), size)
    drawn, size = "", line.bytes[0]
    for cell in range(max(cells) + 1):
        size = cells.get(cell, size)
        drawn += _HEIGHTS[min(7, 8 * size // most)] if most else _HEIGHTS[0]
    return drawn


def _bars(bars: Bars) -> list[Text]:
    labels = max((len(bar.label) for bar in bars.bars), default=0)
    scale = " (logarithmic: each step of the scale is ten times the one before)" if bars.logarithmic else ""
    lines = [Text(f"{bars.title}{scale}", style="bold")]
    for bar in bars.bars:
        drawn = _shares(bar) if bars.parts else _length(bar, bars)
        lines.append(Text.assemble(f"{bar.label:<{labels}}  ", drawn, f"  {bar.said}"))
    if bars.parts:
        legend = Text("   ").join(
            Text.assemble((_CHARACTERS[i % len(_CHARACTERS)], _STYLES[i % len(_STYLES)]), f" {name}")
            for i, name in enumerate(bars.parts)
        )
        lines.append(Text.assemble(" " * labels, "  ", legend))
    return lines


def _shares(bar: Bar) -> Text:
    """Return a bar of full width, cut into its parts."""
    drawn, end, done = Text(), 0.0, 0
    for i, part in enumerate(bar.parts):
        end += part
        # Rounding the borders rather than the lengths keeps all bars of one width.
        border = round(_WIDTH * end / bar.whole) if bar.whole else 0
        drawn.append(_CHARACTERS[i % len(_CHARACTERS)] * (border - done), _STYLES[i % len(_STYLES)])
        done = border
    return drawn


def _length(bar: Bar, bars: Bars) -> Text:
    positive = [one.whole for one in bars.bars if one.whole > 0]
    if bar.whole <= 0 or not positive:
        return Text("")
    if bars.logarithmic:
        low = math.floor(math.log10(min(positive))) - 0.25
        share = (math.log10(bar.whole) - low) / (math.log10(max(positive)) - low)
    else:
        share = bar.whole / max(positive)
    whole, eighths = divmod(round(_WIDTH * 8 * share), 8)
    return Text((_CHARACTERS[0] * whole + _EIGHTHS[eighths].strip()) or _EIGHTHS[1], _STYLES[0])
