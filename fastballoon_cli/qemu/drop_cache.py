"""Requests to the guest to drop its cache, through the balloon device of a patched QEMU."""

from dataclasses import dataclass

from fastballoon_cli.qemu.monitor import CommandNotFoundError, Monitor

__all__ = ["Answer", "agreed", "request"]

_EVENT = "X_BALLOON_DROP_CACHE_ENDED"
#: QEMU ends every request itself; this much later it must have said so.
_GRACE_SECONDS = 5.0


@dataclass(frozen=True)
class Answer:
    """How a request ended.

    :ivar status: ``done``, or why not: ``refused``, ``busy``, ``malformed`` and ``failed`` are the guest's words;
        ``timeout``, ``reset`` and ``migrated`` are QEMU's.
    :ivar freed_bytes: what the guest says it has freed.
    """

    status: str
    freed_bytes: int


def agreed(qmp: Monitor) -> bool:
    """Return whether guest and QEMU have agreed on such requests."""
    try:
        return bool(qmp.execute("x-query-balloon-drop-cache")["negotiated"])
    except CommandNotFoundError:
        return False


def request(qmp: Monitor, mode: str, *, timeout: float) -> Answer:
    """Ask the guest once and wait for the end of it.

    :param mode: ``pagecache``, ``slab`` or ``all``.
    :param timeout: seconds after which QEMU gives the guest up.
    :raise QmpError: QEMU refused to ask.
    """
    data = qmp.execute_until(
        "x-balloon-drop-cache",
        {"mode": mode, "timeout": max(1, round(timeout * 1000))},
        event=_EVENT,
        ends=lambda answer, data: data["id"] == answer["id"],
        timeout=timeout + _GRACE_SECONDS,
    )
    return Answer(data["status"], data["freed-bytes"])
