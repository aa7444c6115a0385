"""What an answer of the guest's agent must look like, as a guest is not to be trusted."""

from collections.abc import Callable
from typing import Any

from fastballoon_cli.errors import GuestError

__all__ = ["check", "printable"]

_MOST_SAID = 500

_Check = Callable[[Any], bool]


def check(verb: str, answer: Any) -> Any:
    """Return the answer to a verb if it has all that is read of it.

    :raise GuestError: it has not.
    """
    if verb in _CHECKS and not _CHECKS[verb](answer):
        raise GuestError(f"the guest's answer to '{verb}' makes no sense", details=repr(answer)[:200])
    return answer


def printable(text: str) -> str:
    """Return a guest's words without what a terminal would obey, and not too many of them."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:_MOST_SAID])


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _bool(value: Any) -> bool:
    return isinstance(value, bool)


def _or_none(inner: _Check) -> _Check:
    return lambda value: value is None or inner(value)


def _list(inner: _Check) -> _Check:
    return lambda value: isinstance(value, list) and all(map(inner, value))


def _fields(**wanted: _Check) -> _Check:
    return lambda value: (
        isinstance(value, dict) and all(name in value and inner(value[name]) for name, inner in wanted.items())
    )


def _sizes(*wanted: str) -> _Check:
    """Return a check for whole numbers by name, among them those that are wanted."""
    return lambda value: isinstance(value, dict) and all(map(_whole, value.values())) and set(wanted) <= value.keys()


_CHECKS: dict[str, _Check] = {
    "hello": _fields(kernel=_text, thp=_or_none(_text), init_on_alloc=_or_none(_bool)),
    "driver": _fields(version=_or_none(_text), installed=_bool, headers=_bool, secure_boot=_bool),
    "memory": _sizes("MemTotal", "MemFree", "MemAvailable", "Cached", "Shmem", "Buffers", "SReclaimable"),
    "balloon": _or_none(_sizes()),
    "vmstat": _sizes("oom_kill"),
    "touch": _fields(bytes=_whole, mismatches=_whole, fill_ns=_whole),
    "read_disk": _fields(ns=_whole, disk_bytes=_whole),
    "churn_finish": _fields(pages=_whole, mismatches=_whole, failed=_list(_text)),
    "watch_finish": _or_none(_fields(min_free_bytes=_whole, seconds=_list(_number), free_bytes=_list(_whole))),
}
