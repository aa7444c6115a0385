"""The balloon's size at random, for five minutes: scripts/test runs this beside all other tests."""

import random
import time

import pytest

from fastballoon_cli.machine.session import hold
from fastballoon_cli.ops import balloon, vm
from fastballoon_cli.progress import Silent
from tests.conftest import kernel_warnings

GIB = 1 << 30
SECONDS = 300
TARGETS = 200

pytestmark = [pytest.mark.guest, pytest.mark.timeout(SECONDS + 600)]


def test_random_targets_for_five_minutes(tool, boot):
    # It begins together with all the others, at a lower priority.
    boot("soak", memory_bytes=4 * GIB, timeout=400)
    chance = random.Random(20160301)
    end = time.monotonic() + SECONDS
    moves = 0
    with hold("soak", Silent(), need_agent=True) as session:
        vm.touch(session.agent, Silent())
        total = session.agent.call("memory")["MemTotal"]
        now = 0
        while moves < TARGETS or time.monotonic() < end:
            # Any page, with a liking for whole MiB and for small steps.
            target = chance.choice([
                chance.randrange(0, 3 * GIB, 4096),
                chance.randrange(0, 3 * GIB, 1 << 20),
                max(0, min(3 * GIB, now + chance.randrange(-(64 << 20), 64 << 20, 4096))),
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
    assert moves >= TARGETS
    assert written["mismatches"] == 0
    assert written["bytes"] > 3.5 * GIB
    assert kernel_warnings(tool, "soak") == []
