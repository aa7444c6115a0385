"""The colours of pages and pictures, for readers in the light and in the dark, and those of a terminal."""

from fastballoon_cli.results.page.model import Colour, Tone

__all__ = ["TERMINAL", "TONES", "style"]

#: For words, lines of an axis, and the page behind them: light and dark.
_GROUND = {
    "ground": ("#ffffff", "#14171a"),
    "ink": ("#1c2024", "#e6e9ec"),
    "quiet": ("#5b6470", "#a3adb8"),
    "line": ("#d5dae0", "#3a4149"),
    "good": ("#1f7a45", "#74c694"),
    "bad": ("#b3262e", "#f2777d"),
}
#: Each stands out from the ground by 3 to 1 at least.
_HUES = {
    Colour.BLUE: ("#1f6fb5", "#6aa9ea"),
    Colour.VIOLET: ("#7a5bc4", "#b79cf2"),
    Colour.TEAL: ("#0f8290", "#57c4cf"),
    Colour.NAVY: ("#2f3f8f", "#97a7f0"),
    Colour.ORANGE: ("#c2571a", "#f0935a"),
    Colour.RED: ("#b3262e", "#f2777d"),
    Colour.PINK: ("#a83a8a", "#e583c8"),
    Colour.OCHRE: ("#967108", "#dcb94f"),
    Colour.GREEN: ("#3c8a55", "#74c694"),
    Colour.GREY: ("#6b7480", "#a0a9b4"),
    # Muted, so that no part of a bar looks like a thing of its own.
    Colour.TINT_1: ("#7488a3", "#8aa0bb"),
    Colour.TINT_2: ("#2b3a4d", "#dfe6ee"),
    Colour.TINT_3: ("#62866f", "#86ab97"),
    Colour.TINT_4: ("#8c6d5c", "#b4917d"),
    Colour.TINT_5: ("#8a8a8a", "#7d7d7d"),
}
#: What a terminal has: it knows what stands out from its ground.
TERMINAL = {
    Colour.BLUE: "blue",
    Colour.VIOLET: "bright_magenta",
    Colour.TEAL: "cyan",
    Colour.NAVY: "bright_blue",
    Colour.ORANGE: "red",
    Colour.RED: "bright_red",
    Colour.PINK: "magenta",
    Colour.OCHRE: "yellow",
    Colour.GREEN: "green",
    Colour.GREY: "bright_black",
    # Parts of a bar are told apart by their characters.
    Colour.TINT_1: "default",
    Colour.TINT_2: "default",
    Colour.TINT_3: "default",
    Colour.TINT_4: "default",
    Colour.TINT_5: "default",
}
TONES = {Tone.PLAIN: "", Tone.QUIET: "dim", Tone.GOOD: "green", Tone.BAD: "red"}


def style(selector: str) -> str:
    """Return the CSS that gives the elements of a selector all colours as variables: ``var(--blue)``."""
    light, dark = (
        "".join(f"--{name}:{pair[which]};" for name, pair in (*_GROUND.items(), *_HUES.items())) for which in (0, 1)
    )
    return f"{selector}{{{light}}}\n@media(prefers-color-scheme:dark){{{selector}{{{dark}}}}}\n"
