"""What a report consists of, whatever it is written as: sections of text, grids and bars."""

from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["Bar", "Bars", "Block", "Grid", "Page", "Section", "Text"]


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


Block = Text | Grid | Bars


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

    def bars(self) -> list[Bars]:
        """Return all charts in their order."""
        return [block for section in self.sections for block in section.blocks if isinstance(block, Bars)]
