"""What a signal does to the tool wherever that is just then, also where Ctrl-C is ignored; on the real process."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fastballoon_cli.host import procfs
from fastballoon_cli.machine import registry
from tests.conftest import await_true
from tests.unit.fake_qemu import FakeQemu

pytestmark = pytest.mark.usefixtures("runtime")

MIB = 1 << 20
_SECONDS = 60
#: What a shell does to a job in its background, when it has no terminal.
_IN_THE_BACKGROUND = ["sh", "-c", 'trap "" INT; exec "$@"', "sh"]
_TOOL = [sys.executable, "-m", "fastballoon_cli"]

#: The tool, which is told to end when it reads the first message after it has set a target: by the task that reads.
_IN_THE_READER = """
import signal, sys
from qemu.qmp import QMPClient
from fastballoon_cli.__main__ import main
from fastballoon_cli.qemu.balloon import BalloonDevice

wanted, set_target, receive = [], BalloonDevice.set_target, QMPClient._do_recv

def begin(device, size):
    set_target(device, size)
    if not wanted:
        wanted.append(int(sys.argv[1]))

async def interrupted(client):
    message = await receive(client)
    if wanted and wanted[0]:
        number, wanted[0] = wanted[0], 0
        signal.raise_signal(number)
    return message

BalloonDevice.set_target, QMPClient._do_recv = begin, interrupted
sys.exit(main(sys.argv[2:]))
"""

#: The tool at a command that runs a program for long.
_AT_WORK = """
import sys
from fastballoon_cli import __main__, cli, process

@cli.root.command("work")
def work():
    process.run(["sh", "-c", "echo $$ > $0.new; mv $0.new $0; sleep 1000; true", sys.argv[1]])

sys.exit(__main__.main(["--json", "work"]))
"""

#: The tool at a command that is told to end while it forgets an object, and then goes on for long.
_AS_AN_OBJECT_GOES = """
import signal, sys, time
from fastballoon_cli import __main__, cli

class Object:
    def __del__(self):
        signal.raise_signal(int(sys.argv[1]))

@cli.root.command("work")
def work():
    Object()
    time.sleep(1000)

sys.exit(__main__.main(["--json", "work"]))
"""

#: The tool at a command that waits for a monitor, and is told to end while it makes an error of the first try.
_AS_A_TRY_FAILS = """
import signal, sys, time
from pathlib import Path
from fastballoon_cli import __main__, cli
from fastballoon_cli.errors import VmLostError
from fastballoon_cli.qemu import qmp

tries = []

class Failed(VmLostError):
    def __init__(self, *words, **more):
        super().__init__(*words, **more)
        tries.append(self)
        if len(tries) == 1:
            signal.raise_signal(int(sys.argv[1]))

@cli.root.command("work")
def work():
    qmp.VmLostError = Failed
    qmp.connect_when_ready(Path(sys.argv[2]), deadline=time.monotonic() + 2, alive=lambda: None)

sys.exit(__main__.main(["--json", "work"]))
"""

#: The tool at a command that connects to a monitor, and is told to end while the event loop for that is half made.
_AS_A_LOOP_IS_MADE = """
import asyncio, signal, sys
from pathlib import Path
from fastballoon_cli import __main__, cli
from fastballoon_cli.qemu import qmp

make = asyncio.SelectorEventLoop.__init__

def interrupted(loop, *words):
    signal.raise_signal(int(sys.argv[1]))
    make(loop, *words)

@cli.root.command("work")
def work():
    asyncio.SelectorEventLoop.__init__ = interrupted
    qmp.Qmp(Path(sys.argv[2]))

sys.exit(__main__.main(["--json", "work"]))
"""


class Slow(FakeQemu):
    """A guest that gives nothing for now."""

    def answer(self, command, arguments):
        if command == "balloon":
            self.target = self.memory - arguments["value"]
            return {}
        return super().answer(command, arguments)


@pytest.fixture(autouse=True)
def heard():
    """Have what is started hear of SIGHUP, though the tests may run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.default_int_handler)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture
def slow():
    it = Slow("v", balloon=256 * MIB)
    yield it
    it.close()


@pytest.fixture
def several():
    made = [Slow(name, balloon=256 * MIB) for name in ("a", "b")]
    yield made
    for one in made:
        one.close()


@pytest.fixture
def start():
    started = []

    def call(*argv, background):
        line = [*(_IN_THE_BACKGROUND if background else []), *map(str, argv)]
        started.append(subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield call
    for one in started:
        one.kill()
        one.communicate()


def ended(process, code):
    out, err = process.communicate(timeout=_SECONDS)
    assert process.returncode == code, out + err
    assert "Traceback" not in err
    assert "never awaited" not in err
    return json.loads(out)


_IN = pytest.mark.parametrize("background", [False, True], ids=["", "background"])
_BY = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])


@_IN
@_BY
def test_the_task_that_reads_a_monitor_goes_on_and_the_inflation_is_stopped(slow, start, number, background):
    words = ("--json", "--vm", "v", "inflate", "--target", "512M")
    tool = start(sys.executable, "-c", _IN_THE_READER, int(number), *words, background=background)
    assert ended(tool, 130)["error"]["message"] == "interrupted"
    # By way of the same monitor.
    assert slow.told("balloon") == [{"value": slow.memory - size * MIB} for size in (512, 256)]


@_IN
@_BY
def test_what_waits_for_the_guest_ends_and_stops_the_inflation(slow, start, number, background):
    tool = start(*_TOOL, "--json", "--vm", "v", "inflate", "--target", "512M", background=background)
    await_true(lambda: slow.told("balloon"), seconds=_SECONDS, what="the inflation to begin")
    tool.send_signal(number)
    assert ended(tool, 130)["error"]["message"] == "interrupted"
    assert slow.target == 256 * MIB


def are_stopped(several):
    return [one.target for one in several] == [256 * MIB] * 2


@_IN
@_BY
def test_what_waits_for_several_guests_ends_and_stops_each_of_them(several, start, number, background):
    tool = start(*_TOOL, "--json", "--all", "inflate", "--target", "512M", background=background)
    await_true(lambda: all(one.told("balloon") for one in several), seconds=_SECONDS, what="the inflations to begin")
    tool.send_signal(number)
    assert ended(tool, 130)["error"]["message"] == "interrupted"
    assert are_stopped(several)
    for one in several:
        with registry.lock(one.record.name):
            pass  # nobody holds it any more


def test_ctrl_c_stops_several_inflations_and_is_not_for_a_job_in_the_background(several, start):
    words = (*_TOOL, "--json", "--timeout", "600", "--vm", "b", "--vm", "a")
    tool = start(*words, "inflate", "--target", "512M", background=False)
    await_true(lambda: all(one.told("balloon") for one in several), seconds=_SECONDS, what="the inflations to begin")
    tool.send_signal(signal.SIGINT)
    assert ended(tool, 130)["error"]["message"] == "interrupted"
    assert are_stopped(several)
    tool = start(*words, "deflate", "--to", "128M", background=True)
    await_true(lambda: all(one.target == 128 * MIB for one in several), seconds=_SECONDS, what="the deflations")
    tool.send_signal(signal.SIGINT)
    asked = sum(len(one.said) for one in several)
    await_true(lambda: sum(len(one.said) for one in several) > asked + 20, seconds=_SECONDS, what="the tool to go on")
    for one in several:
        one.run()
    assert [one["vm"] for one in ended(tool, 0)["vms"]] == ["b", "a"]


def test_several_inflations_are_stopped_when_the_tool_is_killed(several, start):
    tool = start(*_TOOL, "--json", "--all", "inflate", "--target", "512M", background=False)
    await_true(lambda: all(one.told("balloon") for one in several), seconds=_SECONDS, what="the inflations to begin")
    tool.kill()
    await_true(lambda: are_stopped(several), seconds=_SECONDS, what="the inflations to be stopped")
    assert ended(start(*_TOOL, "--json", "vm", "list", background=False), 0)["vms"]


@_IN
@_BY
def test_a_program_that_the_tool_runs_ends_with_it(start, tmp_path, number, background):
    tool = start(sys.executable, "-c", _AT_WORK, tmp_path / "pid", background=background)
    await_true((tmp_path / "pid").exists, seconds=_SECONDS, what="the program to begin")
    pid = int((tmp_path / "pid").read_text())
    assert procfs.start_time(pid)
    tool.send_signal(number)
    assert ended(tool, 130)["error"]["message"] == "interrupted"
    assert procfs.start_time(pid) is None


def test_ctrl_c_is_not_for_a_job_in_the_background(slow, start):
    tool = start(*_TOOL, "--json", "--timeout", "600", "--vm", "v", "deflate", "--to", "128M", background=True)
    await_true(lambda: slow.told("balloon"), seconds=_SECONDS, what="the deflation to begin")
    tool.send_signal(signal.SIGINT)
    asked = len(slow.said)
    await_true(lambda: len(slow.said) > asked + 20, seconds=_SECONDS, what="the tool to go on")
    assert tool.poll() is None
    slow.run()
    assert ended(tool, 0)["balloon_bytes"]["after"] == 128 * MIB


def test_what_it_starts_can_be_interrupted_as_ever(start, tmp_path):
    start(sys.executable, "-c", _AT_WORK, tmp_path / "pid", background=True)
    await_true((tmp_path / "pid").exists, seconds=_SECONDS, what="the program to begin")
    status = Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}/status")

    def open_to_it():
        blocked = next(int(line.split()[1], 16) for line in status.read_text().splitlines() if line[:7] == "SigBlk:")
        return not blocked & 1 << (signal.SIGINT - 1)

    # A shell blocks all signals for the moment in which it starts something itself.
    await_true(open_to_it, seconds=_SECONDS, what="a program that can be interrupted")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_is_not_lost_where_a_monitor_is_not_there_yet(start, tmp_path, number):
    """A start tries to connect until QEMU has made its monitor, and may be interrupted as one of the tries fails."""
    tool = start(sys.executable, "-c", _AS_A_TRY_FAILS, int(number), tmp_path / "qmp.sock", background=False)
    assert ended(tool, 130)["error"]["message"] == "interrupted"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_event_loop_is_not_left_half_made(slow, start, number):
    tool = start(sys.executable, "-c", _AS_A_LOOP_IS_MADE, int(number), slow.record.spec.qmp_socket, background=False)
    assert ended(tool, 130)["error"]["message"] == "interrupted"


@_IN
@_BY
def test_it_is_not_lost_where_python_drops_what_is_raised(start, number, background):
    tool = start(sys.executable, "-c", _AS_AN_OBJECT_GOES, int(number), background=background)
    assert ended(tool, 130)["error"]["message"] == "interrupted"
