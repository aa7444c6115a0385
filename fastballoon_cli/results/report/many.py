"""The section on one operation on several VMs at once: a row for each, and one for all of them."""

from fastballoon_cli.errors import FastballoonError
from fastballoon_cli.results.many import Done, ManyResult
from fastballoon_cli.results.model import Change, MoveResult
from fastballoon_cli.results.page.model import Cell, Grid, Section, Tone
from fastballoon_cli.units import format_duration, format_size

__all__ = ["many_section"]

_METHOD, _FREED, _BALLOON, _DURATION = "method", "freed", "balloon", "duration"
_HOST, _ERROR = "host memory (RSS of QEMU)", "error"
_TITLES = (_METHOD, _FREED, _BALLOON, _DURATION, _HOST, _ERROR)

_Cells = dict[str, str | Cell]


def many_section(result: ManyResult) -> Section:
    """Return what an operation has done with each of several VMs; an error in one line, without its hint."""
    rows = [(name, _done(one) if isinstance(one, Done) else _failed(one)) for name, one in result.outcomes.items()]
    titles = [title for title in _TITLES if any(title in cells for _, cells in rows)]
    rows.append(("all", _all(result)))
    grid = Grid(
        ("VM", *titles),
        [(name, *(cells.get(title, "") for title in titles)) for name, cells in rows],
        words={column for column, title in enumerate(titles, 1) if title in (_METHOD, _ERROR)},
    )
    count = len(result.outcomes)
    return Section(f"{result.operation} {count} VM{'' if count == 1 else 's'}", [grid])


def _done(one: Done) -> _Cells:
    result = one.result
    cells: _Cells = {
        _METHOD: result.method,
        _DURATION: format_duration(result.duration_s),
        _HOST: _change(result.host_rss_bytes),
    }
    if isinstance(result, MoveResult):
        cells[_BALLOON] = _change(result.balloon_bytes)
    if one.freed:
        cells[_FREED] = format_size(sum(freed.freed_bytes for freed in one.freed))
    return cells


def _failed(error: FastballoonError) -> _Cells:
    return {_METHOD: Cell("failed", Tone.BAD), _ERROR: error.message}


def _all(result: ManyResult) -> _Cells:
    cells: _Cells = {_DURATION: format_duration(result.duration_s), _HOST: _change(result.host_rss_bytes)}
    if result.failures:
        cells[_METHOD] = Cell(f"{len(result.failures)} failed", Tone.BAD)
    if result.balloon_bytes:
        cells[_BALLOON] = _change(result.balloon_bytes)
    if result.freed_bytes is not None:
        cells[_FREED] = format_size(result.freed_bytes)
    return cells


def _change(change: Change | None) -> str:
    if change is None or (change.before is None and change.after is None):
        return "unknown"
    return " → ".join("unknown" if size is None else format_size(size) for size in (change.before, change.after))
