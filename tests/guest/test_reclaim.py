"""Having the guest reclaim memory from the host, on real guests."""

import pytest

from fastballoon_cli.errors import NotInTimeError
from fastballoon_cli.machine.session import hold
from fastballoon_cli.ops import reclaim
from fastballoon_cli.progress import Silent
from tests.conftest import await_true, kernel_warnings

pytestmark = [
    pytest.mark.guest,
    pytest.mark.our_kernel("modules can have memory reclaimed from 7.2 on", "debian12", "debian13"),
]
#: It evicts what was read more than once as soon as the rest.
MGLRU = pytest.mark.our_kernel("it ages pages by MGLRU", "debian13-backports")

GIB = 1 << 30
MIB = 1 << 20
CACHED = GIB
LRU_GEN = "/sys/kernel/mm/lru_gen/enabled"
PARAMETER = "/sys/module/virtio_balloon/parameters/drop_cache"


@pytest.fixture(scope="module")
def caching(tool, keep):
    """A fast guest with something to read."""
    yield keep("reclaiming", memory_bytes=2 * GIB, zero_disk_bytes=4 * GIB)
    tool.ok("vm", "stop", "reclaiming")


def fill_cache(session, size=CACHED):
    session.agent.call("drop_caches", value=3)
    assert session.agent.call("cache", size=size, timeout=100)["bytes"] >= 0.99 * size


def test_as_much_is_freed_as_was_asked_for(tool, caching):
    with hold(caching, Silent(), need_agent=True) as session:
        fill_cache(session)
    result = tool.ok("--vm", caching, "reclaim", "512M")
    assert (result["operation"], result["method"]) == ("reclaim", "balloon")
    assert result["requested_bytes"] == 512 * MIB
    assert result["freed_bytes"] == pytest.approx(512 * MIB, rel=0.05)
    free, cached = result["guest_free_bytes"], result["guest_cached_bytes"]
    assert free["after"] - free["before"] == pytest.approx(512 * MIB, rel=0.1)
    assert cached["before"] - cached["after"] == pytest.approx(512 * MIB, rel=0.1)
    assert kernel_warnings(tool, caching) == []


@pytest.fixture(params=["classic", "mglru"])
def lru(request, tool, guest_kernel):
    """Has a guest find what is cold in one of the two ways that the kernel has."""
    if guest_kernel and request.param == "classic":
        pytest.skip("a distribution's kernel is tried as it is")

    def choose(vm):
        if guest_kernel is None:
            tool.in_guest(vm, f"echo {'y' if request.param == 'mglru' else 'n'} > {LRU_GEN}")

    return choose


@MGLRU
def test_what_is_used_stays(caching, lru):
    lru(caching)
    with hold(caching, Silent(), need_agent=True) as session:
        fill_cache(session)
        # Twice: what was used once only is no warmer than the rest.
        for _ in range(2):
            session.agent.call("read_disk", offset=CACHED // 2, size=64 * MIB, timeout=60)
        reclaim.reclaim(session, 768 * MIB, progress=Silent())
        read = session.agent.call("read_disk", offset=CACHED // 2, size=64 * MIB, timeout=60)
    assert read["disk_bytes"] <= 0.02 * 64 * MIB


@MGLRU
@pytest.mark.long
def test_a_reader_goes_on_at_its_pace_while_the_rest_of_the_cache_goes(boot, lru, record_property):
    boot("reading", memory_bytes=4 * GIB, zero_disk_bytes=4 * GIB)
    lru("reading")
    with hold("reading", Silent(), need_agent=True) as session:

        def read():
            return session.agent.call("read_disk", offset=GIB, size=256 * MIB, timeout=120)

        fill_cache(session, 5 * GIB // 2)
        before = min((read() for _ in range(3)), key=lambda done: done["ns"])
        result = reclaim.reclaim(session, 2 * GIB, progress=Silent())
        after = read()
        record_property("freed_bytes", result.freed_bytes)
        record_property("next_pass_ratio", after["ns"] / before["ns"])
        assert result.freed_bytes == pytest.approx(2 * GIB, rel=0.05)
        assert after["disk_bytes"] <= 0.01 * 256 * MIB
        # A pass that has to read everything from the disk again takes five times as long, and more.
        assert after["ns"] <= 2 * before["ns"]


def test_a_guest_that_has_less_says_how_much_that_was(tool, caching):
    with hold(caching, Silent(), need_agent=True) as session:
        fill_cache(session, 256 * MIB)
        result = reclaim.reclaim(session, GIB, timeout=60, progress=Silent())
        session.agent.call("hello", timeout=5)
    assert 0.9 * 256 * MIB <= result.freed_bytes < 512 * MIB
    assert kernel_warnings(tool, caching) == []


def test_a_newer_request_ends_the_one_before(caching):
    with hold(caching, Silent(), need_agent=True) as session:
        fill_cache(session)
        before = session.agent.call("balloon")["reclaim_pages"]
        first = session.qmp.execute("x-balloon-reclaim", {"size": CACHED})["id"]
        ended = session.qmp.execute_until(
            "x-balloon-reclaim",
            {"size": 0},
            event="X_BALLOON_RECLAIM_ENDED",
            ends=lambda _answer, data: data["id"] == first,
            timeout=20,
        )
        await_true(lambda: not pending(session), seconds=10, what="the second one to end")
        after = session.agent.call("balloon")["reclaim_pages"]
        # Nothing goes on behind the answer.
        session.agent.call("hello")
        assert session.agent.call("balloon")["reclaim_pages"] == after
    assert ended["status"] == "done"
    assert ended["freed-bytes"] <= (after - before) * 4096 < 0.95 * CACHED


def pending(session):
    return session.qmp.execute("x-query-balloon-drop-cache")["pending"]


def test_one_that_is_given_up_does_not_go_on(caching):
    with hold(caching, Silent(), need_agent=True) as session:
        fill_cache(session)
        with pytest.raises(NotInTimeError, match="did not answer"):
            reclaim.reclaim(session, CACHED, timeout=0.01, progress=Silent())
        await_true(lambda: not pending(session), seconds=10, what="it to end")
        before = session.agent.call("balloon")["reclaim_pages"]
        session.agent.call("hello")
        assert session.agent.call("balloon")["reclaim_pages"] == before


@MGLRU
def test_anonymous_memory_goes_to_swap_only_if_it_is_asked_for(tool, boot, lru):
    boot("swapping", memory_bytes=GIB, scratch_disk_bytes=GIB)
    lru("swapping")
    with hold("swapping", Silent(), need_agent=True) as session:
        session.agent.call("swap_on")
        session.agent.call("take_start", size=384 * MIB, seconds=600.0, idle=True, timeout=60)
        reclaim.reclaim(session, 256 * MIB, timeout=60, progress=Silent())
        memory = session.agent.call("memory")
        assert memory["SwapTotal"] - memory["SwapFree"] < 8 * MIB
        result = reclaim.reclaim(session, 128 * MIB, anonymous=True, timeout=60, progress=Silent())
        memory = session.agent.call("memory")
        assert memory["SwapTotal"] - memory["SwapFree"] > 0.5 * result.freed_bytes > 32 * MIB
    assert kernel_warnings(tool, "swapping") == []


def test_a_guest_may_refuse(tool, caching):
    tool.in_guest(caching, f"echo N > {PARAMETER}")
    error = tool.refused(5, "--vm", caching, "reclaim", "64M")
    assert "refuses to reclaim" in error["message"]
    assert PARAMETER in error["hint"]
    tool.in_guest(caching, f"echo Y > {PARAMETER}")
    assert tool.ok("--vm", caching, "reclaim", "64M")["operation"] == "reclaim"
