"""Have a guest reclaim memory and say what that gave."""

import time
from contextlib import suppress

from fastballoon_cli.errors import FastballoonError, GuestError, UsageError
from fastballoon_cli.machine.reading import read
from fastballoon_cli.machine.session import Session
from fastballoon_cli.ops.drop_cache import DEFAULT_SECONDS, ask_again, ended
from fastballoon_cli.ops.provenance import provenance
from fastballoon_cli.progress import Progress
from fastballoon_cli.qemu import drop_cache as requests
from fastballoon_cli.results.model import Change, ReclaimResult
from fastballoon_cli.units import PAGE_BYTES

__all__ = ["check", "no_way", "reclaim"]


def check(size: int) -> None:
    """Check how much a guest is to reclaim.

    :raise UsageError: ``size`` is 0, or no multiple of 4 KiB.
    """
    if size == 0 or size % PAGE_BYTES:
        raise UsageError(f"{size} bytes can't be reclaimed", hint="say how much is wanted, in pages of 4 KiB")


def reclaim(
    session: Session, size: int, *, anonymous: bool = False, timeout: float = DEFAULT_SECONDS, progress: Progress
) -> ReclaimResult:
    """Have the guest's kernel free ``size`` bytes: what it has not used for the longest time first.

    Only the balloon device can ask for that. A guest that has less to give says how much that was. One that does not
    end in time is told to stop.

    :param anonymous: what it can swap, too; else only its caches.
    :param timeout: seconds for the guest's answer; one that is busy is asked again until then.
    :raise UsageError: as :func:`check` does.
    :raise GuestError: the guest refused or could not, or it and QEMU have not agreed on that.
    :raise NotInTimeError: it did not answer in time.
    :raise PreconditionError: the guest is paused.
    """
    check(size)
    session.require_running()
    if not requests.agreed(session.qmp):
        raise no_way()
    hello, before = session.ask("hello"), read(session)
    progress.step(f"Reclaiming memory of '{session.record.name}'")
    begun = time.monotonic()
    answer = ask_again(
        lambda left: requests.request_reclaim(session.qmp, size, anonymous=anonymous, timeout=left), timeout
    )
    seconds = time.monotonic() - begun
    if answer.status == "timeout":
        # Whoever has given it up must not find its cache gone minutes later.
        with suppress(FastballoonError):
            requests.stop_reclaim(session.qmp)
    if answer.status != "done":
        raise ended(session.record, answer.status, timeout, "reclaim memory")
    after = read(session, after=True)
    return ReclaimResult(
        vm=session.record.name,
        method="balloon",
        anonymous=anonymous,
        requested_bytes=size,
        duration_s=seconds,
        freed_bytes=answer.freed_bytes,
        guest_cached_bytes=Change(before.guest.droppable, after.guest.droppable),
        guest_free_bytes=Change(before.guest.free, after.guest.free),
        host_rss_bytes=Change(before.rss_bytes, after.rss_bytes),
        provenance=provenance(session, hello, session.balloon.options(), "poll"),
    )


def no_way() -> GuestError:
    """Return the error that nothing can have a guest reclaim."""
    return GuestError(
        "guest and QEMU have not agreed on requests to reclaim memory",
        hint="both need fastballoon's series, and the device x-drop-cache=on; an agent in the guest can drop its whole "
        "cache: fastballoon drop-cache",
    )
