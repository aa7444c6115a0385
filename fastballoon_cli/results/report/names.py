"""What the sections of a report call benches and variants, and the colour that each variant has in all of them."""

from collections.abc import Sequence

from fastballoon_cli.results.bench import BenchResult
from fastballoon_cli.results.page.model import Cell, Colour
from fastballoon_cli.units import format_size

__all__ = ["UNKNOWN", "colour_of", "conditions", "titles", "variant_cell"]

#: What stands where nothing was measured.
UNKNOWN = "-"

#: Cool colours are patched pairs, warm ones unmodified pairs.
_COLOURS = {
    "fast": Colour.BLUE,
    "fast-pfn": Colour.VIOLET,
    "fast-drop": Colour.TEAL,
    "fast-reclaim": Colour.NAVY,
    "stock": Colour.ORANGE,
    "stock-drop": Colour.RED,
    "stock-hint": Colour.PINK,
    "stock-reporting": Colour.OCHRE,
    "virtio-mem": Colour.GREEN,
}


def colour_of(variant: str) -> Colour:
    """Return the colour of a variant: the same in every chart; grey for those that are not known here."""
    return _COLOURS.get(variant, Colour.GREY)


def variant_cell(variant: str) -> Cell:
    """Return a cell with a variant's name."""
    return Cell(variant, colour=colour_of(variant))


def conditions(bench: BenchResult) -> str:
    """Return under what conditions a bench was run."""
    zeroing = ", init_on_alloc=1" if bench.init_on_alloc else ""
    if (rate := bench.bandwidth_bytes_per_s) is not None:
        return f"{bench.guest_state} guest of {format_size(bench.memory_bytes)}{zeroing}{_link(bench, rate)}"
    target = f", {format_size(bench.target_bytes)} of {format_size(bench.memory_bytes)}" if bench.target_bytes else ""
    return f"{bench.guest_state} guest{zeroing}{target}"


def _link(bench: BenchResult, rate: int) -> str:
    """Return what a migration began with and what its link carries."""
    inflated = f", {format_size(bench.balloon_bytes)} in the balloon" if bench.balloon_bytes else ""
    link = f"at most {format_size(rate)}/s" if rate else "no limit to the link"
    return f"{inflated}, {link}"


def titles(benches: Sequence[BenchResult]) -> list[str]:
    """Return what to call each of these benches: its conditions, and which run it is where those name several."""
    names = [conditions(bench) for bench in benches]
    return [
        f"{name}, run {names[: n + 1].count(name)}" if names.count(name) > 1 else name for n, name in enumerate(names)
    ]
