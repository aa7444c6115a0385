"""What a bench is to measure: which variants of what, on guests of which kind."""

import os
from dataclasses import dataclass
from pathlib import Path

from fastballoon_cli.errors import UsageError
from fastballoon_cli.machine.plan import Request
from fastballoon_cli.ops.bench.variants import DEFAULTS, VARIANTS
from fastballoon_cli.units import GIB, MIB, format_size

__all__ = ["GUEST_STATES", "KEPT_EVERY", "MIGRATE_STATES", "Bench", "check"]

GUEST_STATES = ("idle", "touched", "warm", "movable", "fragmented", "cached", "cached-large")
MIGRATE_STATES = ("idle", "touched", "fragmented", "cached", "churning")

#: One page in so many stays in a fragmented guest.
KEPT_EVERY = 64
#: virtio-mem plugs and unplugs in multiples of this, a memory section of x86-64.
_SECTION_BYTES = 128 * MIB


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What is to be measured.

    :ivar scenario: a key of :data:`fastballoon_cli.ops.bench.variants.DEFAULTS`; ``deflate`` inflates first and
        measures the way back, ``drop-cache`` takes a cached guest's memory.
    :ivar variants: keys of :data:`fastballoon_cli.ops.bench.variants.VARIANTS`; none: the scenario's own.
    :ivar target_bytes: the balloon's size; by default three quarters of the memory, five eighths when fragmented.
        A migration has none.
    :ivar balloon_bytes: what is in the balloon when a migration begins.
    :ivar bandwidth: bytes per second of a migration's link at most; 0 for no limit.
    """

    scenario: str
    variants: tuple[str, ...] = ()
    guest_state: str = "touched"
    init_on_alloc: bool = False
    memory_bytes: int = 4 * GIB
    cpus: int = 2
    accel: str = "auto"
    target_bytes: int | None = None
    repeat: int = 5
    balloon_bytes: int = 0
    bandwidth: int = 0

    @property
    def migrates(self) -> bool:
        """Whether guests are migrated, rather than their balloons moved."""
        return self.scenario == "migrate"

    @property
    def target(self) -> int:
        """The balloon's size in bytes."""
        if self.migrates:
            return 0
        if self.target_bytes is not None:
            return self.target_bytes
        eighths = 5 if self.guest_state == "fragmented" else 6
        return self.memory_bytes // 8 * eighths

    @property
    def chosen(self) -> tuple[str, ...]:
        """The variants, each once."""
        return tuple(dict.fromkeys(self.variants or DEFAULTS[self.scenario]))

    @property
    def cached_bytes(self) -> int:
        """What a cached guest has in its page cache; of a guest that is migrated, also what else was written to."""
        return self.memory_bytes // 8 // MIB * 5 * MIB

    @property
    def reclaimed_bytes(self) -> int:
        """How much of it a guest reclaims before its balloon is inflated: four fifths, so what is used can stay."""
        return self.cached_bytes // 5 * 4

    def request(self, variant: str, zero_image: Path | None = None) -> Request:
        """Return the VM that one sample of a variant is taken on.

        :param zero_image: what a guest reads to cache it in large folios.
        """
        chosen = VARIANTS[variant]
        words = [f"init_on_alloc={int(self.init_on_alloc)}"]
        if chosen.pluggable:
            # What can be moved can be unplugged: the setting that virtio-mem's own documentation recommends.
            words.append("memhp_default_state=online_movable")
        if self.guest_state == "movable":
            # What the guest uses itself may be in there too.
            words.append(f"movablecore={(self.target + self.memory_bytes // 16) // MIB}M")
        return Request(
            name=f"bench-{os.getpid()}",
            memory_bytes=self.memory_bytes,
            cpus=self.cpus,
            accel=self.accel,
            guest=chosen.guest,
            kernel=chosen.kernel,
            qemu=chosen.qemu,
            balloon_options=chosen.balloon_options,
            append=" ".join(words),
            pluggable_bytes=self.target if chosen.pluggable else 0,
            zero_disk_bytes=self.memory_bytes if self.guest_state == "cached" else 0,
            zero_image=zero_image,
            zero_disk_leaves_buffers=self.migrates,
        )


def check(bench: Bench) -> None:
    """Check what can be checked before anything is built.

    :raise UsageError: values that cannot be right.
    """
    if bench.repeat < 1:
        raise UsageError(f"{bench.repeat} cannot be a number of samples", hint="use 1 or more; 5 for a median to trust")
    if bench.migrates:
        if bench.balloon_bytes >= bench.memory_bytes // 8 * 7:
            raise UsageError(
                f"a balloon of {format_size(bench.balloon_bytes)} leaves nothing of {format_size(bench.memory_bytes)}",
                hint="--balloon is the balloon's size; leave the guest an eighth of its memory",
            )
        return
    if not 0 < bench.target < bench.memory_bytes:
        raise UsageError(
            f"the target {format_size(bench.target)} is not between nothing and the guest's memory, "
            f"{format_size(bench.memory_bytes)}",
            hint="--target is the balloon's size",
        )
    if any(VARIANTS[variant].pluggable for variant in bench.chosen) and bench.target % _SECTION_BYTES:
        raise UsageError(
            f"virtio-mem cannot unplug {format_size(bench.target)}",
            hint=f"use a --target that is a multiple of {format_size(_SECTION_BYTES)}",
        )
