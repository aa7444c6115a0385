"""Bring a migration to an end whose tool was killed: ``python -m fastballoon_cli.rescue VM``.

The destination's guardian becomes this program. So the destination is a child of it, and the VM's lock is open in it
and held until it has ended.
"""

import contextlib
import os
import signal
import sys
from pathlib import Path

from fastballoon_cli.errors import FastballoonError
from fastballoon_cli.host import vms
from fastballoon_cli.ops.handover import settle

__all__ = ["main"]


def main(name: str) -> int:
    """Leave one QEMU with the guest, and nothing of the other.

    :returns: 0, or the exit code of what went wrong: the VM was lost.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    records = vms.processes(name)
    code = 0
    keep = None
    try:
        if len(records) == 2:
            keep = settle(*records)
        elif recorded := vms.load(name):
            # It was killed before the destination had a record, or after the source had gone.
            keep = recorded
            vms.forget_processes(recorded)
    except FastballoonError as e:
        print(f"rescue: {e.message}", file=sys.stderr)  # noqa: T201
        code = e.exit_code
    for pid in _children():
        if keep is None or pid != keep.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)  # not reaped yet, so the pid cannot have been given to another process
    return code


def _children() -> list[int]:
    return [int(pid) for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
