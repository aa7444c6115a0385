"""A guest that lives on with an inflated balloon is as healthy as with the unmodified pair."""

import pytest

from fastballoon_cli.machine.session import hold
from fastballoon_cli.ops import balloon, migrate, vm
from fastballoon_cli.progress import Silent
from fastballoon_cli.qemu.balloon import BalloonDevice
from fastballoon_cli.qemu.virtio_mem import VirtioMemDevice
from tests.conftest import kernel_warnings
from tests.guest.strained import GIB, MIB, PAGE, on_both, settled, shared_rss, spinning

pytestmark = [pytest.mark.guest, pytest.mark.long]

#: For the full size; the smaller one beside it takes a minute.
FULL_SIZE = pytest.mark.timeout(900)
#: A block of memory that the kernel plugs and unplugs as a whole.
BLOCK = 128 * MIB


@pytest.mark.parametrize(("memory", "size"), [(GIB, 384 * MIB), pytest.param(4 * GIB, 2 * GIB, marks=FULL_SIZE)])
def test_memory_blocks_can_be_offlined_with_an_inflated_balloon(boot, record_property, memory, size):
    def offline(session):
        balloon.inflate(session, size, progress=Silent())
        counted = session.agent.call("offline_blocks", timeout=120)
        assert BalloonDevice(session.qmp).size() == size
        if session.record.kernel == "fast":
            assert balloon.deflate(session, progress=Silent()).balloon_bytes.after == 0
            assert vm.touch(session.agent, Silent(), size=memory // 2, verify=True)["mismatches"] == 0
        return counted

    stock, fast = on_both(boot, offline, record_property, memory_bytes=memory)
    assert stock["blocks"] == fast["blocks"] == memory // BLOCK
    # One more or less is a matter of where the kernel's own memory came to lie.
    assert fast["offline"] >= min(0.9 * stock["offline"], stock["offline"] - 1) > 0, (stock, fast)


def test_virtio_mem_unplugs_as_far_with_an_inflated_balloon(boot, record_property):
    """From zones whose memory the kernel may use for itself, which is where a block that nobody can move hurts."""
    lent, size = GIB, 512 * MIB

    def unplug(session):
        balloon.inflate(session, size, progress=Silent())
        device = VirtioMemDevice(session.qmp, lent)
        device.set_target(lent)
        # A block of memory that can't be taken offline is tried for 7 to 8 s, by either kernel, before the next one is.
        return settled(device.size, lent, still=20.0)

    stock, fast = on_both(
        boot,
        unplug,
        record_property,
        memory_bytes=2 * GIB,
        pluggable_bytes=lent,
        append="memhp_default_state=online_kernel",
    )
    assert fast >= stock - BLOCK, (stock, fast)
    assert stock > 0


@pytest.mark.parametrize(
    ("memory", "pieces", "size", "huge"),
    [
        (GIB, 448 * MIB, 384 * MIB, 128 * MIB),
        pytest.param(4 * GIB, 2 * GIB, 1536 * MIB, 512 * MIB, marks=FULL_SIZE),
    ],
)
def test_huge_pages_can_be_had_beside_an_inflated_balloon(boot, record_property, memory, pieces, size, huge):
    """Half of the guest is in pieces: if the balloon takes the other half first, huge pages have to be made."""

    def fault(session):
        session.agent.call("fragment", every=64, size=pieces, timeout=300)
        balloon.inflate(session, size, progress=Silent())
        orders = session.agent.call("free_by_order")
        free = [count << order for order, count in enumerate(orders)]
        plain = session.agent.call("fault_huge", size=huge, timeout=120)
        advised = session.agent.call("fault_huge", size=huge, advise=True, timeout=120)
        return {
            "fallback": plain["thp_fault_fallback"] + advised["thp_fault_fallback"],
            "had": plain["thp_fault_alloc"] + advised["thp_fault_alloc"],
            "stalls": advised["compact_stall"],
            # The share of free memory from which the kernel serves a request of 8 pages without compacting first.
            "order_3": sum(free[3:]) / sum(free),
        }

    stock, fast = on_both(boot, fault, record_property, memory_bytes=memory)
    slack = huge // (2 * MIB) // 16
    assert stock["had"] > 0
    assert fast["fallback"] <= 1.1 * stock["fallback"] + slack, (stock, fast)
    assert fast["stalls"] <= 1.1 * stock["stalls"] + slack, (stock, fast)
    assert fast["order_3"] >= 0.9 * stock["order_3"], (stock, fast)


@pytest.mark.parametrize(
    ("memory", "movable"), [(GIB, 640 * MIB), pytest.param(4 * GIB, 3 * GIB, marks=FULL_SIZE)]
)  # fmt: skip
def test_movable_memory_comes_back_in_few_batches_while_others_run(boot, record_property, memory, movable):
    seconds = 4.0 * memory / GIB

    def move(session):
        name = session.record.spec.name
        with spinning(name, seconds) as ran:
            balloon.inflate(session, movable, progress=Silent())
        up = ran["longest_gap_s"]
        with spinning(name, seconds) as ran:
            down = balloon.deflate(session, progress=Silent())
        assert down.balloon_bytes.after == 0
        return {"up_gap_s": up, "down_gap_s": ran["longest_gap_s"], "kicks": down.counts.kicks}

    stock, fast = on_both(boot, move, record_property, memory_bytes=memory, append=f"movablecore={movable // MIB}M")
    assert fast["kicks"] <= 64 * movable / (3 * GIB), fast
    for gap in ("up_gap_s", "down_gap_s"):
        # Emulated CPUs are away whenever the host's are: what the unmodified driver does to them is the measure.
        assert fast[gap] <= max(0.1, 2 * stock[gap]), (stock, fast)


def test_what_a_deflation_gives_back_is_counted_to_the_page(tool, boot):
    boot("exact", "--memory", "1G")
    with hold("exact", Silent(), need_agent=True) as session:
        device = BalloonDevice(session.qmp)
        size = balloon.inflate(session, 704 * MIB + 5 * PAGE, progress=Silent()).balloon_bytes.after
        for target in (704 * MIB, 512 * MIB + 3 * PAGE, 512 * MIB + PAGE, 4 * PAGE, 0):
            before = device.counters().deflate
            counts = balloon.deflate(session, target, progress=Silent()).counts
            after = device.counters().deflate
            assert session.agent.call("balloon")["num_pages"] * PAGE == target
            assert (after.pages - before.pages) * PAGE == size - target
            assert after.errors == before.errors == 0
            assert counts.messages == after.messages - before.messages
            assert 1 <= counts.kicks <= counts.messages <= 64
            assert counts.kicks <= 2 + (size - target) // (128 * MIB)
            size = target
    assert kernel_warnings(tool, "exact") == []


def test_reading_kcore_does_not_bring_the_balloon_back(boot):
    """A debugger or a dump of the live kernel reads no page that is in the balloon."""
    boot("core", memory_bytes=GIB, shared_memory=True)
    with hold("core", Silent(), need_agent=True) as session:
        vm.touch(session.agent, Silent())
        full = shared_rss(session)
        assert full > 700 * MIB
        # Single pages as well as blocks.
        size = 640 * MIB + 511 * PAGE
        balloon.inflate(session, size, progress=Silent())
        assert full - shared_rss(session) > 600 * MIB
        assert session.agent.call("read_kcore", timeout=120)["bytes"] > 1000 * MIB
        # What nobody had touched before, outside the balloon, the host has to have by now.
        assert shared_rss(session) <= GIB - size + 4 * MIB


@pytest.mark.parametrize(
    ("memory", "left"), [(GIB, 64 * MIB), pytest.param(12 * GIB, 100 * MIB, marks=FULL_SIZE)]
)  # fmt: skip
def test_what_an_answer_costs_depends_on_what_is_free(boot, record_property, memory, left):
    """Most of the guest is page cache: looking for what is free must not look at all of that."""
    boot("cached", memory_bytes=memory, zero_disk_bytes=memory, zero_disk_leaves_buffers=True)
    with hold("cached", Silent(), need_agent=True) as session:
        free = session.agent.call("memory")["MemFree"]
        session.agent.call("cache", size=free - left, timeout=300)
        before = session.agent.call("balloon")
        passes = migrate.migrate(session, migrate.Options(skip_free=True), progress=Silent()).ram.passes
        after = session.agent.call("balloon")
    looked_at = after["free_pages_looked_at"] - before["free_pages_looked_at"]
    told = after["free_pages_pages"] - before["free_pages_pages"]
    record_property("pages", {"looked at": looked_at, "told": told, "passes": passes})
    assert told > 0
    # Each pass used to look at each page of the guest.
    assert 0 < looked_at <= passes * memory // PAGE / 10, (looked_at, passes)
