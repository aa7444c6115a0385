"""Work in children that are forked for it; and signals, on the real process."""

import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fastballoon_cli import errors
from fastballoon_cli.children import run_all, run_apart
from fastballoon_cli.errors import FastballoonError, GuestError, InterruptedByUser, PreconditionError, VmLostError
from fastballoon_cli.machine.registry import UnknownRecordError
from fastballoon_cli.progress import Silent
from tests.conftest import await_true


class Heard(Silent):
    """Notes what it is told."""

    def __init__(self):
        self.steps, self.updates, self.warnings = [], [], []

    def step(self, title, total=None):
        self.steps.append((title, total))

    def update(self, done, *, total=None, note=None):
        self.updates.append((done, note))

    def warn(self, message):
        self.warnings.append(message)


def run(names, work, **more):
    return run_all(names, work, more.pop("progress", Silent()), **more)


def test_each_has_its_own_process_and_the_order_stays(tmp_path):
    def work(name, progress):
        (tmp_path / name).touch()
        # None of them ends before all have begun.
        await_true(lambda: len(list(tmp_path.iterdir())) == 3)
        return name * 2, os.getpid()

    ended = run(["b", "c", "a"], work)
    assert list(ended) == ["b", "c", "a"]
    assert [twice for twice, _ in ended.values()] == ["bb", "cc", "aa"]
    assert len({pid for _, pid in ended.values()} | {os.getpid()}) == 4


def test_no_more_than_so_many_work_at_once(tmp_path):
    def work(name, progress):
        began = time.monotonic()
        return os.getpid(), began, time.monotonic()

    ended = run([str(n) for n in range(20)], work, most=2)
    assert len(ended) == 20
    assert len({pid for pid, *_ in ended.values()}) <= 2
    for _, began, end in ended.values():
        assert sum(1 for _, other, until in ended.values() if other < end and until > began) <= 2


def test_what_fails_is_an_error_of_its_own_and_stops_nothing():
    def work(name, progress):
        match name:
            case "lost":
                raise VmLostError("gone", hint="start it", details="a\nb")
            case "file":
                Path("/no/such").read_text()
            case "bug":
                raise ZeroDivisionError("by zero")
            case "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            case "unspeakable":
                return lambda: None
        return name

    ended = run(["lost", "file", "bug", "killed", "unspeakable", "fine"], work)
    assert ended["fine"] == "fine"
    assert isinstance(ended["lost"], VmLostError)
    assert (ended["lost"].hint, ended["lost"].details) == ("start it", "a\nb")
    assert isinstance(ended["file"], PreconditionError)
    assert "/no/such" in ended["file"].message
    assert ended["bug"].message == "internal error: ZeroDivisionError: by zero"
    assert ended["bug"].details is None
    assert "SIGKILL" in ended["killed"].message
    assert "internal error" in ended["unspeakable"].message
    verbose = run(["bug"], work, verbose=True)["bug"]
    assert "Traceback" in verbose.details


def test_when_nobody_is_left_the_rest_fails():
    ended = run(["a", "b"], lambda *_: os.kill(os.getpid(), signal.SIGKILL), most=1)
    assert [error.message for error in ended.values()] == [
        "the process that worked on it was ended by SIGKILL",
        "no process was left to work on it",
    ]


def test_fewer_processes_do_it_where_no_more_can_be_started(monkeypatch):
    fork, left = os.fork, [1, 1]

    def few():
        if not left:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        left.pop()
        return fork()

    monkeypatch.setattr(os, "fork", few)
    assert list(run(list("abcde"), lambda name, _: name).values()) == list("abcde")
    with pytest.raises(BlockingIOError):
        run(["a"], lambda name, _: name)


def test_progress_is_one_step_and_warnings_say_whose_they_are(tmp_path):
    def work(name, progress):
        progress.step("its own", 10.0)
        progress.update(5.0)
        progress.warn("mind")
        await_true((tmp_path / "heard").exists)
        return 0

    class Half(Heard):
        def update(self, done, **more):
            super().update(done, **more)
            if done == 1.0 and len(self.warnings) == 2:
                (tmp_path / "heard").touch()

    heard = Half()
    run(["a", "b"], work, progress=heard, title="Working")
    assert heard.steps == [("Working", 2.0)]
    assert sorted(heard.warnings) == ["a: mind", "b: mind"]
    assert heard.updates[-1] == (2.0, "2 of 2 done")
    assert (1.0, "0 of 2 done") in heard.updates


def test_what_is_large_comes_whole():
    assert run(["a", "b"], lambda name, _: name * 3_000_000) == {name: name * 3_000_000 for name in "ab"}


def test_what_leaves_threads_behind_is_done_apart():
    assert run_apart(os.getpid, Silent()) != os.getpid()

    def fail():
        raise GuestError("no")

    with pytest.raises(GuestError, match="no"):
        run_apart(fail, Silent())


def every(kind):
    return [kind, *(sub for direct in kind.__subclasses__() for sub in every(direct))]


@pytest.mark.parametrize("kind", every(FastballoonError), ids=lambda kind: kind.__name__)
def test_every_error_comes_back_from_another_process(kind):
    if kind is UnknownRecordError:
        error = kind("v", "it lacks 'pid'", (1, 2))
    elif kind.__module__ == errors.__name__:
        error = kind("so", hint="do", details="more")
    else:
        error = kind("so", hint="do")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert again.__dict__ == error.__dict__
    assert str(again) == str(error)


#: Three pieces of work that last; what ends one of them, and what it does then, is in a file of its name.
_LASTING = """
import os, signal, sys, time
from pathlib import Path
from fastballoon_cli import __main__, cli, children
from fastballoon_cli.cli.common import pass_context

@cli.root.command("work")
@pass_context
def work(context):
    def one(name, progress):
        folder = Path(sys.argv[1])
        (folder / f"{name}.new").write_text(str(os.getpid()))
        (folder / f"{name}.new").rename(folder / name)
        try:
            time.sleep(1000)
        except KeyboardInterrupt:
            (folder / f"{name}.interrupted").touch()
            if sys.argv[2] == "stubborn":
                time.sleep(1000)
            raise
    children.run_all("abc", one, context.output, title="Working")

sys.exit(__main__.main(["--json", "work"]))
"""


@pytest.fixture
def lasting(tmp_path, environment):
    """Start that; returns the process and the pids of those that work."""
    started = []

    def start(how="", **more):
        words = [sys.executable, "-c", _LASTING, str(tmp_path), how]
        tool = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True, **more)
        started.append(tool)
        await_true(lambda: all((tmp_path / name).exists() for name in "abc"), seconds=60, what="the work to begin")
        return tool, [int((tmp_path / name).read_text()) for name in "abc"]

    yield start
    for one in started:
        one.kill()
        one.communicate()


def there(pids):
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def interrupted(tmp_path):
    return all((tmp_path / f"{name}.interrupted").exists() for name in "abc")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_all_of_them_once(lasting, tmp_path, number):
    tool, pids = lasting()
    tool.send_signal(number)
    out, _ = tool.communicate(timeout=60)
    assert (tool.returncode, there(pids)) == (130, [])
    assert '"interrupted"' in out
    assert interrupted(tmp_path)


def test_a_terminals_signal_is_for_the_parent_which_passes_it_on_once(lasting, tmp_path):
    tool, pids = lasting("stubborn", start_new_session=True)
    os.killpg(tool.pid, signal.SIGINT)
    await_true(lambda: interrupted(tmp_path), seconds=60, what="all of them to be told")
    # None of them has heard of it twice: that would have ended it.
    assert there(pids) == pids
    assert tool.poll() is None
    tool.send_signal(signal.SIGINT)
    tool.communicate(timeout=60)
    assert (tool.returncode, there(pids)) == (130, [])


def test_those_whose_parent_was_killed_end_as_if_they_were_interrupted(lasting, tmp_path):
    tool, pids = lasting()
    tool.kill()
    tool.communicate(timeout=60)
    await_true(lambda: not there(pids), seconds=60, what="all of them to end")
    assert interrupted(tmp_path)


def test_who_was_done_by_then_is_said():
    def work(name, progress):
        if name == "a":
            return 0
        os.kill(os.getppid(), signal.SIGINT)
        time.sleep(1000)
        return 1

    with pytest.raises(InterruptedByUser) as caught:
        run(["a", "b"], work, most=1)
    assert caught.value.details == "done by then: a"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
