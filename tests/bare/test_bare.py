"""A page that the guest needs arrives, whatever it has told of it and whenever: free pages, and those of the balloon.

The guest checks all of its memory after each migration. How many migrations it is sent through one after another is in
FASTBALLOON_BARE_MIGRATIONS; ``scripts/test --all`` has 200 of them.

Each of these was broken in QEMU on purpose, and is noticed by the tests named:

============================================================= =======================================================
the guest is asked before the log is cleared                  many migrations, a lie, half an answer: with KVM only
the log is cleared for what is told                           many migrations, a lie, half an answer, ends early
what is told is discarded                                     the same, and: where the guest stays
what is told for an earlier pass counts                       an earlier pass, was not asked
what is told for a request that waits for a slot counts       was not asked
no answer is taken for "all is free"                          many migrations, without an answer, an earlier pass, ...
what is taken back from the balloon is left out               taken back, left out again, many migrations, ...
the balloon's pages are struck off, but not cleared in the log taken back: with KVM only
a reset does not empty the balloon                            a reset
a reset does not end the request                              a reset
what was told outlives the sync                               many migrations, a lie, half an answer, ends early
nothing is withdrawn                                          ends early
============================================================= =======================================================
"""

import os

import pytest

from tests.bare.guest import OCCASIONS, SHIFTS, chunk
from tests.bare.machine import Answer
from tests.conftest import await_true

pytestmark = pytest.mark.qemu

MIGRATIONS = int(os.environ.get("FASTBALLOON_BARE_MIGRATIONS", "8"))
#: For a late answer, in cycles of the TSC: some come in the pass, some after it.
LATE = 300_000_000
#: Bytes per second; QEMU sends some ten times more, as it counts what has left its buffer.
SLOW = 100_000
PAGE = 4096


def right(checked):
    """Assert that no page in use was lost but those that were lied about."""
    lost = {name: value for name, value in checked.items() if value}
    assert checked["bad"] == 0, str(lost)
    return checked


@pytest.mark.timeout(120 + 45 * MIGRATIONS)
def test_no_page_is_lost_in_many_migrations(boot):
    guest = boot()
    stamp, answers, untried = 0, [], list(OCCASIONS)
    number = 0
    # On until each occasion has come: some are rare, as little is asked for while the guest writes little.
    while number < MIGRATIONS or (untried and number < 3 * MIGRATIONS):
        guest.begin_round(number, delay=LATE if number % 4 == 3 else 0)
        move = guest.migrate(passes=3 + number % 3, options=chunk(SHIFTS[number % len(SHIFTS)]))
        checked = right(guest.check())
        assert move.passes >= 3
        assert move.free_pages["errors"] == 0
        assert move.free_pages["skipped-free-bytes"] > 0
        answers.append(move.free_pages["answers"])
        # It has gone on, and remembers all of it.
        assert checked["stamp"] > stamp
        stamp = checked["stamp"]
        untried = [name for name in OCCASIONS if not checked[f"wrote_{name}"]]
        number += 1
    assert sum(answers) >= len(answers)
    counted = guest.counted()
    assert counted["refused_messages"] == 0
    assert counted["withdrawals"] == 0
    assert untried == []


def test_a_lie_costs_the_pages_that_it_is_about(boot):
    guest = boot(shift=6)
    guest.begin_round(1, Answer.LIAR)
    move = guest.migrate()
    checked = right(guest.check())
    assert move.free_pages["errors"] == 0
    # What was told was left out, and so this test can fail.
    assert 0 < checked["lost"] <= checked["lied"]


def test_a_lie_costs_nothing_where_the_guest_stays(boot):
    guest = boot()
    guest.begin_round(1, Answer.LIAR)
    guest.give_up(passes=3)
    checked = right(guest.check())
    assert checked["lied"] > 0
    assert checked["lost"] == 0


def test_what_is_told_for_an_earlier_pass_counts_for_nothing(boot):
    """Each time it is asked, it tells that all pages in use are free, for the request before, that of a source too."""
    guest = boot()
    for number in range(2):
        guest.begin_round(number, Answer.STALE)
        move = guest.migrate(passes=4)
        right(guest.check())
        assert move.free_pages["skipped-free-bytes"] == 0
        assert move.free_pages["stale"] > 0
    assert guest.counted()["refused_messages"] == 0


@pytest.mark.parametrize("how", [Answer.SILENT, Answer.REFUSE])
def test_without_an_answer_all_is_sent(boot, how):
    guest = boot()
    guest.begin_round(1, how)
    move = guest.migrate(passes=2)
    right(guest.check())
    assert move.free_pages["skipped-free-bytes"] == 0
    assert move.free_pages["requests"] > 0
    assert move.free_pages["answers"] == 0


def test_half_an_answer_is_good_for_that_half(boot):
    guest = boot()
    guest.begin_round(1, Answer.HALF)
    move = guest.migrate(passes=4)
    checked = right(guest.check())
    assert move.free_pages["skipped-free-bytes"] > 0
    assert move.free_pages["answers"] == 0
    assert checked["wrote_returned"] > 0


def test_a_reset_ends_what_was_asked(boot):
    guest = boot()
    guest.begin_round(1, Answer.RESET)
    guest.ask(f"i {guest.first} {guest.count // 2}")
    move = guest.migrate(passes=4)
    checked = right(guest.check())
    assert move.free_pages["skipped-free-bytes"] == 0
    assert move.free_pages["stale"] > 0
    assert checked["wrote_after_reset"] > 0


def test_what_was_not_asked_counts_for_nothing(boot):
    """It keeps the only slot and tells that all pages in use are free, for requests that are still to be sent."""
    guest = boot()
    guest.begin_round(1, Answer.GUESS, delay=20_000_000)
    move = guest.migrate(passes=4)
    right(guest.check())
    assert move.free_pages["skipped-free-bytes"] == 0
    assert move.free_pages["stale"] > 0


@pytest.mark.parametrize("end", ["cancelled", "failed"])
def test_a_migration_that_ends_early_withdraws_what_was_asked(boot, end):
    guest = boot()
    guest.begin_round(1, Answer.HALF)
    guest.give_up(passes=2, kill=end == "failed")
    await_true(lambda: guest.counted()["withdrawals"] == 1, what="the withdrawal")
    right(guest.check())
    # The next one asks again, and nothing is left of the one before.
    guest.begin_round(2)
    move = guest.migrate()
    right(guest.check())
    assert move.free_pages["answers"] > 0
    assert move.free_pages["errors"] == 0


@pytest.mark.parametrize("shift", [31, 6])
def test_pages_taken_back_in_the_middle_of_a_pass_arrive(boot, shift):
    guest = boot(shift=shift)
    guest.begin_round(1, Answer.REFUSE, work=False)
    inflated = guest.ask(f"i {guest.first} {guest.count}")["pages"]
    assert inflated > guest.count // 4
    # To ask the guest would need a log that is cleared, too.
    with guest.moving(bandwidth=SLOW, **{"x-skip-free-pages": False}) as move:
        # While pages around them are still to be sent: memory is sent from its beginning on.
        few = guest.count // 8
        taken_back = guest.ask(f"d {guest.first + guest.count - few} {few}")["pages"]
        guest.machine.set_bandwidth(guest.bandwidth)
        guest.machine.await_passes(3)
    checked = right(guest.check())
    assert checked["wrote_deflated"] == taken_back > 0
    assert checked["balloon"] == inflated - taken_back
    assert 0 < move().free_pages["skipped-balloon-bytes"] <= inflated * PAGE


def test_the_balloon_is_left_out_again_from_where_it_has_come_to(boot):
    guest = boot()
    guest.begin_round(1, Answer.REFUSE, work=False)
    inflated = guest.ask(f"i {guest.first} {guest.count}")["pages"]
    for _ in range(2):
        move = guest.migrate()
        assert move.free_pages["skipped-balloon-bytes"] == inflated * PAGE
        assert right(guest.check())["balloon"] == inflated
    assert guest.ask(f"d {guest.first} {guest.count}")["pages"] == inflated
    assert guest.migrate().free_pages["skipped-balloon-bytes"] == 0
    right(guest.check())


def test_with_the_way_out_nothing_is_asked(boot):
    guest = boot()
    guest.begin_round(1)
    move = guest.migrate(**{"x-skip-free-pages": False})
    right(guest.check())
    assert move.free_pages["skipped-free-bytes"] == 0
    assert guest.counted()["requests"] == 0


def test_with_postcopy_nothing_is_asked_nor_left_out(boot):
    guest = boot()
    guest.begin_round(1)
    guest.ask(f"i {guest.first} {guest.count // 2}")
    move = guest.migrate(**{"postcopy-ram": True})
    right(guest.check())
    assert move.free_pages["skipped-free-bytes"] == 0
    assert move.free_pages["skipped-balloon-bytes"] == 0
    assert guest.counted()["requests"] == 0


def test_memory_on_both_sides_of_a_range_that_is_asked_at_once(boot):
    """The device asks about 1 GiB, or some of these that follow each other."""
    guest = boot(memory=1280 << 20, pages=((1 << 30) // PAGE - 1024, 2048))
    guest.begin_round(1)
    move = guest.migrate()
    checked = right(guest.check())
    assert move.free_pages["errors"] == 0
    assert move.free_pages["skipped-free-bytes"] > 0
    assert checked["wrote_returned"] > 0
