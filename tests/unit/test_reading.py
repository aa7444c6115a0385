"""What is read of a VM before and after an operation; both sides are made up."""

from types import SimpleNamespace

from fastballoon_cli.errors import GuestError
from fastballoon_cli.machine.reading import GuestMemory, read
from fastballoon_cli.machine.session import Session
from fastballoon_cli.progress import Silent
from tests.unit.made import Machine

MIB = 1 << 20


class Agent:
    """Notes when it is asked."""

    def __init__(self, said, *, broken=False):
        self.said, self.broken = said, broken

    def call(self, verb, **_):
        self.said.append(verb)
        if self.broken:
            raise GuestError("no answer")
        return {"memory": {"MemFree": 300 * MIB}, "balloon": {"inflate_messages": 7}}[verb]

    def close(self):
        pass


def session(said, agent=None, **changes):
    machine = Machine(name="v", rss=4096, balloon=MIB, said=said)
    return Session(machine, None, agent, Silent(), met=True, **changes)


def test_what_a_guest_is_asked_is_no_part_of_the_operation_between_two_readings():
    said = []
    held = session(said, Agent(said))
    before, after = read(held), read(held, after=True)
    assert said == ["memory", "balloon", "vcpus", "vcpus", "memory", "balloon"]
    assert (before.vcpu_s, after.vcpu_s) == (1.0, 2.0)


def test_all_that_is_known_is_in_it():
    now = read(session([], Agent([])))
    assert (now.balloon_bytes, now.rss_bytes, now.method) == (MIB, 4096, "pfn")
    assert (now.device, now.driver) == (None, {"inflate_messages": 7})
    assert (now.guest.free, now.guest.source, now.guest.age_s) == (300 * MIB, "agent", None)


def test_statistics_are_told_with_their_age():
    statistics = SimpleNamespace(memory=lambda *, wait: {"MemFree": 5, "Cached": 9}, age_s=0.5)
    guest = read(session([], statistics=statistics)).guest
    assert (guest.free, guest.droppable, guest.source, guest.age_s) == (5, 9, "statistics", 0.5)


def test_a_guest_that_falls_silent_tells_nothing_and_is_no_error():
    now = read(session([], Agent([], broken=True)))
    assert (now.guest, now.driver) == (GuestMemory(), None)


def test_shared_memory_is_no_cache_that_could_be_dropped():
    of_agent = GuestMemory(values={"Cached": 600, "Shmem": 100, "Buffers": 50, "SReclaimable": 30})
    assert of_agent.droppable == 580
