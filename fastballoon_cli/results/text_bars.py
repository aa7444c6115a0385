"""Bars as characters, for terminals and for Markdown."""

import math

from rich.text import Text

from fastballoon_cli.results.page import Bar, Bars

__all__ = ["chart"]

_WIDTH = 40
#: One look per part: without colours the characters alone must tell them apart.
_CHARACTERS = "█▓▒░▞·"
_STYLES = ("blue", "magenta", "cyan", "green", "yellow", "dim")
_EIGHTHS = " ▏▎▍▌▋▊▉"


def chart(bars: Bars) -> list[Text]:
    """Return a chart's lines: its title, a line per bar, and what the parts are."""
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
