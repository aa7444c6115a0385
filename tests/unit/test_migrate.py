"""Migrations without a QEMU: monitors that are made up, in the order in which QEMU was seen to go through statuses."""

import io
import json

import pytest
from rich.console import Console

from fastballoon_cli.errors import IntegrityError, MigrationError, PreconditionError
from fastballoon_cli.ops import migrate, migrating, workload
from fastballoon_cli.progress import Silent
from fastballoon_cli.qemu import free_pages, migration
from fastballoon_cli.qemu.features import with_features
from fastballoon_cli.results.migration import MigrateResult, RamCounts, Verified, migrate_sample
from fastballoon_cli.results.model import Change
from fastballoon_cli.results.page.terminal import terminal
from fastballoon_cli.results.report.single import single_section
from tests.unit.monitor import Monitor


class Device:
    def __init__(self, hints=False):
        self._hints = hints

    def hints(self):
        return self._hints


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(migrate, "_POLL_SECONDS", 0.001)


def watch(monitor, *, timeout=10.0, **options):
    return migrate._watch(monitor, migrate.Options(**options), timeout, Silent(), "v")


def test_a_migration_is_watched_to_its_end():
    ended = watch(Monitor(["none", "setup", "active", "active", "device", "completed"]))
    assert (ended.status, ended.passes) == ("completed", 3)
    assert (ended.total_s, ended.downtime_s, ended.setup_s) == (1.234, 0.056, 0.007)


def test_a_failure_is_said_and_where_the_guest_is():
    with pytest.raises(MigrationError, match=r"the migration failed: .*the guest runs on where it was"):
        watch(Monitor(["setup", "active", "failed"]))


def test_cancelling_and_giving_up_are_told_apart():
    with pytest.raises(MigrationError, match="cancelled after 0 s") as cancelled:
        watch(Monitor(["setup"], on_cancel=["cancelling", "cancelled"]), cancel_after_s=0.0)
    assert cancelled.value.hint is None
    with pytest.raises(MigrationError, match=r"not complete after 0\.01 s") as slow:
        watch(Monitor(["active"]), timeout=0.01)
    assert "--bandwidth" in slow.value.hint


def test_a_cancel_that_never_ends_is_given_up(monkeypatch):
    monkeypatch.setattr(migrate, "_CANCEL_SECONDS", 0.05)
    with pytest.raises(MigrationError, match=r"which QEMU did not do within 0\.05 s: it says 'cancelling'"):
        watch(Monitor(["active"], on_cancel=["cancelling"]), cancel_after_s=0.0)


def test_a_failure_has_the_destinations_reason_and_a_cancel_needs_none():
    def words():
        return "qemu: property 'x' of the balloon differs"

    for monitor, details in ((Monitor(["failed"]), words()), (Monitor(["active"]), None)):
        with pytest.raises(MigrationError) as failed:
            options = migrate.Options(cancel_after_s=0.0)
            migrate._watch(monitor, options, 10.0, Silent(), "v", last_words=words)
        assert failed.value.details == details


def test_a_cancel_that_comes_too_late_is_no_failure():
    monitor = Monitor(["device"], on_cancel=["completed"])
    assert watch(monitor, cancel_after_s=0.0).status == "completed"
    assert len(monitor.told("migrate_cancel")) == 1


def test_what_the_source_has_on_the_destination_gets_too():
    source = Monitor(capabilities={"xbzrle": True, "auto-converge": False, free_pages.CAPABILITY: True})
    destination = Monitor()
    source.commands["migrate-set-parameters"] = {}
    migrate._set_up(source, destination, migrate.Options(bandwidth=1000, downtime_s=0.25))
    # Left out is nothing unless it is asked for.
    off = {free_pages.CAPABILITY: False}
    assert destination.capabilities == {"xbzrle": True, "events": True, "return-path": True, **off}
    assert source.capabilities[free_pages.CAPABILITY] is False
    assert source.told("migrate-set-parameters") == [{"max-bandwidth": 1000, "downtime-limit": 250}]
    migrate._set_up(source, destination, migrate.Options(skip_free=True))
    assert source.capabilities[free_pages.CAPABILITY] is True
    # There it keeps single pages from filling huge ones.
    assert destination.capabilities[free_pages.CAPABILITY] is True


@pytest.mark.parametrize("skip_free", [False, True])
def test_a_qemu_that_knows_no_free_pages_is_told_nothing_of_them(skip_free):
    source, destination = Monitor(capabilities={"xbzrle": False}), Monitor()
    source.commands["migrate-set-parameters"] = {}
    migrate._set_up(source, destination, migrate.Options(skip_free=skip_free))
    assert source.capabilities == {"xbzrle": False, "events": True, "return-path": True}
    assert destination.capabilities == {"events": True, "return-path": True}


NEGOTIATED = {
    **{"negotiated": True, "active": False, "answer-ns": 0, "told-bytes": 0},
    **{"skipped-free-bytes": 0, "skipped-balloon-bytes": 0},
}


@pytest.mark.parametrize(
    ("answer", "hints", "skip", "method"),
    [
        (None, False, False, None),
        (None, True, False, "free-page-hint"),
        (None, True, True, "free-page-hint"),
        (NEGOTIATED, False, True, "free-pages"),
        (NEGOTIATED, False, False, None),
        (NEGOTIATED, True, True, "free-pages"),
        (NEGOTIATED | {"negotiated": False}, True, True, "free-page-hint"),
    ],
)
def test_which_way_free_pages_are_left_out(answer, hints, skip, method):
    monitor = Monitor(**({} if answer is None else {"x_query_balloon_free_pages": answer}))
    assert migrating.free_page_method(monitor, Device(hints), migrate.Options(skip_free=skip)) == method


def test_what_cannot_be_skipped_is_refused():
    with pytest.raises(PreconditionError, match="agreed on no way"):
        migrating.free_page_method(Monitor(), Device(), migrate.Options(skip_free=True))
    for capability in ("postcopy-ram", "background-snapshot", "x-colo"):
        monitor = Monitor(capabilities={capability: True})
        with pytest.raises(PreconditionError, match=f"none with {capability}"):
            migrating.free_page_method(monitor, Device(hints=True), migrate.Options(skip_free=True))
        assert migrating.free_page_method(monitor, Device(hints=True), migrate.Options()) == "free-page-hint"


def test_what_qemu_counts_of_free_pages_is_read():
    counted = {
        "negotiated": True,
        "active": True,
        "told-bytes": 7,
        "answer-ns": 9,
        "first-answer-ns": 2_000_000,
        "stale": 0,
    }
    counted |= {"skipped-free-bytes": 4096, "skipped-balloon-bytes": 8192}
    told = free_pages.query(Monitor(x_query_balloon_free_pages=counted))
    assert (told.told_bytes, told.answer_s) == (7, 0.002)
    assert (told.skipped_free_bytes, told.skipped_balloon_bytes, told.active) == (4096, 8192, True)
    assert free_pages.query(Monitor()) is None
    assert free_pages.query(Monitor(x_query_balloon_free_pages=NEGOTIATED)).answer_s is None


class Machine:
    def console(self):
        return "look at its console"


class Agent:
    def __init__(self, answer):
        self.answer = answer

    def call(self, verb, **_):
        return self.answer


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"pages": 100, "mismatches": 1, "failed": []}, "1 of 100 pages"),
        ({"pages": 0, "mismatches": 0, "failed": []}, "0 of 0 pages"),
        ({"pages": 100, "mismatches": 0, "failed": ["churn-mapped"]}, "churn-mapped died or hang"),
    ],
)
def test_what_was_not_checked_is_not_whole(answer, message):
    with pytest.raises(IntegrityError, match=message) as spoilt:
        workload.end_work(Agent(answer), Machine())
    assert "look at its console" in spoilt.value.hint


def test_what_was_checked_is_told():
    assert workload.end_work(Agent({"pages": 100, "mismatches": 0, "failed": []}), Machine()) == Verified(100, 0)


def result(**changes):
    values = dict(
        vm="v",
        method="free-pages",
        skip_free=True,
        total_s=2.0,
        setup_s=0.003,
        downtime_s=0.04,
        guest_paused_s=0.0415,
        guest_cpu_s=0.5,
        ram=RamCounts(
            total_bytes=1 << 30, transferred_bytes=100 << 20, normal_pages=25000, zero_pages=10,
            skipped_free_pages=200000, passes=3,
        ),
        guest_free_bytes=Change(900 << 20, 890 << 20),
        guest_min_free_bytes=880 << 20,
        skipped_balloon_pages=256,
        told_free_bytes=800 << 20,
        answer_s=0.012,
        verified=Verified(4242, 0),
        provenance={"accel": "tcg"},
    )  # fmt: skip
    return MigrateResult(**(values | changes))


def test_the_document_has_the_names_that_stay():
    document = result().document()
    assert json.loads(json.dumps(document)) == document
    assert document["schema_version"] == 1
    assert document["operation"] == "migrate"
    assert document["ram"] == {
        "total_bytes": 1 << 30, "transferred_bytes": 100 << 20, "normal_pages": 25000, "zero_pages": 10,
        "skipped_free_pages": 200000, "passes": 3,
    }  # fmt: skip
    assert document["verified"] == {"pages": 4242, "mismatches": 0}


def shown(section):
    out = io.StringIO()
    Console(file=out, width=160).print(*terminal([section]), sep="\n")
    return out.getvalue()


def test_the_table_says_what_is_known_and_no_more():
    text = shown(single_section(result()))
    for words in ("migrate 'v' (free-pages, tcg)", "50 MiB/s", "41.5 ms", "STOP to RESUME", "781.25 MiB", "4242"):
        assert words in text
    unknown = dict(skipped_balloon_pages=None, answer_s=None, verified=None, guest_min_free_bytes=None)
    text = shown(single_section(result(guest_paused_s=None, **unknown)))
    assert not any(words in text for words in ("balloon", "told", "checked", "least", "STOP"))


def test_a_sample_has_what_was_counted():
    sample = migrate_sample(result(told_free_bytes=None, verified=None))
    assert sample["skipped_free_bytes"] == 200000 * 4096
    assert sample["skipped_balloon_bytes"] == 1 << 20
    assert sample["transferred_bytes"] == 100 << 20
    assert not {"told_free_bytes", "verified_pages"} & set(sample)


def test_features_that_a_qemu_lacks_are_off_without_a_word():
    known = {"x-page-bitmap", "x-drop-cache"}
    assert with_features("", known) == "x-page-bitmap=on,x-drop-cache=on"
    assert with_features("", {*known, "x-free-pages"}).endswith(",x-free-pages=on")
    off = "x-page-bitmap=off,x-free-pages=off,deflate-on-oom=on"
    assert with_features(off, known) == "x-drop-cache=on,x-page-bitmap=off,deflate-on-oom=on"
    assert with_features("x-free-pages=on", known).endswith("x-free-pages=on")  # asked for: QEMU says that it lacks it


def test_a_migration_that_was_never_begun_has_no_figures():
    class Fresh(Monitor):
        def execute(self, command, arguments=None, **_):
            return {}

    assert migration.query(Fresh()) == migration.Migration(status="none")
