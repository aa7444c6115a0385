"""What a migration says of a guest whose agent does not answer before or after it."""

import pytest

from fastballoon_cli.errors import GuestError, IntegrityError, MigrationError
from fastballoon_cli.machine.registry import Record
from fastballoon_cli.machine.session import Session
from fastballoon_cli.ops import migrate, migrating, workload
from fastballoon_cli.progress import Silent
from fastballoon_cli.qemu import migration
from fastballoon_cli.results.migration import Verified
from tests.unit.made import Machine, balloon_of


class Pair:
    """Two QEMUs for a migration that is made up."""

    source = destination = None

    def __init__(self, session):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


class Says:
    """An agent that answers some verbs; ``broken`` ones fail."""

    def __init__(self, *broken):
        self.broken, self.closed = broken, False

    def call(self, verb, **_):
        if verb in self.broken:
            raise GuestError(f"the agent did not answer '{verb}'")
        return {"churn_finish": {"pages": 9, "mismatches": 0, "failed": []}, "memory": {"MemFree": 1}}.get(verb)

    def close(self):
        self.closed = True


class Started(Record):
    """A VM of which there is nothing but a name."""

    def __init__(self, spec):
        object.__setattr__(self, "spec", spec)

    def facts(self, monitor):
        return None

    def balloon(self, monitor, facts):
        return balloon_of()

    def process(self, monitor):
        return Machine().process(monitor)


@pytest.fixture
def moved(monkeypatch):
    """Migrate with these agents, the first before it and each further one as somebody connects after it."""

    def move(*agents, error=None, verify=True, waited=None, **more):
        left = list(agents)
        name = type("Spec", (), {"name": "v"})()
        record = Started(name)
        session = Session(record, None, left.pop(0), Silent(), met=True)

        def connect(_record, timeout):
            if waited is not None:
                waited.append(timeout)
            if not left or left[0] is None:
                raise GuestError("the guest's SSH did not answer")
            return left.pop(0)

        ran = migrating.Ran(
            migration=migration.Migration(status="completed"), free_pages=None, paused_s=None, guest_cpu_s=0, begun=0
        )

        def run(*_):
            if error:
                raise error
            return ran

        monkeypatch.setattr(migrating, "connect_agent", connect)
        monkeypatch.setattr(workload, "connect_agent", connect)
        monkeypatch.setattr(migrate, "check", lambda *_: None)
        monkeypatch.setattr(migrate, "Handover", Pair)
        monkeypatch.setattr(migrate, "_set_up", lambda *_: None)
        monkeypatch.setattr(migrate, "_run", run)
        monkeypatch.setattr(migrating, "provenance", lambda *_: {})
        return migrate.migrate(session, migrate.Options(verify=verify), progress=Silent(), **more)

    return move


def test_a_guest_that_answers_no_more_has_not_been_verified(moved):
    assert moved(Says(), Says()).verified == Verified(9, 0)
    with pytest.raises(IntegrityError, match="its agent does not answer after the migration"):
        moved(Says(), None)
    with pytest.raises(IntegrityError, match="its agent does not answer after the migration"):
        moved(Says(), None, error=MigrationError("it failed; the guest runs on where it was"))
    # Nothing has been risked yet.
    with pytest.raises(GuestError, match="nothing can be verified"):
        moved(None)


def test_figures_that_the_guest_does_not_give_end_no_migration(moved):
    assert moved(Says("watch_start"), Says(), verify=False).guest_min_free_bytes is None
    assert moved(Says(), Says("watch_finish"), verify=False).guest_min_free_bytes is None
    # Who did not tell these figures may still tell whether its memory is whole.
    assert moved(Says(), Says("watch_finish"), Says()).verified == Verified(9, 0)
    assert moved(Says("watch_start"), Says(), verify=True).verified == Verified(9, 0)


def test_a_slow_guest_has_as_long_to_answer_as_its_user_says(moved):
    waited = []
    assert moved(Says("watch_start"), Says(), waited=waited, timeout=500).verified == Verified(9, 0)
    assert waited == [500]
