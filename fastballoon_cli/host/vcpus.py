"""How much of the host's CPUs a guest has used."""

from fastballoon_cli.host import procfs
from fastballoon_cli.host.qmp import Qmp

__all__ = ["VcpuClock"]


class VcpuClock:
    """The time that a VM's virtual CPUs have run, all together.

    :param pid: QEMU's.
    """

    def __init__(self, qmp: Qmp, pid: int) -> None:
        self._pid = pid
        self._threads = [int(cpu["thread-id"]) for cpu in qmp.execute("query-cpus-fast")]

    def seconds(self) -> float:
        """Return the time so far; under TCG that includes translating the guest's code.

        :raise VmLostError: QEMU has ended.
        """
        return sum(procfs.thread_cpu_s(self._pid, thread) for thread in self._threads)
