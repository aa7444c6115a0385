"""The virtio-mem device as QEMU shows it."""

from fastballoon_cli.qemu.monitor import Monitor

__all__ = ["VIRTIO_MEM_ID", "VirtioMemDevice"]

#: QOM id of the device, below /machine/peripheral.
VIRTIO_MEM_ID = "vmem0"
_PATH = f"/machine/peripheral/{VIRTIO_MEM_ID}"


class VirtioMemDevice:
    """The virtio-mem device of a VM; speaks, like the balloon, of how much it has taken from the guest.

    :param pluggable_bytes: how much it lends at most.
    """

    def __init__(self, qmp: Monitor, pluggable_bytes: int) -> None:
        self._qmp = qmp
        self._pluggable = pluggable_bytes

    def size(self) -> int:
        """Return how many bytes are unplugged."""
        return self._pluggable - int(self._qmp.execute("qom-get", {"path": _PATH, "property": "size"}))

    def set_target(self, size: int) -> None:
        """Ask the guest to have ``size`` bytes unplugged; returns at once."""
        plugged = self._pluggable - size
        self._qmp.execute("qom-set", {"path": _PATH, "property": "requested-size", "value": plugged})
