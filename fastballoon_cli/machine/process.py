"""What the host's kernel counts of a QEMU process."""

from fastballoon_cli.host import procfs
from fastballoon_cli.qemu.monitor import Monitor

__all__ = ["Process"]


class Process:
    """A QEMU of this host.

    :param pid: QEMU's.
    """

    def __init__(self, qmp: Monitor, pid: int) -> None:
        self._pid = pid
        self._threads = [int(cpu["thread-id"]) for cpu in qmp.execute("query-cpus-fast")]

    def rss(self) -> int:
        """Return its resident memory in bytes.

        :raise VmLostError: QEMU has ended.
        """
        return procfs.rss_bytes(self._pid)

    def vcpu_seconds(self) -> float:
        """Return for how long the virtual CPUs have run so far, all together.

        Under TCG that includes translating the guest's code.

        :raise VmLostError: QEMU has ended.
        """
        return sum(procfs.thread_cpu_s(self._pid, thread) for thread in self._threads)
