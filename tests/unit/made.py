"""Results as a bench would have written them, and VMs in the registry, made up for tests."""

import os
from pathlib import Path
from types import SimpleNamespace

from fastballoon_cli.host import procfs
from fastballoon_cli.machine import registry
from fastballoon_cli.machine.local import LocalQemu
from fastballoon_cli.machine.reading import GuestMemory, Reading
from fastballoon_cli.machine.registry import Record
from fastballoon_cli.machine.spec import QemuSpec
from fastballoon_cli.results.bench import BenchResult, Case
from fastballoon_cli.results.curve import Curve
from fastballoon_cli.results.model import Change, Counts, MoveResult, Phases

GIB = 1 << 30

PHASES = {"allocate_s": 0.1, "send_s": 0.68, "translate_s": 0.06, "discard_s": 0.15, "other_s": 0.01}
COUNTS = {"kicks": 3072, "messages": 3072, "discards": 786432}


def provenance(variant, **changes):
    build = "stock" if variant.startswith("stock") else "fast"
    return {
        "tool_version": "0.1.0",
        "time": "2026-01-02T03:04:05+00:00",
        "host_cpu": "Some CPU",
        "host_kernel": "6.12.1",
        "host_thp": "madvise",
        "accel": "tcg",
        "memory_bytes": 4 * GIB,
        "cpus": 2,
        "kernel_variant": build,
        "qemu_variant": build,
        "qemu_version": "10.0.13",
        "qemu_sha256": f"{build}-qemu",
        "qemu_series_sha256": None if build == "stock" else "a" * 64,
        "kernel_series_sha256": None if build == "stock" else "b" * 64,
        "guest_kernel": f"6.12.117-{build}",
        "guest_thp": "always",
        "init_on_alloc": False,
        "device_options": {"x-page-bitmap": build == "fast", "deflate-on-oom": False},
        "clock": "qemu" if build == "fast" else "poll",
        **changes,
    }


def case(variant, durations, phases=(), provenance_changes=(), **more):
    """Return a case whose phases are shares of its durations."""
    samples = [
        {
            "duration_s": duration,
            "guest_cpu_s": duration * 0.9,
            **{name: share * duration for name, share in dict(phases).items()},
            **more,
        }
        for duration in durations
    ]
    return Case(variant, "pfn", samples, provenance=provenance(variant, **dict(provenance_changes)))


def single(**changes):
    """Return what an inflation has printed."""
    values = dict(
        operation="inflate",
        vm="v",
        method="pfn",
        target_bytes=GIB,
        balloon_bytes=Change(0, GIB),
        duration_s=2.5,
        guest_cpu_s=2.0,
        phases_s=Phases(),
        counts=Counts(),
        host_rss_bytes=Change(2 * GIB, None),
        guest_free_bytes=Change(3 * GIB, 2 * GIB),
        provenance={"accel": "tcg", "host_cpu": "Some CPU"},
    )
    return MoveResult(**(values | changes))


def bench(*cases, **changes):
    values = dict(
        scenario="inflate",
        guest_state="touched",
        init_on_alloc=False,
        memory_bytes=4 * GIB,
        target_bytes=3 * GIB,
        repeat=5,
        cases=list(cases),
        floor=[0.008, 0.009, 0.010],
    )
    return BenchResult(**(values | changes))


def three_variants(*, over_time=False, **changes):
    """Return a bench as the defaults make it.

    :param over_time: with the guest's memory over time, which older files do not have.
    """
    made = bench(
        case("stock", [4.0, 3.9, 4.2, 4.1, 3.8], host_rss_bytes_after=GIB),
        case("fast-pfn", [1.6, 1.5, 1.7, 1.6, 1.6], PHASES, host_rss_bytes_after=GIB, **COUNTS),
        case(
            "fast",
            [0.014, 0.013, 0.015, 0.014, 0.016],
            PHASES,
            host_rss_bytes_after=GIB,
            kicks=1,
            messages=1,
            discards=7,
        ),
        **changes,
    )
    if over_time:
        for one in made.cases:
            one.guest_memory = Curve("left", [0.0, one.median("duration_s")], [4 * GIB, GIB])
    return made


def migration():
    """Return a bench of migrations."""

    def one(variant, total, sent):
        samples = [
            {"total_s": total + 0.01 * n, "transferred_bytes": sent, "downtime_s": 0.03, "guest_paused_s": 0.04,
             "guest_cpu_s": 0.1, "guest_min_free_bytes": GIB, "passes": 3}
            for n in range(5)
        ]  # fmt: skip
        curve = Curve("free", [0.0, total / 2, total], [3 * GIB, GIB, 3 * GIB])
        return Case(variant, None, samples, provenance=provenance(variant), guest_memory=curve)

    return bench(
        one("stock", 12.0, 4 * GIB),
        one("fast", 2.0, GIB // 2),
        scenario="migrate",
        target_bytes=0,
        floor=[],
        bandwidth_bytes_per_s=256 << 20,
    )


def record(name, pid=None, started=None, *, generation=0, **changes):
    """Put a VM into the registry whose QEMU is this very process, or another one."""
    folder = registry.vm_dir(name)
    folder.mkdir(parents=True, exist_ok=True)
    values = dict(
        name=name, binary=Path("q"), firmware=(), kernel=Path("k"), rootfs=Path("r"), memory_bytes=GIB, cpus=1,
        accel="tcg", balloon_options="", append="", ssh_port=1, directory=folder, generation=generation,
    )  # fmt: skip
    pid = pid or os.getpid()
    started = procfs.start_time(pid) if started is None else started
    made = Record(spec=QemuSpec(**values | changes), kernel="fast", qemu="fast", pid=pid, started=started, ready=True)
    made.spec.process_directory.mkdir(exist_ok=True)
    registry.save(made)
    return made


class Machine(LocalQemu):
    """A machine of which a reading can be made, and nothing else.

    :param said: notes when the virtual CPUs' time was asked, which is a second more each time.
    """

    login, agent_socket, qga_socket = "somehow", None, None

    def __init__(self, name="v", *, rss=4096, balloon=0, said=None):
        self.name, self._rss, self._balloon = name, rss, balloon
        self._said, self._seconds = [] if said is None else said, 0.0

    def console(self):
        return "look at its console"

    def facts(self, monitor):
        return None

    def balloon(self, monitor, facts):
        return balloon_of(self._balloon)

    def process(self, monitor):
        return SimpleNamespace(rss=lambda: self._rss, vcpu_seconds=self._run)

    def _run(self):
        self._said.append("vcpus")
        self._seconds += 1
        return self._seconds


def balloon_of(size=0):
    """Return a balloon that nobody moves, of an unmodified QEMU."""
    return SimpleNamespace(size=lambda: size, counters=lambda: None, options=dict)


def reading(*, rss=None, free=None, vcpu_s=0.0):
    """Return what was read of a VM."""
    guest = GuestMemory(values={} if free is None else {"MemFree": free})
    return Reading(balloon_bytes=0, device=None, driver=None, rss_bytes=rss, vcpu_s=vcpu_s, guest=guest)
