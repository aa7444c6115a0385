"""Charts as pictures: SVG by matplotlib, which is an extra. Colours follow the reader's light or dark mode."""

import io
import math
import re
from html import escape
from importlib.util import find_spec
from typing import TYPE_CHECKING

from fastballoon_cli.results.page.model import Bars, Chart, Lines
from fastballoon_cli.units import GIB

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["INSTALL", "available", "inline_svg", "standalone_svg"]

INSTALL = "pip install 'fastballoon[plots]'"

#: Inches. Drawn about as wide as a phone is: enlarged on a screen, its text is large; shrunk the other way it could
#: not be read.
_WIDTH, _ROW, _FRAME = 4.3, 0.3, 0.55
_FONT = 9.5
#: How many bars a chart of lines is as high as, and what tells lines apart without colours.
_LINES_ROWS = 7
_DASHES = ("-", "--", ":", "-.")
#: Characters of a label: longer ones would leave no room for bars.
_LABEL = 36
#: matplotlib knows no variables of CSS: it draws with colours that nobody uses, and those are replaced.
_INK, _LINE, _SERIES = "#010203", "#010204", [f"#01030{n}" for n in range(6)]
_VARIABLES = {_INK: "--ink", _LINE: "--line", **{colour: f"--s{n}" for n, colour in enumerate(_SERIES)}}
#: For a picture that stands alone; the page's own style has the same.
_STYLE = (
    "svg{--ink:#1c2024;--line:#d5dae0;--s0:#2f6fb5;--s1:#c2571a;--s2:#3c8d5a;--s3:#8a56b0;--s4:#b08a1e;--s5:#6b7480}"
    "@media(prefers-color-scheme:dark){svg{--ink:#e6e9ec;--line:#3a4149;--s0:#6aa9ea;--s1:#f0935a;--s2:#74c694;"
    "--s3:#c194e4;--s4:#e0bf5c;--s5:#a0a9b4}}"
)


def available() -> bool:
    """Say whether pictures can be drawn."""
    return find_spec("matplotlib") is not None


def inline_svg(chart: Chart) -> str:
    """Return a chart as an ``<svg>`` element for a page that defines the colours."""
    return _element(chart, "")


def standalone_svg(chart: Chart) -> str:
    """Return a chart as a file of its own."""
    return _element(chart, f"<style>{_STYLE}</style>")


def _element(chart: Chart, style: str) -> str:
    svg = _draw(chart)
    svg = svg[svg.index("<svg") :]
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    # matplotlib's own style speaks of every element, and would do so of the whole page that the picture is in.
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)
    opening, rest = svg.split(">", 1)
    opening = re.sub(r' (?:width|height)="[^"]*"', "", opening)
    label = escape(chart.alt)
    return f'{opening} role="img" aria-label="{label}"><title>{label}</title>{style}{rest.strip()}'


def _draw(chart: Chart) -> str:
    # Here, as it need not be installed, and takes longer to load than all the rest.
    from matplotlib import rc_context  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    settings = {
        "svg.fonttype": "none",  # text stays text: small, and found by a search in the page
        "svg.hashsalt": chart.slug,  # the same picture each time, and ids that no other picture on the page has
        "font.family": "sans-serif",
        "font.size": _FONT,
        "text.color": _INK,
        "axes.labelcolor": _INK,
        "axes.edgecolor": _LINE,
        "xtick.color": _LINE,
        "xtick.labelcolor": _INK,
        "ytick.labelcolor": _INK,
        "grid.color": _LINE,
    }
    named = chart.parts if isinstance(chart, Bars) else [line.label for line in chart.lines]
    rows = len(chart.bars) if isinstance(chart, Bars) else _LINES_ROWS
    height = _FRAME + _ROW * rows + 0.22 * math.ceil(len(named) / 2)
    with rc_context(settings):  # type: ignore[arg-type]
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        axes = figure.subplots()
        axes.set_axisbelow(True)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        if isinstance(chart, Bars):
            _draw_bars(axes, chart)
        else:
            _draw_lines(axes, chart)
        if named:
            figure.legend(loc="outside lower left", ncols=2, frameon=False, fontsize=_FONT, handlelength=1)
        out = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(out, format="svg", transparent=True, metadata=nothing)
    return out.getvalue()


def _fit(label: str) -> str:
    return label if len(label) <= _LABEL else f"{label[: _LABEL - 1]}\N{HORIZONTAL ELLIPSIS}"


def _draw_bars(axes: "Axes", bars: Bars) -> None:
    if bars.parts:
        _draw_shares(axes, bars)
    else:
        _draw_lengths(axes, bars)
    axes.set_yticks(range(len(bars.bars)), [_fit(bar.label) for bar in bars.bars])
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    axes.grid(axis="x", linewidth=0.6)


def _draw_lines(axes: "Axes", chart: Lines) -> None:
    for number, line in enumerate(chart.lines):
        colour, style = _SERIES[number % len(_SERIES)], _DASHES[number % len(_DASHES)]
        sizes = [size / GIB for size in line.bytes]
        axes.step(line.seconds, sizes, where="post", color=colour, linestyle=style, linewidth=1.8, label=line.label)
        # A line that is over in no time is seen by where it ends.
        axes.plot(line.seconds[-1:], sizes[-1:], color=colour, marker="o", markersize=4)
    axes.set_xlim(0, (chart.seconds or 1) * 1.03)
    axes.set_ylim(0, max(max(line.bytes) for line in chart.lines) / GIB * 1.08 or 1)
    axes.set_xlabel("seconds")
    axes.set_ylabel("GiB")
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", linewidth=0.6)


def _draw_shares(axes: "Axes", bars: Bars) -> None:
    lefts = [0.0] * len(bars.bars)
    for number, name in enumerate(bars.parts):
        shares = [bar.parts[number] / bar.whole if bar.whole else 0.0 for bar in bars.bars]
        axes.barh(range(len(shares)), shares, left=lefts, height=0.62, color=_SERIES[number % len(_SERIES)], label=name)
        lefts = [left + share for left, share in zip(lefts, shares, strict=True)]
    for number, bar in enumerate(bars.bars):
        axes.text(1.02, number, bar.said, va="center")
    axes.set_xlim(0, 1.3)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"])


def _draw_lengths(axes: "Axes", bars: Bars) -> None:
    sizes = [bar.whole for bar in bars.bars]
    axes.barh(range(len(sizes)), sizes, height=0.62, color=_SERIES[0])
    largest, positive = max(sizes, default=0.0), [size for size in sizes if size > 0]
    if bars.logarithmic and positive:
        low = 10 ** (math.floor(math.log10(min(positive))) - 0.25)
        axes.set_xscale("log")
        # Room for what is written at the longest bar's end: three tenths of the scale.
        axes.set_xlim(low, largest * (largest / low) ** 0.45)
        axes.minorticks_off()
        axes.set_xlabel("logarithmic")
    else:
        axes.set_xlim(0, (largest or 1) * 1.4)
    axes.tick_params(axis="x", labelbottom=False)
    for number, bar in enumerate(bars.bars):
        if bar.whole > 0:
            axes.annotate(bar.said, (bar.whole, number), xytext=(4, 0), textcoords="offset points", va="center")
