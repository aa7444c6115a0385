"""What a bench's metrics are called, what unit they have, and which way is better."""

from dataclasses import dataclass

from fastballoon_cli.units import format_duration, format_size

__all__ = ["JUDGED", "PHASES", "PHASE_METRICS", "Metric", "headline", "metric"]


@dataclass(frozen=True)
class Metric:
    """A metric of a bench.

    :ivar unit: ``s``, ``bytes`` or an empty text for a count.
    :ivar more_is_better: such as memory that is left; most metrics are costs.
    :ivar compared: whether a difference says something about the variants; sizes that the bench has set do not.
    """

    name: str
    label: str
    more_is_better: bool = False
    compared: bool = True

    @property
    def unit(self) -> str:
        """The unit, from the name: they say it themselves."""
        if self.name.endswith("_s"):
            return "s"
        return "bytes" if "_bytes" in self.name else ""

    def format(self, value: float) -> str:
        """Return a value as people read it."""
        match self.unit:
            case "s":
                return format_duration(value)
            case "bytes":
                return format_size(round(value))
        return f"{value:.0f}" if value == round(value) else f"{value:.4g}"


#: Field of a result's phases -> what it is called, in the order in which they happen.
PHASES = {
    "allocate": "allocate (guest)",
    "release": "release (guest)",
    "send": "send",
    "translate": "translate (host)",
    "discard": "discard (host)",
    "other": "other",
}
#: Metric of a bench -> what the phase is called.
PHASE_METRICS = {f"{field}_s": name for field, name in PHASES.items()}

#: What a run is judged by: the first of them that it has. A migration has no duration_s.
JUDGED = ("duration_s", "total_s")

_KNOWN = {
    one.name: one
    for one in (
        Metric("duration_s", "duration"),
        Metric("drop_s", "dropping the cache"),
        Metric("inflate_s", "inflating"),
        Metric("total_s", "whole migration"),
        Metric("setup_s", "setup"),
        Metric("downtime_s", "downtime (QEMU's)"),
        Metric("guest_paused_s", "guest paused"),
        Metric("transferred_bytes", "transferred"),
        Metric("passes", "passes"),
        Metric("normal_pages", "pages sent whole"),
        Metric("zero_pages", "zero pages"),
        Metric("skipped_free_bytes", "skipped, free", more_is_better=True),
        Metric("skipped_balloon_bytes", "skipped, in the balloon", more_is_better=True),
        Metric("told_free_bytes", "told to be free", more_is_better=True),
        Metric("answer_s", "the guest's answer"),
        Metric("guest_cpu_s", "guest CPU"),
        Metric("retouch_s", "filling it again"),
        Metric("reread_s", "reading it again"),
        Metric("refaulted_pages", "pages read again"),
        *(Metric(name, label) for name, label in PHASE_METRICS.items()),
        Metric("kicks", "kicks"),
        Metric("messages", "messages"),
        Metric("discards", "discards"),
        Metric("host_rss_bytes_before", "host RSS before", compared=False),
        Metric("host_rss_bytes_after", "host RSS after"),
        Metric("guest_ram_rss_bytes_after", "guest RAM on the host"),
        Metric("guest_used_bytes_after", "guest uses after"),
        Metric("guest_free_bytes_before", "guest's free memory before", compared=False),
        Metric("guest_min_free_bytes", "guest's least free memory", more_is_better=True),
        Metric("reread_bytes", "size of what is read again", compared=False),
        Metric("verified_pages", "pages checked", compared=False),
        Metric("oom_kills", "processes killed"),
    )
}
_ORDER = {name: place for place, name in enumerate(_KNOWN)}


def metric(name: str) -> Metric:
    """Return a metric by its name; one that a later version has added is called by that."""
    return _KNOWN.get(name) or Metric(name, name.removesuffix("_s").replace("_", " "))


def headline(names: list[str]) -> list[Metric]:
    """Return the metrics of these names, the most telling ones first."""
    return [metric(name) for name in sorted(names, key=lambda name: _ORDER.get(name, len(_ORDER)))]
