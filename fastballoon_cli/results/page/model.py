"""What a Page consists of, whatever it is written as: sections of text, figures, grids and charts."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from fastballoon_cli.units import format_duration, format_size

__all__ = [
    "Bar",
    "Bars",
    "Block",
    "Cell",
    "Chart",
    "Colour",
    "Figure",
    "Figures",
    "Grid",
    "Group",
    "Line",
    "Lines",
    "Page",
    "Part",
    "Row",
    "Section",
    "Text",
    "Tone",
]


class Colour(StrEnum):
    """What a thing is recognised by in every chart and table. Tints are for the parts of a whole."""

    BLUE = "blue"
    VIOLET = "violet"
    TEAL = "teal"
    NAVY = "navy"
    ORANGE = "orange"
    RED = "red"
    PINK = "pink"
    OCHRE = "ochre"
    GREEN = "green"
    GREY = "grey"
    TINT_1 = "tint-1"
    TINT_2 = "tint-2"
    TINT_3 = "tint-3"
    TINT_4 = "tint-4"
    TINT_5 = "tint-5"


class Tone(StrEnum):
    """How something is meant."""

    PLAIN = "plain"
    QUIET = "quiet"
    GOOD = "good"
    BAD = "bad"


@dataclass(frozen=True)
class Cell:
    """What stands in a cell, where it is more than text.

    :ivar colour: of what the cell names.
    """

    text: str
    tone: Tone = Tone.PLAIN
    colour: Colour | None = None

    def __str__(self) -> str:
        return self.text


Row = tuple[str | Cell, ...]


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Figure:
    """One figure that matters.

    :ivar value: the figure, with its unit.
    :ivar label: what it is.
    :ivar remark: what it is to be compared with.
    """

    value: str
    label: str
    remark: str = ""
    colour: Colour | None = None


@dataclass(frozen=True)
class Figures:
    """A few figures for those who read no further."""

    figures: Sequence[Figure]


@dataclass(frozen=True)
class Grid:
    """A table. The first column names the rows; the others are set to the right unless they are words.

    :ivar header: empty for a table without one.
    :ivar rows: as long as the header; a row of one cell heads those below it.
    :ivar words: the columns, from 0, that hold words rather than numbers.
    """

    header: Row
    rows: Sequence[Row]
    words: Collection[int] = ()

    @property
    def columns(self) -> int:
        """How many columns it has."""
        return max(len(row) for row in (self.header, *self.rows))

    def heads(self, row: Row) -> bool:
        """Say whether a row is the heading of those below it."""
        return len(row) == 1 < self.columns

    def is_words(self, column: int) -> bool:
        """Say whether a column is set to the left."""
        return column == 0 or column in self.words


@dataclass(frozen=True)
class Part:
    """What a part of every bar is."""

    label: str
    colour: Colour


@dataclass(frozen=True)
class Bar:
    """One bar: its parts, from left to right, and what is written at its end."""

    label: str
    parts: tuple[float, ...]
    said: str
    colour: Colour = Colour.GREY

    @property
    def whole(self) -> float:
        """The bar's length."""
        return sum(self.parts)


@dataclass(frozen=True)
class Group:
    """Bars that belong together.

    :ivar title: may be empty.
    """

    title: str
    bars: Sequence[Bar]


@dataclass(frozen=True)
class Bars:
    """A bar chart.

    :ivar slug: names its picture's file, and is unique on a page.
    :ivar unit: of the lengths: ``s``, ``bytes`` or an empty text for a count.
    :ivar parts: what the parts of each bar are, drawn as shares of it; empty if bars have one part.
    :ivar logarithmic: lengths are; for values that are decades apart.
    """

    slug: str
    title: str
    groups: Sequence[Group]
    unit: str = "s"
    parts: tuple[Part, ...] = ()
    logarithmic: bool = False

    @property
    def bars(self) -> list[Bar]:
        """All bars of all groups."""
        return [bar for group in self.groups for bar in group.bars]

    @property
    def alt(self) -> str:
        """The chart for those who cannot see it."""
        told = []
        for group in self.groups:
            before = f"{group.title}: " if group.title else ""
            told.append(before + ", ".join(self._told(bar) for bar in group.bars))
        return f"{self.title}. {'; '.join(told)}."

    def _told(self, bar: Bar) -> str:
        shares = [
            f"{part.label} {size / bar.whole:.0%}" for part, size in zip(self.parts, bar.parts, strict=False) if size
        ]
        return f"{bar.label} {bar.said}" + (f" ({', '.join(shares)})" if shares else "")


@dataclass(frozen=True)
class Line:
    """One line: from each point to the next it stays where it is.

    :ivar seconds: ascending.
    :ivar bytes: as many.
    """

    label: str
    seconds: Sequence[float]
    bytes: Sequence[int]
    colour: Colour = Colour.GREY

    @property
    def said(self) -> str:
        """The line for those who cannot see it."""
        sizes = f"{format_size(self.bytes[0])}, at least {format_size(min(self.bytes))}"
        return f"{sizes}, at the end {format_size(self.bytes[-1])} after {format_duration(self.seconds[-1])}"


@dataclass(frozen=True)
class Lines:
    """Sizes over time, a line for each.

    :ivar slug: names its picture's file, and is unique on a page.
    :ivar logarithmic: times are; for lines of which some are over long before others.
    """

    slug: str
    title: str
    lines: Sequence[Line]
    logarithmic: bool = False

    @property
    def alt(self) -> str:
        """The chart for those who cannot see it."""
        return f"{self.title}: {'; '.join(f'{line.label} {line.said}' for line in self.lines)}."


Chart = Bars | Lines
Block = Text | Figures | Grid | Chart


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

    def charts(self) -> Iterator[Chart]:
        """Yield all charts in their order."""
        yield from (block for section in self.sections for block in section.blocks if isinstance(block, Chart))
