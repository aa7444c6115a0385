"""Charts as pictures: SVG of texts, bars and lines. Colours follow the reader's light or dark mode."""

import textwrap
from collections.abc import Mapping, Sequence
from html import escape

from fastballoon_cli.plain import fit, one_line, width
from fastballoon_cli.results.page.colours import style
from fastballoon_cli.results.page.model import Bar, Bars, Chart, Colour, Lines
from fastballoon_cli.results.page.scale import Scale, scale_of, tick_label

__all__ = ["picture", "standalone"]

#: About as wide as a phone is: enlarged on a screen, its text is large; shrunk the other way it could not be read.
_WIDTH = 340.0
_FONT = 10.0
_ROW, _BAR, _GAP = 17.0, 11.0, 5.0
_MARK = 13.0
#: Columns of a label, of a title and of a heading.
_LABEL, _TITLE, _HEADING = 22, 46, 54
_PLOT = 120.0
#: What tells lines apart without colours; each colour has one of them.
_DASHES = ("none", "6 3", "2 2", "8 3 2 3")


def picture(chart: Chart) -> str:
    """Return a chart as an ``<svg>`` element for a page that defines the colours."""
    return _element(chart, "")


def standalone(chart: Chart) -> str:
    """Return a chart as a file of its own."""
    return _element(chart, f"<style>{style('svg')}</style>\n") + "\n"


def _element(chart: Chart, head: str) -> str:
    lines = textwrap.wrap(one_line(chart.title), _TITLE)
    title = [_text(0, _FONT * 1.25 * (n + 1), line, bold=True) for n, line in enumerate(lines)]
    top = _FONT * 1.25 * len(lines) + 2 * _GAP
    bottom, drawn = _bars(chart, top) if isinstance(chart, Bars) else _lines(chart, top)
    inner = "\n".join([*title, *drawn])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH:g} {bottom + _GAP:.1f}" role="img" '
        f'aria-label="{escape(one_line(chart.alt))}" font-family="system-ui, sans-serif" font-size="{_FONT:g}">\n'
        f"{head}{inner}\n</svg>"
    )


def _bars(chart: Bars, top: float) -> tuple[float, list[str]]:
    """Return how far down a chart of bars reaches, and its elements."""
    scale = scale_of([bar.whole for bar in chart.bars], chart.unit, logarithmic=chart.logarithmic)
    mark = _MARK if chart.parts else 0.0
    left = mark + max((_extent(fit(bar.label, _LABEL)) for bar in chart.bars), default=0.0) + _GAP
    room = _WIDTH - left - max((_extent(bar.said) for bar in chart.bars), default=0.0) - _GAP
    headings = [textwrap.wrap(one_line(group.title), _HEADING) for group in chart.groups]
    bottom = top + _ROW * (len(chart.bars) + sum(map(len, headings)))
    shares = {n / 4: f"{n * 25}%" for n in range(5)}
    drawn = _upright(shares if chart.parts else _ticks(scale, chart.unit), left, room, top, bottom)
    y = top
    for group, heading in zip(chart.groups, headings, strict=True):
        for line in heading:
            drawn.append(_text(0, y + _BAR, _cut(line), colour="quiet"))
            y += _ROW
        for bar in group.bars:
            if chart.parts:
                drawn.append(_rect(0, y + 1, 9, 9, bar.colour))
                drawn += _parts(chart, bar, left, room, y)
            else:
                drawn.append(_rect(left, y, room * scale.at(bar.whole), _BAR, bar.colour))
            end = left + room * (1.0 if chart.parts else scale.at(bar.whole))
            drawn.append(_text(mark, y + _BAR - 2, fit(bar.label, _LABEL)))
            drawn.append(_text(end + _GAP, y + _BAR - 2, bar.said))
            y += _ROW
    bottom += _FONT + _GAP
    if chart.parts:
        return _legend([(part.label, _rect(0, 0, 9, 9, part.colour)) for part in chart.parts], bottom, drawn)
    if chart.logarithmic:
        bottom += _FONT + 2
        drawn.append(_text(left, bottom, "logarithmic scale", colour="quiet"))
    return bottom, drawn


def _parts(chart: Bars, bar: Bar, left: float, room: float, y: float) -> list[str]:
    drawn, begin = [], 0.0
    for part, size in zip(chart.parts, bar.parts, strict=True):
        share = size / bar.whole if bar.whole else 0.0
        drawn.append(_rect(left + room * begin, y, room * share, _BAR, part.colour))
        begin += share
    return drawn


def _lines(chart: Lines, top: float) -> tuple[float, list[str]]:
    """Return how far down a chart of lines reaches, and its elements."""
    across = scale_of([at for line in chart.lines for at in line.seconds], "s", logarithmic=chart.logarithmic)
    up = scale_of([size for line in chart.lines for size in line.bytes], "bytes")
    left = max(_extent(tick_label(tick, "bytes")) for tick in up.ticks) + _GAP
    # Half of the last label stands beyond the axis.
    room, bottom = _WIDTH - left - 3 * _FONT, top + _PLOT
    drawn = _upright(_ticks(across, "s"), left, room, top, bottom)
    for tick in up.ticks:
        y = bottom - _PLOT * up.at(tick)
        drawn.append(f'<path d="M{left:.1f} {y:.1f}h{room:.1f}" style="stroke:var(--line);fill:none"/>')
        drawn.append(_text(left - _GAP, y + 3, tick_label(tick, "bytes"), colour="quiet", anchor="end"))
    for line in chart.lines:
        points = [
            (left + room * across.at(at), bottom - _PLOT * up.at(size))
            for at, size in zip(line.seconds, line.bytes, strict=True)
        ]
        steps = "".join(f"H{x:.1f}V{y:.1f}" for x, y in points[1:])
        drawn.append(_stroke(f"M{points[0][0]:.1f} {points[0][1]:.1f}{steps}", line.colour))
        # A line that is over in no time is seen by where it ends.
        x, y = points[-1]
        drawn.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" style="fill:var(--{line.colour})"/>')
    bottom += _FONT + _GAP
    if chart.logarithmic:
        bottom += _FONT + 2
        drawn.append(_text(left, bottom, "time, on a logarithmic scale", colour="quiet"))
    return _legend([(line.label, _stroke("M0 5h11", line.colour)) for line in chart.lines], bottom, drawn)


def _ticks(scale: Scale, unit: str) -> dict[float, str]:
    """Return what is written along an axis: share of its length -> text."""
    return {scale.at(tick): tick_label(tick, unit) for tick in scale.ticks}


def _upright(ticks: Mapping[float, str], left: float, room: float, top: float, bottom: float) -> list[str]:
    """Return the lines of an axis and what is written below them, as far as there is room for it."""
    drawn, free = [], 0.0
    for share, label in ticks.items():
        x = left + room * share
        drawn.append(
            f'<path d="M{x:.1f} {top - 3:.1f}V{bottom:.1f}" style="stroke:var(--line);fill:none" stroke-width="0.6"/>'
        )
        half = _extent(label) / 2
        if x - half >= free:
            drawn.append(_text(x, bottom + _FONT + 2, label, colour="quiet", anchor="middle"))
            free = x + half + _GAP
    return drawn


def _legend(named: Sequence[tuple[str, str]], top: float, drawn: list[str]) -> tuple[float, list[str]]:
    """Add a legend below what is drawn: two columns of names, each behind a drawing of 12 by 10."""
    for n, (label, mark) in enumerate(named):
        x, y = (n % 2) * _WIDTH / 2, top + _GAP + _ROW * (n // 2)
        drawn.append(f'<g transform="translate({x:.1f} {y:.1f})">{mark}</g>')
        drawn.append(_text(x + _MARK + 2, y + 8.5, _cut(label, _WIDTH / 2 - _MARK - 2 * _GAP)))
    return top + _GAP + _ROW * ((len(named) + 1) // 2), drawn


def _text(x: float, y: float, text: str, *, colour: str = "ink", anchor: str = "start", bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    place = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text x="{x:.1f}" y="{y:.1f}"{place}{weight} style="fill:var(--{colour})">{escape(one_line(text))}</text>'


def _rect(x: float, y: float, wide: float, high: float, colour: Colour) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{high:.1f}" style="fill:var(--{colour})"/>'


def _stroke(path: str, colour: Colour) -> str:
    dash = _DASHES[list(Colour).index(colour) % len(_DASHES)]
    look = f"stroke:var(--{colour});stroke-dasharray:{dash};fill:none"
    return f'<path d="{path}" style="{look}" stroke-width="1.8"/>'


def _extent(text: str) -> float:
    """Return how wide a text is at most, in a wide font without serifs."""
    return _FONT * sum(0.98 if character in "MWmw@%" else 0.62 * width(character) for character in one_line(text))


def _cut(text: str, room: float = _WIDTH) -> str:
    """Return a text that is not wider than there is room."""
    text = one_line(text)
    if _extent(text) <= room:
        return text
    while _extent(text) > room - _FONT:
        text = text[:-1]
    return f"{text}\N{HORIZONTAL ELLIPSIS}"
