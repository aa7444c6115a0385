"""Who has the guest of a migration that has ended, or was cut short; the other QEMU is ended."""

import time
from contextlib import suppress

from fastballoon_cli.errors import FastballoonError, QmpError, VmLostError
from fastballoon_cli.host import migration, procfs, vms
from fastballoon_cli.host.qmp import Qmp
from fastballoon_cli.host.vms import Record

__all__ = ["settle"]

#: A migration that was cancelled, or a guest that was handed over, is there in milliseconds.
_SETTLE_SECONDS = 4.0
_POLL_SECONDS = 0.02


def settle(source: Record, target: Record) -> Record:
    """Find out which QEMU has the guest, see to it that the guest runs there, and end the other one.

    A migration that is not complete is cancelled. Can be called again, in another process too, wherever it was
    cut short.

    :returns: the record that has the guest, which is the VM's from now on.
    :raise VmLostError: the guest is gone with its QEMU.
    """
    try:
        holder = _find_holder(source, target)
    except VmLostError:
        procfs.kill(target.pid, target.started)
        vms.await_end(target.pid, target.started)
        raise
    vms.save(holder)
    other = source if holder is target else target
    if other.alive:
        if other is source:
            with suppress(QmpError, VmLostError), Qmp(other.spec.qmp_socket) as qmp:
                qmp.execute("quit")
        else:
            procfs.kill(other.pid, other.started)
        vms.await_end(other.pid, other.started)
    vms.forget_processes(holder)
    return holder


def _find_holder(source: Record, target: Record) -> Record:
    recorded = vms.load(source.spec.name)
    if recorded and recorded.spec.generation == target.spec.generation and target.alive:
        return target
    try:
        with Qmp(source.spec.qmp_socket) as qmp:
            # With a return path the source is complete only when the destination says that the guest runs there.
            if _end_migration(qmp) == migration.COMPLETED and _runs(target):
                return target
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
    # A source whose migration has failed goes on by itself; only one that was complete has to be told.
    deadline = time.monotonic() + _SETTLE_SECONDS / 2
    while (status := qmp.execute("query-status")["status"]) != "running":
        if status == "postmigrate" or time.monotonic() > deadline:
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
