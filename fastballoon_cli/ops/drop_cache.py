"""Have a guest drop its cache and say what that gave."""

import time
from collections.abc import Callable

from fastballoon_cli.errors import FastballoonError, GuestError, NotInTimeError
from fastballoon_cli.machine.base import Machine
from fastballoon_cli.machine.reading import read
from fastballoon_cli.machine.session import Session
from fastballoon_cli.ops.provenance import provenance
from fastballoon_cli.progress import Progress
from fastballoon_cli.qemu import drop_cache as requests
from fastballoon_cli.results.model import Change, DropCacheResult

__all__ = ["DEFAULT_SECONDS", "MODES", "ask_again", "drop", "ended", "no_way"]

#: Mode -> what /proc/sys/vm/drop_caches calls it.
MODES = {"pagecache": 1, "slab": 2, "all": 3}
#: A guest under TCG drops a GiB in less than a second.
DEFAULT_SECONDS = 30.0
#: The guest's driver is busy while it drops, and for 0.2 s after that.
_BUSY_SECONDS = 0.1

_REASONS = {
    "refused": "the guest refuses to {what}",
    "busy": "the guest is busy dropping its cache, or reclaiming",
    "reset": "the guest has reset its balloon device, so nobody will answer",
    "migrated": "the guest was migrated before it answered",
    "malformed": "the guest says that the request makes no sense",
    "failed": "the guest could not take the request",
}
_HINTS = {
    "refused": "its owner allows it with: echo Y > /sys/module/virtio_balloon/parameters/drop_cache",
    "busy": "try again in a moment, or wait longer with --timeout",
}


def drop(session: Session, mode: str, *, timeout: float = DEFAULT_SECONDS, progress: Progress) -> DropCacheResult:
    """Have the guest drop what it caches of its disks.

    Through the balloon device where guest and QEMU agreed on that, else through an agent. A guest that refuses
    is not asked by the other way.

    :param mode: a key of :data:`MODES`.
    :param timeout: seconds for the guest's answer; one that is busy is asked again until then.
    :raise GuestError: the guest refused or could not, or there is neither a device to ask nor an agent.
    :raise NotInTimeError: it did not answer in time.
    :raise PreconditionError: the guest is paused.
    """
    session.require_running()
    if session.hurry and not requests.agreed(session.qmp):
        session.meet_agent(patience=timeout / 2)  # who does not answer leaves some of the time to the next one
    _method(session)
    hello, before = session.ask("hello"), read(session)
    method = _method(session)  # once more: an agent may have fallen silent
    progress.step(f"Dropping the cache of '{session.record.name}'")
    begun = time.monotonic()
    told = None
    if method == "balloon":
        told = _by_device(session, mode, timeout)
    elif session.agent:
        session.agent.call("drop_caches", value=MODES[mode], timeout=timeout)
    elif session.qga:
        session.qga.drop_caches(MODES[mode], timeout=timeout)
    seconds = time.monotonic() - begun
    after = read(session, after=True)
    cached = Change(before.guest.droppable, after.guest.droppable)
    return DropCacheResult(
        vm=session.record.name,
        mode=mode,
        method=method,
        duration_s=seconds,
        freed_bytes=max(0, -(cached.delta or 0)) if told is None else told,
        guest_cached_bytes=cached,
        guest_free_bytes=Change(before.guest.free, after.guest.free),
        host_rss_bytes=Change(before.rss_bytes, after.rss_bytes),
        provenance=provenance(session, hello, session.balloon.options(), "poll"),
    )


def _method(session: Session) -> str:
    if requests.agreed(session.qmp):
        return "balloon"
    if session.agent:
        return "agent"
    if session.qga:
        return "qga"
    raise no_way(session.record)


def no_way(machine: Machine) -> GuestError:
    """Return the error that nothing can have a guest drop its cache."""
    if not (machine.login or machine.qga_socket):
        return GuestError(
            "guest and QEMU have not agreed on a way to drop the cache",
            hint="in the guest: echo 1 > /proc/sys/vm/drop_caches; to do it from here, both need fastballoon's series, "
            "or the guest an agent (--ssh; of a VM that is attached, vm attach --qga as well)",
        )
    hint = machine.console()
    if machine.qga_socket:
        hint = f"start qemu-guest-agent in the guest, and see that nobody else talks to it; {hint}"
    return GuestError("guest and QEMU have no way to drop the cache, and no agent in the guest answers", hint=hint)


def _by_device(session: Session, mode: str, timeout: float) -> int:
    answer = ask_again(lambda left: requests.request(session.qmp, mode, timeout=left), timeout)
    if answer.status != "done":
        raise ended(session.record, answer.status, timeout, "drop its cache")
    return answer.freed_bytes


def ask_again(ask: Callable[[float], requests.Answer], timeout: float) -> requests.Answer:
    """Ask a guest until it is not busy any more, for ``timeout`` seconds; return its last answer.

    :param ask: asks once; gets the seconds that are left.
    """
    deadline = time.monotonic() + timeout
    while True:
        answer = ask(max(0.001, deadline - time.monotonic()))
        if answer.status != "busy" or time.monotonic() + _BUSY_SECONDS > deadline:
            return answer
        time.sleep(_BUSY_SECONDS)


def ended(machine: Machine, status: str, timeout: float, what: str) -> FastballoonError:
    """Return the error for a request that was not done.

    :param status: that of its answer.
    :param what: what the guest was asked to do.
    """
    if status == "timeout":
        return NotInTimeError(
            f"the guest did not answer within {timeout:.3g} s",
            hint=f"wait longer with --timeout, or {machine.console()}",
        )
    reason = _REASONS.get(status, f"the request ended with '{status}'").format(what=what)
    return GuestError(reason, hint=_HINTS.get(status))
