"""The memory of a VM, as its QEMU counts it."""

from dataclasses import dataclass

from fastballoon_cli.qemu.monitor import Monitor

__all__ = ["Memory", "ask"]


@dataclass(frozen=True)
class Memory:
    """Sizes in bytes.

    :ivar total: all that the guest has, what was plugged in included.
    :ivar ballooned: what a balloon is counted against: what the VM was started with, and DIMMs. QEMU counts neither
        NVDIMMs nor what virtio-mem lends.
    :ivar lent: what virtio-mem lends at most.
    """

    total: int
    ballooned: int
    lent: int


def ask(qmp: Monitor) -> Memory:
    """Ask for it.

    :raise QmpError: QEMU does not answer, or is older than 2.12.
    :raise VmLostError: it has ended.
    """
    summary = qmp.execute("query-memory-size-summary")
    devices = qmp.execute("query-memory-devices")
    base = int(summary["base-memory"])
    of_kind = {
        kind: sum(int(one["data"]["size"]) for one in devices if one["type"] == kind) for kind in ("dimm", "virtio-mem")
    }
    return Memory(
        total=base + int(summary.get("plugged-memory", 0)),
        ballooned=base + of_kind["dimm"],
        lent=of_kind["virtio-mem"],
    )
