"""How the process ends: exit codes, closed pipes, terminals and signals, on the real one."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time

import pytest

_TOOL = [sys.executable, "-m", "fastballoon_cli"]
_SECONDS = 30


@pytest.fixture
def run(environment):
    """Run the tool's own process: ``run("vm", "list", VARIABLE="value")``."""

    def call(*arguments, **more):
        return subprocess.run(
            [*_TOOL, *arguments], env=environment | more, capture_output=True, text=True, timeout=_SECONDS, check=False
        )

    return call


def configure(tmp_path, text):
    (tmp_path / "config" / "fastballoon").mkdir(parents=True)
    (tmp_path / "config" / "fastballoon" / "config.toml").write_text(text)


@pytest.mark.parametrize("variable", ["FASTBALLOON_JSON", "FASTBALLOON_AS_JSON"])
def test_json_from_the_environment_is_for_errors_too(run, variable):
    ended = run("deflate", **{variable: "1"})
    assert ended.returncode == 3
    assert "there is no VM" in json.loads(ended.stdout)["error"]["message"]
    assert json.loads(run("vm", "list", **{variable: "1"}).stdout)["vms"] == []
    assert json.loads(run("--no-such", **{variable: "1"}).stdout)["error"]["exit_code"] == 2


@pytest.mark.parametrize("name", ["json", "as_json"])
def test_json_from_the_configuration_is_for_errors_too(run, tmp_path, name):
    configure(tmp_path, f"{name} = true\n")
    assert "there is no VM" in json.loads(run("deflate").stdout)["error"]["message"]
    # Before an option has been understood, too.
    assert json.loads(run("--no-such").stdout)["error"]["exit_code"] == 2


def test_json_is_an_option_of_the_tool_and_no_word_of_a_guests_command(run):
    ended = run("vm", "ssh", "--", "x", "--json")
    assert (ended.returncode, ended.stdout) == (3, "")
    assert json.loads(run("--no-such", "--json", "vm", "list").stdout)["error"]["exit_code"] == 2


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["--json", "vm", "list"], 0), (["vm", "list"], 0), (["--help"], 0), (["--json", "deflate"], 3), (["deflate"], 3)],
)
@pytest.mark.parametrize("closed", ["stdout", "both"])
def test_a_reader_that_has_gone_changes_no_exit_code(environment, arguments, code, closed):
    reading, writing = os.pipe()
    os.close(reading)
    err = writing if closed == "both" else subprocess.PIPE
    ended = subprocess.run(
        [*_TOOL, *arguments], env=environment, stdout=writing, stderr=err, timeout=_SECONDS, check=False
    )
    os.close(writing)
    assert ended.returncode == code
    if closed == "stdout":
        assert b"Traceback" not in ended.stderr
        assert b"Exception ignored" not in ended.stderr


def test_a_result_that_cannot_be_written_is_an_error_and_no_traceback(environment):
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            [*_TOOL, "--json", "vm", "list"], env=environment, stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert ended.returncode == 3
    assert b"No space left" in ended.stderr
    assert b"Traceback" not in ended.stderr


def test_a_stream_that_was_closed_from_the_start_is_no_matter(environment):
    line = f"{sys.executable} -m fastballoon_cli vm list >&- 2>&-"
    assert subprocess.run(["bash", "-c", line], env=environment, timeout=_SECONDS, check=False).returncode == 0


@pytest.mark.parametrize("text", ["vm = 3\n", '[vm]\nlist = "x"\n', "[vm.start]\nmemory = [1]\n"])
def test_a_configuration_of_the_wrong_shape_is_a_usage_error(run, tmp_path, text):
    configure(tmp_path, text)
    ended = run("vm", "start") if "start" in text else run("vm", "list")
    assert ended.returncode == 2, ended.stderr
    assert "internal error" not in ended.stderr


_STEP = """
import sys, time
from fastballoon_cli import __main__, cli
from fastballoon_cli.cli.common import pass_context
from fastballoon_cli.errors import GuestError

@cli.root.command("work")
@pass_context
def work(context):
    context.output.step("Working", 10.0)
    context.output.update(1.0)
    if sys.argv[-1] == "fail":
        raise GuestError("it failed")
    time.sleep(60)

sys.exit(__main__.main(["work"]))
"""


#: The same by several children.
_SHARED = _STEP.replace("import sys, time", "import sys, time\nfrom fastballoon_cli.children import run_all").replace(
    "time.sleep(60)", "run_all('abc', lambda *_: time.sleep(60), context.output, title='Sharing')"
)


def on_a_terminal(environment, end, *, signals=(), ignores=(), code=_STEP, shows=b"Working", typed=b""):
    """Run work with a bar on a terminal until it ends; return its exit code and what the terminal has seen.

    :param shows: what of it is on the terminal before the signals come, and what is typed.
    """
    pid, terminal = pty.fork()
    if pid == 0:
        for number in ignores:
            signal.signal(number, signal.SIG_IGN)
        os.execve(sys.executable, [sys.executable, "-c", code, end], environment | {"TERM": "xterm"})
    seen, told, deadline = b"", False, time.monotonic() + _SECONDS
    try:
        while time.monotonic() < deadline:
            if not select.select([terminal], [], [], 1)[0]:
                continue
            try:
                seen += os.read(terminal, 1 << 16)
            except OSError:
                break
            if not told and shows in seen:
                told = True
                os.write(terminal, typed)
                for number in signals:
                    os.kill(pid, number)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), seen
    finally:
        os.close(terminal)


@pytest.mark.parametrize(
    ("end", "signals", "code", "ignores"),
    [
        ("fail", (), 5, ()),
        ("wait", (signal.SIGINT,), 130, ()),
        ("wait", (signal.SIGTERM,), 130, ()),
        ("wait", (signal.SIGHUP,), 130, ()),
        ("wait", (signal.SIGTERM,), 130, (signal.SIGINT,)),
        ("wait", (signal.SIGHUP,), 130, (signal.SIGINT,)),
    ],
)
def test_a_terminal_has_its_cursor_again_whatever_ends_the_work(environment, end, signals, code, ignores):
    ended, seen = on_a_terminal(environment, end, signals=signals, ignores=ignores)
    assert ended == code, seen
    assert b"\x1b[?25l" in seen  # the bar hides it
    assert seen.rindex(b"\x1b[?25h") > seen.rindex(b"\x1b[?25l")
    assert b"\xe2\x9c\x93" not in seen  # no tick behind what was not done


def test_what_work_is_called_is_shown_as_it_is(environment):
    # As a VM or a file may be called
    code = _STEP.replace("Working", "Working on :bomb: [bold]").replace("it failed", ":bomb: [bold] failed")
    _, seen = on_a_terminal(environment, "fail", code=code)
    assert b"Working on :bomb: [bold]" in seen
    assert b":bomb: [bold] failed" in seen


def test_ctrl_c_on_a_terminal_ends_what_several_children_work_on(environment):
    # The terminal tells all of them.
    ended, seen = on_a_terminal(environment, "wait", code=_SHARED, shows=b"Sharing", typed=b"\x03")
    assert ended == 130, seen
    assert seen.rindex(b"\x1b[?25h") > seen.rindex(b"\x1b[?25l")
    assert b"interrupted" in seen
    assert b"Traceback" not in seen


def test_work_goes_on_when_nobody_reads_how_far_it_is(environment):
    code = _STEP.replace("time.sleep(60)", "context.output.warn('so'); context.output.emit({}, 'done')")
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, stderr=writing, check=False
    )
    assert (ended.returncode, ended.stdout) == (0, b"done\n")


def test_what_runs_under_nohup_is_not_ended_by_its_terminal(environment):
    code = _STEP.replace("time.sleep(60)", "import os, signal; os.kill(os.getpid(), signal.SIGHUP)")
    ended = subprocess.run(["nohup", sys.executable, "-c", code], env=environment, capture_output=True, check=False)
    assert ended.returncode == 0, ended.stderr
