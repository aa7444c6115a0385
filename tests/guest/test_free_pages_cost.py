"""What it costs the guest to tell which of its pages are free: what is used need not be looked at."""

import pytest

from fastballoon_cli.machine.session import connect_agent, hold
from fastballoon_cli.ops import migrate, vm
from fastballoon_cli.progress import Silent
from tests.conftest import kernel_warnings
from tests.guest.breaking import MIB

pytestmark = pytest.mark.guest

PAGE = 4096


def test_a_guest_full_of_cache_looks_at_few_pages(tool):
    memory = 2048 * MIB
    vm.start(vm.Request(name="full", memory_bytes=memory, zero_disk_bytes=4 * memory), Silent())
    try:
        with hold("full", Silent(), need_agent=True) as session:
            session.agent.call("cache", size=memory, timeout=200)
            free = session.agent.call("memory")["MemFree"]
            assert free < memory / 10
            before = session.agent.call("balloon")
            options = migrate.Options(skip_free=True, bandwidth=1024 * MIB)
            result = migrate.migrate(session, options, progress=Silent())
            session.agent = session.agent or connect_agent(session.record, timeout=20)
            after = session.agent.call("balloon")
        looked_at = after["free_pages_looked_at"] - before["free_pages_looked_at"]
        told = after["free_pages_pages"] - before["free_pages_pages"]
        assert told >= 0.5 * free / PAGE
        # A scan of all memory, once for each pass, would be a whole one.
        assert looked_at <= result.ram.passes * memory / PAGE / 10
        assert kernel_warnings(tool, "full") == []
    finally:
        tool.ok("vm", "stop", "full")
