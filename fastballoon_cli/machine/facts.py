"""What is known of a VM, whoever has started it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fastballoon_cli.qemu import memory
from fastballoon_cli.qemu.monitor import Monitor

__all__ = ["Facts", "ask"]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """A VM as it runs now.

    :ivar memory_bytes: all of the guest's memory, what was plugged in included.
    :ivar accel: ``kvm`` or ``tcg``.
    :ivar lent_bytes: how much of it virtio-mem lends at most, which no balloon takes.
    :ivar ballooned_bytes: what a balloon is counted against; None where that was not asked.
    :ivar kernel, qemu: variant of either half, such as ``fast`` or ``stock``; None where this tool has built neither.
    :ivar host: the name of the host that it runs on, where that is not this one.
    :ivar built: facts about the artifacts, for a result's provenance; the version of QEMU at least.
    """

    name: str
    memory_bytes: int
    cpus: int
    accel: str
    lent_bytes: int = 0
    ballooned_bytes: int | None = None
    kernel: str | None = None
    qemu: str | None = None
    built: Mapping[str, Any] = field(default_factory=dict)
    host: str | None = None


def ask(name: str, qmp: Monitor) -> Facts:
    """Ask a QEMU of which nothing is known.

    :raise QmpError: it does not answer, or is older than 2.12.
    :raise VmLostError: it has ended.
    """
    sizes = memory.ask(qmp)
    return Facts(
        name=name,
        memory_bytes=sizes.total,
        cpus=len(qmp.execute("query-cpus-fast")),
        accel="kvm" if qmp.execute("query-kvm")["enabled"] else "tcg",
        lent_bytes=sizes.lent,
        ballooned_bytes=sizes.ballooned,
        built={"qemu_version": _version(qmp.execute("query-version"))},
    )


def _version(answer: Mapping[str, Any]) -> str:
    number = ".".join(str(answer["qemu"][part]) for part in ("major", "minor", "micro"))
    package = str(answer.get("package") or "").strip("() ")
    return f"{number} ({package})" if package else number
