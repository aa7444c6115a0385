"""Under what settings a bench was run: what must be the same before two of them can be compared."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastballoon_cli.results.bench import BenchResult, Case
from fastballoon_cli.units import format_duration, format_size

__all__ = ["Difference", "builds", "differences", "show"]

#: Settings of the bench itself.
_OF_BENCH = (
    *("scenario", "guest_state", "init_on_alloc", "memory_bytes", "target_bytes"),
    *("balloon_bytes", "bandwidth_bytes_per_s"),
)
#: Settings that each case's provenance has: the machine, and what shapes a guest beside its kernel and QEMU.
_OF_CASE = ("host_cpu", "host_kernel", "host_thp", "accel", "cpus", "memory_bytes", "guest_thp", "init_on_alloc")
#: What is allowed to differ, as it is what one compares.
_BUILDS = ("tool_version", "guest_kernel", "kernel_series_sha256", "qemu_version", "qemu_series_sha256", "clock")

_UNKNOWN = "unknown"


@dataclass(frozen=True)
class Difference:
    """A setting that is not the same on both sides.

    :ivar where: the case, or an empty text for the bench as a whole.
    """

    setting: str
    where: str
    a: Any
    b: Any

    def __str__(self) -> str:
        where = f" of {self.where}" if self.where else ""
        return f"{self.setting}{where}: {show(self.setting, self.a)} against {show(self.setting, self.b)}"


def differences(a: BenchResult, b: BenchResult, pairs: list[tuple[Case, Case]]) -> list[Difference]:
    """Return the settings that differ between two benches, or between the cases that are to be compared."""
    found = [
        Difference(name, "", getattr(a, name), getattr(b, name))
        for name in _OF_BENCH
        if getattr(a, name) != getattr(b, name)
    ]
    said = {one.setting for one in found}
    for one, other in pairs:
        for difference in _between(one, other, _OF_CASE):
            # The machine is the same for all cases: once is enough.
            if difference.setting not in said:
                said.add(difference.setting)
                found.append(difference)
    return found


def builds(one: Case, other: Case) -> list[Difference]:
    """Return which builds differ between two cases; that is no obstacle to comparing them."""
    return _between(one, other, _BUILDS)


def show(setting: str, value: Any) -> str:
    """Return a setting's value as people read it."""
    if value is None:
        return _UNKNOWN
    if isinstance(value, bool):
        return str(int(value))
    if setting.endswith("_per_s") and isinstance(value, int):
        return f"{format_size(value)}/s" if value else "no limit"
    if setting.endswith("_s") and isinstance(value, int | float):
        return format_duration(value)
    if setting.endswith("_bytes") and isinstance(value, int):
        return format_size(value)
    if setting.endswith("_sha256"):
        return str(value)[:12]
    if isinstance(value, Mapping):
        return ", ".join(f"{k}={'on' if v is True else 'off' if v is False else v}" for k, v in value.items())
    return str(value)


def _between(one: Case, other: Case, names: tuple[str, ...]) -> list[Difference]:
    where = one.variant if one.variant == other.variant else f"{one.variant}, {other.variant}"
    pairs = ((name, one.provenance.get(name), other.provenance.get(name)) for name in names)
    return [Difference(name, where, a, b) for name, a, b in pairs if a != b]
