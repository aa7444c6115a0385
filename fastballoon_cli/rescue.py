"""Bring a migration to an end whose tool was killed.

The destination's guardian becomes this program. So the destination is a child of it, and the VM's lock is open in it
and held until it has ended.
"""

import contextlib
import os
import signal
import sys
import traceback
from pathlib import Path

from fastballoon_cli.errors import FastballoonError, VmLostError
from fastballoon_cli.machine import registry
from fastballoon_cli.machine.registry import Record
from fastballoon_cli.machine.settle import settle

__all__ = ["main"]


def main(name: str, ends: str = "") -> int:
    """Leave one QEMU with the guest, and nothing of the other.

    Where that cannot be done, both stay as they are: whoever works with the VM next tries again.

    :param ends: anything: the VM was not to outlive the tool. The source has a guardian of its own, which ends it.
    :returns: 0, or the exit code of what went wrong: the VM was lost.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    code = 0
    keep = None
    try:
        if ends:
            registry.forget(name)
        else:
            keep = _settle(name)
    except VmLostError as e:
        print(f"rescue: {e.message}", file=sys.stderr)  # noqa: T201
        code = e.exit_code
    except Exception:
        traceback.print_exc()
        return FastballoonError.exit_code
    for pid in _children():
        if keep is None or pid != keep.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)  # not reaped yet, so the pid cannot have been given to another process
    return code


def _settle(name: str) -> Record | None:
    records = registry.processes(name)
    if len(records) == 2:
        return settle(*records)
    if recorded := registry.started(name):
        # It was killed before the destination had a record, or after the source had gone.
        registry.forget_processes(recorded)
    return recorded


def _children() -> list[int]:
    return [int(pid) for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()]
