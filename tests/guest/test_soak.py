"""The balloon's size at random, fifty times, and for five minutes where the long proofs are run."""

import random
import time

import pytest

from fastballoon_cli.machine.session import hold
from fastballoon_cli.ops import balloon, vm
from fastballoon_cli.progress import Silent
from tests.conftest import kernel_warnings

GIB = 1 << 30

pytestmark = [pytest.mark.guest, pytest.mark.timeout(900)]


@pytest.mark.parametrize(
    ("memory", "seconds", "targets"), [(3 * GIB // 2, 10, 50), pytest.param(4 * GIB, 300, 200, marks=pytest.mark.long)]
)
def test_random_targets(tool, boot, memory, seconds, targets):
    boot("soak", memory_bytes=memory, timeout=400)
    most = memory - GIB
    chance = random.Random(20160301)
    end = time.monotonic() + seconds
    moves = 0
    with hold("soak", Silent(), need_agent=True) as session:
        vm.touch(session.agent, Silent())
        total = session.agent.call("memory")["MemTotal"]
        now = 0
        while moves < targets or time.monotonic() < end:
            # Any page, with a liking for whole MiB and for small steps.
            target = chance.choice([
                chance.randrange(0, most, 4096),
                chance.randrange(0, most, 1 << 20),
                max(0, min(most, now + chance.randrange(-(64 << 20), 64 << 20, 4096))),
            ])  # fmt: skip
            move = balloon.inflate if target > now else balloon.deflate
            if target != now:
                result = move(session, target, progress=Silent())
                assert result.balloon_bytes.after == target
                assert session.agent.call("balloon")["num_pages"] * 4096 == target
                now = target
                moves += 1
            if moves % 50 == 0:
                # Stirs the guest's memory: pages in use move, free blocks break up.
                vm.touch(session.agent, Silent(), size=256 << 20, verify=True)
        if now:
            assert balloon.deflate(session, progress=Silent()).balloon_bytes.after == 0
        assert session.agent.call("memory")["MemTotal"] == total
        written = vm.touch(session.agent, Silent(), verify=True)
    assert moves >= targets
    assert written["mismatches"] == 0
    assert written["bytes"] > 0.8 * memory
    assert kernel_warnings(tool, "soak") == []
