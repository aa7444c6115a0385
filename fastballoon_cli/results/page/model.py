"""What a report consists of, whatever it is written as: sections of text, grids and bars."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from fastballoon_cli.units import format_duration, format_size

__all__ = ["Bar", "Bars", "Block", "Chart", "Grid", "Line", "Lines", "Page", "Section", "Text"]


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Grid:
    """A table. The first column names the rows; the others are set to the right unless they are words."""

    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    words: bool = False


@dataclass(frozen=True)
class Bar:
    """One bar: its parts, from left to right, and what is written at its end."""

    label: str
    parts: tuple[float, ...]
    said: str

    @property
    def whole(self) -> float:
        """The bar's length."""
        return sum(self.parts)


@dataclass(frozen=True)
class Bars:
    """A bar chart.

    :ivar slug: names its picture's file, and is unique on a page.
    :ivar parts: what the parts of each bar are; empty if bars have one part.
    :ivar logarithmic: lengths are; for values that are decades apart.
    """

    slug: str
    title: str
    bars: list[Bar]
    parts: tuple[str, ...] = ()
    logarithmic: bool = False

    @property
    def alt(self) -> str:
        """The chart for those who cannot see it."""
        if not self.parts:
            return f"{self.title}: {'; '.join(f'{bar.label} {bar.said}' for bar in self.bars)}."
        told = []
        for bar in self.bars:
            shares = [
                f"{name} {part / bar.whole:.0%}" for name, part in zip(self.parts, bar.parts, strict=True) if part
            ]
            told.append(f"{bar.label} ({bar.said}): {', '.join(shares)}")
        return f"{self.title}. {'; '.join(told)}."


@dataclass(frozen=True)
class Line:
    """One line: from each point to the next it stays where it is.

    :ivar seconds: ascending.
    :ivar bytes: as many.
    """

    label: str
    seconds: Sequence[float]
    bytes: Sequence[int]

    @property
    def said(self) -> str:
        """The line for those who cannot see it."""
        sizes = f"{format_size(self.bytes[0])}, at least {format_size(min(self.bytes))}"
        return f"{sizes}, at the end {format_size(self.bytes[-1])} after {format_duration(self.seconds[-1])}"


@dataclass(frozen=True)
class Lines:
    """Sizes over time, a line for each.

    :ivar slug: names its picture's file, and is unique on a page.
    """

    slug: str
    title: str
    lines: Sequence[Line]

    @property
    def seconds(self) -> float:
        """How long the longest line is."""
        return max(line.seconds[-1] for line in self.lines)

    @property
    def alt(self) -> str:
        """The chart for those who cannot see it."""
        return f"{self.title}: {'; '.join(f'{line.label} {line.said}' for line in self.lines)}."


Chart = Bars | Lines
Block = Text | Grid | Chart


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Page:
    """A whole report."""

    title: str
    sections: list[Section] = field(default_factory=list)

    def charts(self) -> list[Chart]:
        """Return all charts in their order."""
        return [block for section in self.sections for block in section.blocks if isinstance(block, Chart)]
