"""Requests to the guest to drop its cache or to reclaim memory, through the balloon device of a patched QEMU."""

from dataclasses import dataclass
from typing import Any

from fastballoon_cli.qemu.monitor import CommandNotFoundError, Monitor

__all__ = ["Answer", "agreed", "request", "request_reclaim", "stop_reclaim"]

#: Command -> the event that says how the request has ended.
_EVENTS = {
    "x-balloon-drop-cache": "X_BALLOON_DROP_CACHE_ENDED",
    "x-balloon-reclaim": "X_BALLOON_RECLAIM_ENDED",
}
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
    """Ask the guest once to drop its cache and wait for the end of it.

    :param mode: ``pagecache``, ``slab`` or ``all``.
    :param timeout: seconds after which QEMU gives the guest up.
    :raise QmpError: QEMU refused to ask.
    """
    return _request(qmp, "x-balloon-drop-cache", {"mode": mode}, timeout)


def request_reclaim(qmp: Monitor, size: int, *, anonymous: bool, timeout: float) -> Answer:
    """Ask the guest to reclaim ``size`` bytes and wait for the end of it.

    :param anonymous: memory that it can swap as well.
    :param timeout: seconds after which QEMU gives the guest up; the guest goes on.
    :raise QmpError: QEMU refused to ask.
    """
    return _request(qmp, "x-balloon-reclaim", {"size": size, "anonymous": anonymous}, timeout)


def stop_reclaim(qmp: Monitor) -> None:
    """Have the guest end a request to reclaim that it follows; nobody waits for that.

    :raise QmpError: QEMU refused to ask.
    """
    qmp.execute("x-balloon-reclaim", {"size": 0})


def _request(qmp: Monitor, command: str, arguments: dict[str, Any], timeout: float) -> Answer:
    data = qmp.execute_until(
        command,
        {**arguments, "timeout": max(1, round(timeout * 1000))},
        event=_EVENTS[command],
        ends=lambda answer, data: data["id"] == answer["id"],
        timeout=timeout + _GRACE_SECONDS,
    )
    return Answer(data["status"], data["freed-bytes"])
