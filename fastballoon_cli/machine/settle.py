"""Who has the guest of a migration that has ended, or was cut short; the other QEMU is ended."""

import time
from contextlib import suppress

from fastballoon_cli.errors import FastballoonError, QmpError, VmLostError
from fastballoon_cli.host import procfs
from fastballoon_cli.machine import registry
from fastballoon_cli.machine.registry import Record
from fastballoon_cli.qemu import migration
from fastballoon_cli.qemu.balloon import BalloonDevice
from fastballoon_cli.qemu.qmp import Qmp

__all__ = ["settle"]

#: A migration that was cancelled, or a guest that was handed over, is there in milliseconds.
_SETTLE_SECONDS = 4.0
_POLL_SECONDS = 0.02


def settle(source: Record, target: Record) -> Record:
    """Find out which QEMU has the guest, see to it that the guest runs there, and end the other one.

    A migration that is not complete is cancelled. Can be called again, in another process too, wherever it was
    cut short.

    :returns: the record that has the guest, which is the VM's from now on.
    :raise VmLostError: the guest is gone with its QEMU; neither of the two is left.
    """
    try:
        holder = _find_holder(source, target)
    except VmLostError:
        for record in (source, target):
            procfs.kill(record.pid, record.started)
            procfs.await_end(record.pid, record.started)
        raise
    registry.save(holder)
    other = source if holder is target else target
    if other.alive:
        if other is source:
            _go_on_polling(source, target)
            with suppress(QmpError, VmLostError), Qmp(other.spec.qmp_socket) as qmp:
                qmp.execute("quit")
        else:
            procfs.kill(other.pid, other.started)
        procfs.await_end(other.pid, other.started)
    registry.forget_processes(holder)
    return holder


def _find_holder(source: Record, target: Record) -> Record:
    """Return who has the guest.

    With a return path the source is *completed* only when the destination has said that it has the guest and lets it
    run. From then on the guest's disks, and whom it talked to, may know of what it did there: it cannot go on from what
    the source remembers. So a source that was seen *completed* never runs again, even if the destination has ended
    since and the VM is lost with it. Before that the guest has run nowhere but at the source, and goes on there.
    """
    recorded = registry.started(source.spec.name)
    if recorded and recorded.spec.generation == target.spec.generation:
        target.require_alive()
        return target
    try:
        with Qmp(source.spec.qmp_socket) as qmp:
            if not _has_handed_over(qmp):
                _let_run(qmp)
                return source
    except VmLostError:
        if _runs(target):
            return target
        source.require_alive()
        raise
    except QmpError:
        # It does not answer. Unless it has handed the guest over, it goes on with it as soon as the other is gone.
        return target if _runs(target) else source
    _runs(target)  # it may take a moment
    target.require_alive()
    return target


def _has_handed_over(qmp: Qmp) -> bool:
    """Return whether the guest is at the destination; if the migration has not come to an end, it is cancelled."""
    if _end_migration(qmp) != migration.COMPLETED:
        return False
    # Otherwise that was an earlier migration, of a guest that somebody has let go on since.
    return qmp.execute("query-status")["status"] in {"finish-migrate", "postmigrate"}


def _go_on_polling(source: Record, target: Record) -> None:
    """Have the destination ask the guest for statistics as the source did: an unmodified QEMU forgets about it."""
    with suppress(FastballoonError), Qmp(source.spec.qmp_socket) as here, Qmp(target.spec.qmp_socket) as there:
        interval = BalloonDevice(here).stats().interval_s
        device = BalloonDevice(there)
        if interval and not device.stats().interval_s:
            device.poll_stats(interval)


def _end_migration(qmp: Qmp) -> str:
    """Cancel a migration that is under way, and return how the latest one has ended."""
    now = migration.query(qmp)
    if now.status == "none" or now.ended:
        return now.status
    migration.cancel(qmp)
    deadline = time.monotonic() + _SETTLE_SECONDS
    while not (now := migration.query(qmp)).ended:
        if time.monotonic() > deadline:
            raise QmpError(f"QEMU did not cancel its migration within {_SETTLE_SECONDS:g} s")
        time.sleep(_POLL_SECONDS)
    return now.status


def _let_run(qmp: Qmp) -> None:
    # A source whose migration has failed goes on by itself, in a moment.
    deadline = time.monotonic() + _SETTLE_SECONDS / 2
    while qmp.execute("query-status")["status"] != "running":
        if time.monotonic() > deadline:
            qmp.execute("cont")
            return
        time.sleep(_POLL_SECONDS)


def _runs(record: Record) -> bool:
    """Return whether a destination has the guest running, by now or in a moment."""
    deadline = time.monotonic() + _SETTLE_SECONDS
    try:
        with Qmp(record.spec.qmp_socket) as qmp:
            while qmp.execute("query-status")["status"] != "running":
                if migration.query(qmp).status in {"none", "failed"} or time.monotonic() > deadline:
                    return False
                time.sleep(_POLL_SECONDS)
            return True
    except FastballoonError:
        return False
