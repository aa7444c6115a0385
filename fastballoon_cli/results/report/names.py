"""What the sections of a report call benches."""

from fastballoon_cli.results.bench import BenchResult
from fastballoon_cli.units import format_size

__all__ = ["conditions", "sentence", "short_names"]


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


def short_names(benches: list[BenchResult]) -> list[str]:
    """Return a short name for each bench: its guest's state, and its size where the state alone names several."""
    states = [f"{bench.guest_state}{', init_on_alloc=1' if bench.init_on_alloc else ''}" for bench in benches]
    return [
        f"{state}, {format_size(bench.memory_bytes)}" if states.count(state) > 1 else state
        for state, bench in zip(states, benches, strict=True)
    ]


def sentence(words: str) -> str:
    """Return words as a sentence, whatever case the rest of them has."""
    return f"{words[:1].upper()}{words[1:]}."
