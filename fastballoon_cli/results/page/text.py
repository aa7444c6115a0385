"""Charts as characters, for terminals and for Markdown."""

from rich.text import Text

from fastballoon_cli.plain import fit, one_line, width
from fastballoon_cli.results.page.colours import TERMINAL
from fastballoon_cli.results.page.model import Bar, Bars, Chart, Line, Lines
from fastballoon_cli.results.page.scale import Scale, scale_of, tick_label

__all__ = ["chart"]

_WIDTH = 40
#: Columns of a label: longer ones would leave no room for bars.
_LABEL = 30
#: One look per part: without colours the characters alone must tell them apart.
_CHARACTERS = "█▓▒░▞·"
_EIGHTHS = " ▏▎▍▌▋▊▉"
_HEIGHTS = "▁▂▃▄▅▆▇█"


def chart(shown: Chart, room: int | None = None) -> list[Text]:
    """Return a chart as text: its title, a row for each bar or line, its axis, and what the parts of bars are.

    :param room: columns that there are; where what is said of a bar does not fit beside it, it stands below it.
    """
    return _bars(shown, room) if isinstance(shown, Bars) else _lines(shown, room)


def _row(label: str, drawn: Text, said: str, room: int | None) -> list[Text]:
    indent = " " * (width(label) + 2)
    beside = Text.assemble(f"{label}  ", drawn, f"  {said}")
    if room is None or beside.cell_len <= room:
        return [beside]
    return [Text.assemble(f"{label}  ", drawn), Text(indent + said)]


def _labels(names: list[str]) -> list[str]:
    """Return labels of one width."""
    fitting = [fit(name, _LABEL) for name in names]
    widest = max(map(width, fitting), default=0)
    return [label + " " * (widest - width(label)) for label in fitting]


def _axis(scale: Scale, unit: str, indent: int) -> Text:
    """Return a line with what is written along an axis, each label beginning where its value stands."""
    drawn = " " * indent
    for tick in scale.ticks:
        at = indent + round(_WIDTH * scale.at(tick))
        if at >= len(drawn.rstrip()) + 1 or not drawn.strip():
            drawn = f"{drawn.rstrip():<{at}}|{tick_label(tick, unit)}"
    return Text(drawn, "dim")


def _lines(lines: Lines, room: int | None) -> list[Text]:
    labels = _labels([line.label for line in lines.lines])
    most = max(max(line.bytes) for line in lines.lines)
    scale = scale_of([at for line in lines.lines for at in line.seconds], "s", logarithmic=lines.logarithmic)
    shown = [Text(one_line(lines.title), "bold")]
    for label, line in zip(labels, lines.lines, strict=True):
        drawn = Text(_heights(line, scale, most), TERMINAL[line.colour])
        shown += _row(label, drawn, line.said, room)
    return [*shown, _axis(scale, "s", width(labels[0]) + 2)]


def _heights(line: Line, scale: Scale, most: int) -> str:
    """Return a character for each part of the time that a line has, as high as what is least there."""
    cells: dict[int, int] = {}
    for at, size in zip(line.seconds, line.bytes, strict=True):
        cell = min(_WIDTH - 1, int(_WIDTH * scale.at(at)))
        cells[cell] = min(cells.get(cell, size), size)
    drawn, size = "", line.bytes[0]
    for cell in range(max(cells) + 1):
        size = cells.get(cell, size)
        drawn += _HEIGHTS[min(7, 8 * size // most)] if most else _HEIGHTS[0]
    return drawn


def _bars(bars: Bars, room: int | None) -> list[Text]:
    labels = iter(_labels([bar.label for bar in bars.bars]))
    scale = scale_of([bar.whole for bar in bars.bars], bars.unit, logarithmic=bars.logarithmic)
    indent = 0
    lines = [Text(one_line(bars.title), "bold")]
    for group in bars.groups:
        if group.title:
            lines.append(Text(one_line(group.title), "dim"))
        for bar in group.bars:
            label = next(labels)
            indent = width(label) + 2
            drawn = _shares(bar) if bars.parts else _length(bar, scale)
            lines += _row(label, drawn, one_line(bar.said), room)
    if bars.parts:
        marks = (_CHARACTERS[n % len(_CHARACTERS)] for n in range(len(bars.parts)))
        legend = (f"{mark} {one_line(part.label)}" for mark, part in zip(marks, bars.parts, strict=True))
        lines.append(Text(" " * indent + "   ".join(legend)))
    elif bars.logarithmic:
        lines.append(_axis(scale, bars.unit, indent))
    return lines


def _shares(bar: Bar) -> Text:
    """Return a bar of full width, cut into its parts."""
    drawn, end, done = "", 0.0, 0
    for n, part in enumerate(bar.parts):
        end += part
        # Rounding the borders rather than the lengths keeps all bars of one width.
        border = round(_WIDTH * end / bar.whole) if bar.whole else 0
        drawn += _CHARACTERS[n % len(_CHARACTERS)] * (border - done)
        done = border
    return Text(drawn)


def _length(bar: Bar, scale: Scale) -> Text:
    if bar.whole <= 0:
        return Text("")
    whole, eighths = divmod(round(_WIDTH * 8 * scale.at(bar.whole)), 8)
    return Text((_CHARACTERS[0] * whole + _EIGHTHS[eighths].strip()) or _EIGHTHS[1], TERMINAL[bar.colour])
