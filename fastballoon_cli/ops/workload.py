"""What the guest does while it is migrated: work that is checked afterwards, and a watch of its free memory."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastballoon_cli.errors import FastballoonError, GuestError, IntegrityError
from fastballoon_cli.guest.agent import AgentClient
from fastballoon_cli.machine.base import Machine
from fastballoon_cli.machine.session import Session, connect_agent
from fastballoon_cli.results.curve import Curve, thinned
from fastballoon_cli.results.migration import Verified
from fastballoon_cli.units import MIB

__all__ = ["Watched", "abandon", "end_watch", "end_work", "start_watch", "start_work"]

#: What the workload writes per second, unless the link is too slow for that.
_RATE = 64 * MIB
#: A guest that writes more than a part of what its link carries may never be complete.
_SHARE_OF_LINK = 4
_START_SECONDS = 40.0
_CHECK_SECONDS = 30.0
#: The guest's processes end by themselves so long after the tool would have given up, should it be killed.
_GRACE_SECONDS = 60.0
_ABANDON_SECONDS = 3.0


def start_work(agent: AgentClient, *, bandwidth: int, timeout: float) -> None:
    """Have the guest begin to write and check memory of its own.

    :param bandwidth: bytes per second of the link, 0 for no limit.
    :param timeout: seconds that the migration may take.
    :raise GuestError: it could not.
    """
    rate = min(_RATE, bandwidth // _SHARE_OF_LINK) if bandwidth else _RATE
    seconds = timeout + _GRACE_SECONDS
    agent.call("churn_start", rate=max(MIB, rate), seconds=seconds, timeout=_START_SECONDS)


def end_work(agent: AgentClient, machine: Machine) -> Verified:
    """Have the guest check all that it has written.

    :param machine: the one that the agent is in.
    :raise IntegrityError: a page is not what it was, or a process is gone or hangs, and so has checked nothing.
    """
    try:
        raw = agent.call("churn_finish", seconds=_CHECK_SECONDS, timeout=3 * _CHECK_SECONDS)
    except GuestError as e:
        raise IntegrityError(f"the guest's memory could not be checked: {e.message}", details=e.details) from e
    return _judge(raw, machine)


def _judge(raw: Mapping[str, Any], machine: Machine) -> Verified:
    if raw["failed"]:
        raise IntegrityError(
            f"the guest's memory could not be checked: {', '.join(raw['failed'])} died or hang in the guest",
            hint=machine.console(),
        )
    verified = Verified(pages=raw["pages"], mismatches=raw["mismatches"])
    if verified.mismatches or not verified.pages:
        raise IntegrityError(
            f"{verified.mismatches} of {verified.pages} pages that the guest checked are not what was written to them",
            hint=f"trust nothing in this guest any more, and end it; {machine.console()}",
        )
    return verified


@dataclass(frozen=True)
class Watched:
    """What the guest saw of its free memory.

    :ivar least: bytes.
    :ivar points: seconds since it began to look, and bytes.
    """

    least: int
    points: list[tuple[float, int]]

    def between(self, begin: float, end: float) -> Curve | None:
        """Return the points of so many seconds as a curve that begins at 0; None if there are none."""
        chosen = [(at - begin, size) for at, size in self.points if begin <= at <= end]
        return thinned("free", chosen)


def start_watch(session: Session, *, timeout: float) -> float | None:
    """Have the guest look at its free memory all the time; return when it began to, as ``time.monotonic`` does.

    :param timeout: seconds that the migration may take.
    :returns: None if nobody looks, as the agent does not answer.
    """
    session.ask("watch_start", seconds=timeout + _GRACE_SECONDS)
    return None if session.agent is None else time.monotonic()


def end_watch(session: Session) -> Watched | None:
    """Return what the guest saw; None if nobody saw it to the end."""
    raw = session.ask("watch_finish", timeout=_CHECK_SECONDS)
    if raw is None:
        return None
    return Watched(raw["min_free_bytes"], list(zip(raw["seconds"], raw["free_bytes"], strict=False)))


def abandon(machine: Machine) -> None:
    """End the guest's work without a check, if the guest answers soon; else it ends by itself."""
    try:
        with connect_agent(machine, timeout=_ABANDON_SECONDS) as agent:
            agent.call("churn_kill", timeout=_ABANDON_SECONDS)
    except FastballoonError:
        pass
