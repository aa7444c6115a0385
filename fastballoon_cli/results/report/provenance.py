"""The section on where results come from: machine, builds, settings."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastballoon_cli.results.files import ResultFile
from fastballoon_cli.results.page.model import Block, Grid, Row, Section, Text
from fastballoon_cli.results.report.names import variant_cell
from fastballoon_cli.results.settings import show

__all__ = ["provenance_section"]

#: Field of a result's provenance -> what it is called.
_LABELS = {
    "host": "host",
    "host_cpu": "host CPU",
    "host_kernel": "host kernel",
    "host_thp": "host THP",
    "accel": "accelerator",
    "memory_bytes": "guest memory",
    "cpus": "guest CPUs",
    "guest_kernel": "guest kernel",
    "kernel_series_sha256": "kernel series",
    "guest_thp": "guest THP",
    "init_on_alloc": "init_on_alloc",
    "qemu_version": "QEMU",
    "libvirt_version": "libvirt",
    "qemu_sha256": "QEMU's sha256",
    "qemu_series_sha256": "QEMU series",
    "device_options": "balloon device",
    "bandwidth_bytes_per_s": "link of the migration",
    "downtime_limit_s": "downtime limit",
    "guest_memory_from": "guest's memory told by",
    "clock": "clock of the duration",
    "tool_version": "fastballoon",
    "time": "last sample taken",
}
_NONE = {"kernel_series_sha256": "none", "qemu_series_sha256": "none"}


def provenance_section(files: Sequence[ResultFile]) -> Section:
    """Return two tables per file: what all variants share, and a column per variant for what they do not."""
    blocks: list[Block] = []
    for file in files:
        blocks += [Text(f"{file.name}: {_what(file)}"), *_grids(file.provenances)]
    return Section("Provenance", blocks)


def _what(file: ResultFile) -> str:
    bench = file.bench
    return f"bench {bench.scenario}, {bench.guest_state} guest" if bench else file.operation


def _grids(columns: Mapping[str, Mapping[str, Any]]) -> list[Grid]:
    shared: list[Row] = []
    own: list[Row] = []
    for name, label in _LABELS.items():
        if not any(name in column for column in columns.values()):
            continue
        cells = [_cell(name, column.get(name)) for column in columns.values()]
        if len(set(cells)) == 1:
            shared.append((label, cells[0]))
        else:
            own.append((label, *cells))
    title = "all variants" if len(columns) > 1 else next(iter(columns), "")
    grids = [
        Grid(("", title), shared, words={1}),
        Grid(("", *map(variant_cell, columns)), own, words=range(len(columns) + 1)),
    ]
    return [grid for grid in grids if grid.rows]


def _cell(name: str, value: Any) -> str:
    return _NONE[name] if value is None and name in _NONE else show(name, value)
