"""What the host gained of what a guest gave, and why it is less."""

from fastballoon_cli.ops.resize import Driven
from fastballoon_cli.units import MIB, format_size

__all__ = ["remarks"]

#: What else QEMU's resident memory does meanwhile, either way.
_NOISE = 64 * MIB


def remarks(memory_bytes: int, driven: Driven, *, inhibited: str | None, started: bool) -> list[str]:
    """Return a sentence if the host gained less than half of what the guest gave; none else.

    :param memory_bytes: all of the guest's memory.
    :param inhibited: why QEMU could not discard what came, if it could not.
    :param started: whether the VM was started here, so that its guest can be had to touch its memory.
    """
    given = driven.moved.delta or 0
    if driven.host_rss.after is None:
        return ["what the host has gained is unknown: libvirt does not count memory in huge pages as resident"]
    gained = max(0, -(driven.host_rss.delta or 0))
    if given <= 0 or (gained >= given / 2 and not inhibited):
        return []
    told = f"the guest gave {format_size(given)}, and the host has gained {format_size(gained)} of it"
    if inhibited:
        return [f"{told}: QEMU says that {inhibited}"]
    held = driven.host_rss.before or 0
    never_held = max(0, memory_bytes - held) + _NOISE
    if given - gained <= never_held:
        why = f"the rest it did not hold, as it held {format_size(held)} of the guest's {format_size(memory_bytes)}"
        return [f"{told}: {why}{'; see: fastballoon vm touch --help' if started else ''}"]
    return [f"{told}: it still holds the rest; memory in huge pages is discarded only where a whole one was given"]
