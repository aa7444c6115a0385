"""What the tests share: the tool in a process of its own, and guests that are really booted.

Every VM of the tests lives in a runtime folder of their own, so that a developer's VMs are left alone.
"""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paramiko
import pytest

from fastballoon_cli.errors import FastballoonError
from fastballoon_cli.host import procfs
from fastballoon_cli.machine import registry
from fastballoon_cli.machine.session import connect, hold, running
from fastballoon_cli.ops import vm as vm_ops
from fastballoon_cli.progress import Silent
from tests import forked

# A shell that is no terminal's starts its background jobs with Ctrl-C ignored, and whom they start inherits that.
# Who is terminated stops its guests first, as with Ctrl-C.
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.default_int_handler)
# Under nohup these tests go on without their terminal as well, but whom they start inherits nothing of that.
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)


#: What takes minutes, to begin with: the lanes of a parallel run then end together.
_LONG = (
    *("test_debug_kernel.py", "test_all_migrations", "test_fuzzing", "test_all_qtests"),  # of the long proofs
    *("test_series_is_good", "test_bare.py", "test_free_pages.py", "test_migrate", "test_cache.py", "test_qtest.py"),
    *("test_two_hosts.py", "test_lifecycle.py", "test_health.py", "test_soak.py", "test_bench.py"),
)
#: And what shares nothing with the other tests of its module. The other ones of test_qtest.py share the host's huge
#: pages: a program looks whether enough are free, and in another lane another one would take them meanwhile.
_ALONE = (
    "test_series_is_good",
    "test_bare.py",
    "test_bench.py",
    "test_hostile_messages",
    "test_upstream.py",
    "test_sanitized.py",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Have guests boot another kernel."""
    parser.addoption(
        "--guest-kernel",
        metavar="NAME",
        help="boot that distribution's kernel, with our module, wherever a test does not choose a kernel; see vm start "
        "--guest",
    )


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks at the marks
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is long unless it is asked for; keep each module's tests in one lane where they share a guest."""
    if "long" not in config.option.markexpr:
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("long")])
        items[:] = [item for item in items if not item.get_closest_marker("long")]
    if kernel := config.getoption("--guest-kernel"):
        for item in items:
            for why, *names in (mark.args for mark in item.iter_markers("our_kernel")):
                if not names or kernel in names:
                    item.add_marker(pytest.mark.skip(reason=f"not with the kernel of {kernel}: {why}"))
    for item in items:
        alone = any(name in item.nodeid for name in _ALONE)
        item.add_marker(pytest.mark.xdist_group(item.nodeid if alone else Path(item.nodeid.partition("::")[0]).stem))
    items.sort(key=lambda item: next((i for i, long in enumerate(_LONG) if long in item.nodeid), len(_LONG)))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Stop a run whose lanes would share no guest: nothing else would show it but the time that it takes."""
    if session.config.getoption("loadgroup", False):
        assert all("@" in item.nodeid for item in session.items), "pytest-xdist has not seen the groups"


def await_true(condition, *, seconds: float = 10.0, what: str = "") -> None:
    """Wait for a condition; fail after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:g} s in vain for {what or condition}"
        time.sleep(0.01)


@dataclass(frozen=True)
class Ran:
    """How a run of the tool ended."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def document(self) -> dict[str, Any]:
        return json.loads(self.out)


class Tool:
    """Runs ``fastballoon --json ...`` with a runtime folder of its own."""

    def __init__(self, runtime: Path) -> None:
        self.runtime = runtime
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("FASTBALLOON_VM")},
            "FASTBALLOON_RUNTIME": str(runtime),
        }
        if accel := os.environ.get("FASTBALLOON_VM_START_ACCEL"):
            self.environment["FASTBALLOON_VM_START_ACCEL"] = accel

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "fastballoon_cli", "--json", *arguments],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, process: subprocess.Popen[str], *, since: float, timeout: float = 200) -> Ran:
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        return self._ran(process.returncode, out, err, since)

    def run(self, *arguments: str, timeout: float = 200) -> Ran:
        since = time.monotonic()
        ran = forked.run(("--json", *arguments), self.environment, timeout=timeout)
        return self._ran(ran.returncode, ran.stdout, ran.stderr, since)

    @staticmethod
    def _ran(code: int, out: str, err: str, since: float) -> Ran:
        assert "Traceback" not in err, err
        return Ran(code, out, err, time.monotonic() - since)

    def ok(self, *arguments: str, timeout: float = 200) -> dict[str, Any]:
        """Run a command that must succeed and return its document."""
        ran = self.run(*arguments, timeout=timeout)
        assert ran.code == 0, f"exit {ran.code}\n{ran.out}\n{ran.err}"
        return ran.document

    def refused(self, code: int, *arguments: str) -> dict[str, Any]:
        """Run a command that must fail with ``code`` within 10 s and return its error."""
        ran = self.run(*arguments)
        assert ran.code == code, f"exit {ran.code}, not {code}\n{ran.out}\n{ran.err}"
        assert ran.seconds < 10
        return ran.document["error"]

    def in_guest(self, vm: str, command: str) -> str:
        """Run a shell command in a guest and return its output; it must succeed."""
        with connect(running(vm), timeout=20) as transport:
            return run_over(transport, command)

    def folders(self) -> list[str]:
        return sorted(entry.name for entry in self.runtime.iterdir()) if self.runtime.exists() else []


def run_over(transport: paramiko.Transport, command: str, *, seconds: float = 60) -> str:
    """Run a shell command over a connection that is there and return its output; it must succeed."""
    channel = transport.open_session(timeout=20)
    channel.settimeout(seconds)
    channel.exec_command(command)
    out, err = channel.makefile("rb").read(), channel.makefile_stderr("rb").read()
    code = channel.recv_exit_status()
    assert code == 0, f"{command}: exit {code}\n{err.decode()}"
    return out.decode()


def qemus_below(runtime: Path) -> list[int]:
    """Return the pids of the QEMU processes whose command line points into a runtime folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            pid = int(entry.name)
            # What guards a QEMU has its command line as well.
            if b"guardian.py" in words:
                continue
            if str(runtime).encode() in words and b"virtio-balloon" in words and procfs.start_time(pid):
                found.append(pid)
    return found


@pytest.fixture(scope="session")
def runtime() -> Iterator[Path]:
    # Short: a unix socket's path has 108 bytes.
    folder = Path(tempfile.mkdtemp(prefix="fbt-"))
    before = os.environ.get("FASTBALLOON_RUNTIME")
    os.environ["FASTBALLOON_RUNTIME"] = str(folder)
    yield folder
    for pid in qemus_below(folder):
        os.kill(pid, signal.SIGKILL)
    shutil.rmtree(folder)
    if before is None:
        del os.environ["FASTBALLOON_RUNTIME"]
    else:
        os.environ["FASTBALLOON_RUNTIME"] = before


@pytest.fixture(scope="session")
def tool(runtime: Path) -> Tool:
    return Tool(runtime)


@pytest.fixture(scope="session")
def guest_kernel(pytestconfig: pytest.Config) -> str | None:
    """The distribution whose kernel guests boot where a test does not choose one; None: the one that is built here."""
    return pytestconfig.getoption("--guest-kernel")


@pytest.fixture
def boot(tool: Tool, guest_kernel: str | None) -> Iterator[Any]:
    """Boot guests for one test: ``boot("name", "--variant", "stock")``; they are stopped after it.

    What the command has no option for is given by name, and then all of it: ``boot("name", memory_bytes=1 << 30)``.
    So is a ``timeout`` in seconds.
    """
    started = []

    def start(name: str, *options: str, timeout: float = 120, **request: Any) -> None:
        started.append(name)
        _start(tool, guest_kernel, name, *options, timeout=timeout, **request)

    yield start
    _stop(started)


@pytest.fixture(scope="module")
def keep(tool: Tool, guest_kernel: str | None) -> Iterator[Any]:
    """Boot guests that the tests of a module share: ``keep("name", "--variant", "stock")`` returns the name.

    Arguments as of ``boot``. One that runs and has an empty balloon is taken as it is; whatever else a test, or its
    failure, has left is started anew.
    """
    started = set()

    def start(name: str, *options: str, timeout: float = 120, **request: Any) -> str:
        if name in started:
            ran = tool.run("vm", "status", name)
            if ran.code == 0 and (ran.document["state"], ran.document["balloon_bytes"]) == ("running", 0):
                return name
            _stop([name])
        started.add(name)
        _start(tool, guest_kernel, name, *options, timeout=timeout, **request)
        return name

    yield start
    _stop(started)


def _start(tool: Tool, guest_kernel: str | None, name: str, *options: str, timeout: float, **request: Any) -> None:
    if guest_kernel and not {"kernel", "guest", "--variant", "--kernel", "--guest"} & {*request, *options}:
        if request:
            request["guest"] = guest_kernel
        else:
            options = (*options, "--guest", guest_kernel)
    if request:
        vm_ops.start(vm_ops.Request(name=name, **request), Silent(), timeout=timeout)
    else:
        tool.ok("vm", "start", "--name", name, *options)


def _stop(names: Iterable[str]) -> None:
    for name in names:
        with suppress(FastballoonError):
            if registry.load(name):
                vm_ops.stop(name, Silent())


@pytest.fixture
def fast(keep: Any, request: pytest.FixtureRequest) -> str:
    """A fast guest of the module's FAST_MEMORY for its tests, each of which leaves its balloon empty."""
    return keep("fast", "--memory", request.module.FAST_MEMORY)


#: What a kernel says of any module that it was not built with.
_TAINTS = ("loading out-of-tree module taints kernel", "module verification failed")


def kernel_warnings(tool: Tool, vm: str) -> list[str]:
    """Return what the guest's kernel has warned of since it booted; of a distribution's, but for our module's taint."""
    with hold(vm, Silent(), need_agent=True) as session:
        expected = _TAINTS if session.facts.built.get("guest") else ()
        warnings = session.agent.call("kernel_warnings")
    return [text for text in warnings if not any(said in text for said in expected)]


def drops_its_cache_by(tool: Tool, vm: str, method: str) -> None:
    """Assert that a guest drops its cache, and which way it is asked."""
    assert tool.ok("vm", "status", vm)["drop_cache_method"] == method
    tool.in_guest(vm, "cat /dev/vda > /dev/null")
    dropped = tool.ok("--vm", vm, "drop-cache", "--mode", "all")
    assert dropped["method"] == method
    cached = dropped["guest_cached_bytes"]
    assert 0 < dropped["freed_bytes"] <= cached["before"]
    assert cached["after"] < cached["before"]


#: Of 2 MiB: for two guests of 256 MiB, and one of 32 MiB. Cases that find none are skipped.
_HUGE_PAGES = 272
_NR_HUGE_PAGES = Path("/proc/sys/vm/nr_hugepages")
#: Bytes of memory that must be available for that.
_ENOUGH = 8 << 30


def _add_huge_pages(number: int) -> int:
    """Have the host hold so many more, or less; return by how many there are more now."""
    with _NR_HUGE_PAGES.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        now = int(file.read())
        file.seek(0)
        file.write(str(max(0, now + number)))
        file.flush()
        file.seek(0)
        return int(file.read()) - now


@pytest.fixture
def huge_pages() -> Iterator[bool]:
    """Have the host hold some huge pages, where it may be asked to and has memory enough; whether it does."""
    if os.geteuid() != 0 or procfs.mem_available() < _ENOUGH:
        yield False
        return
    try:
        added = _add_huge_pages(_HUGE_PAGES)
    except OSError:
        yield False
        return
    if added < _HUGE_PAGES:
        # The host's memory is in pieces: with some of them cases would begin that need them all.
        _add_huge_pages(-added)
        added = 0
    yield added > 0
    _add_huge_pages(-added)
