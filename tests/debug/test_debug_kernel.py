"""The driver under a kernel that checks itself: KASAN, lockdep, debug objects, page tables, leaks, hung tasks.

One guest for all of it: what one test breaks, the next one may trip over. Each looks at what the kernel has said.
"""

import random
import textwrap
import time

import pytest

from fastballoon_cli.errors import QmpError
from fastballoon_cli.machine import registry
from fastballoon_cli.machine.session import connect, hold, running
from fastballoon_cli.ops import vm
from fastballoon_cli.progress import Silent
from fastballoon_cli.qemu.balloon import BalloonDevice
from tests.conftest import await_true, run_over
from tests.debug.reports import reports
from tests.guest.breaking import never_at_rest

pytestmark = [pytest.mark.guest, pytest.mark.long, pytest.mark.timeout(3600)]

MIB = 1 << 20
NAME = "debug"
MOVES = 60
MIGRATIONS = 30
REQUESTS = 1000
#: Two nodes, an area for contiguous allocations, who owns each page, and room for what is said.
OPTIONS = (
    "page_owner=on numa=fake=2 cma=64M log_buf_len=8M "
    # How long a work item may keep a CPU is for a kernel that does not check itself; test_health.py looks at that.
    "workqueue.cpu_intensive_thresh_us=0 "
    # The host may have other things to do than to run this guest for a while.
    "rcupdate.rcu_cpu_stall_timeout=180 watchdog_thresh=60"
)
#: For a connection, and for the agent's first answer.
PATIENCE = 120.0
DRIVER = "/sys/bus/virtio/drivers/virtio_balloon"


@pytest.fixture(scope="module")
def guest(tool):
    options = ("--kernel", "fast-debug", "--memory", "1536M", "--append", OPTIONS)
    tool.ok("--timeout", "600", "vm", "start", "--name", NAME, *options, timeout=700)
    # What the boot has left, such as what is reached by physical address only, is no concern here.
    run("echo scan > /sys/kernel/debug/kmemleak; echo clear > /sys/kernel/debug/kmemleak", seconds=300)
    yield NAME
    tool.run("vm", "stop", NAME)


def run(command, *, seconds=120):
    """Run a command in the guest, which takes its time even to let somebody in."""
    with connect(running(NAME), timeout=PATIENCE) as transport:
        return run_over(transport, command, seconds=seconds)


@pytest.fixture(autouse=True)
def _nothing_is_reported(guest):
    yield
    assert findings() == []


def findings():
    """Return what the guest's kernel has found, in its log or on its console."""
    console = registry.load(NAME).spec.console_log.read_text(errors="replace")
    return reports(console + run("dmesg"))


def balloon_reaches(size, *, seconds=120):
    with hold(NAME, Silent()) as session:
        device = BalloonDevice(session.qmp)
        device.set_target(size)
        await_true(lambda: device.size() == size, seconds=seconds, what=f"a balloon of {size >> 20} MiB")


def device_of():
    return run(f"basename {DRIVER}/virtio*").strip()


def test_it_is_that_kernel(tool, guest):
    """Else nothing here could fail."""
    assert run("uname -r").strip().endswith("-fast-debug")
    assert "kasan" in run("dmesg | grep -i kasan").lower()
    run("test -d /sys/kernel/debug/fail_page_alloc && test -e /proc/lockdep_stats")
    assert run("ls -d /sys/devices/system/node/node[0-9]").split() == [
        f"/sys/devices/system/node/node{number}" for number in (0, 1)
    ]


def test_random_targets(tool, guest):
    chance = random.Random(20160301)
    now = 0
    for move in range(MOVES):
        now = chance.choice([
            chance.randrange(0, 1024 * MIB, 4096),
            chance.randrange(0, 1024 * MIB, MIB),
            max(0, min(1024 * MIB, now + chance.randrange(-(64 * MIB), 64 * MIB, 4096))),
        ])  # fmt: skip
        balloon_reaches(now)
        if move % 15 == 14:
            with hold(NAME, Silent(), need_agent=True, patience=PATIENCE) as session:
                assert vm.touch(session.agent, Silent(), size=64 * MIB, verify=True)["mismatches"] == 0
                session.agent.call("compact", timeout=120)
    balloon_reaches(0)


def test_failing_allocations(tool, guest):
    """Of the kernel's threads, one in five; who uses the guest has all that it asks for."""
    switch = textwrap.dedent("""
        for thread in 2 $(pgrep -P 2); do echo {on} > /proc/$thread/make-it-fail 2> /dev/null; done
        for what in failslab fail_page_alloc; do
          cd /sys/kernel/debug/$what
          echo Y > task-filter; echo N > ignore-gfp-wait; echo 0 > verbose
          echo -1 > times; echo {percent} > probability
        done
        echo 0 > /sys/kernel/debug/fail_page_alloc/min-order
    """)
    run(switch.format(on=1, percent=20))
    chance = random.Random(7)
    with hold(NAME, Silent()) as session:
        device = BalloonDevice(session.qmp)
        for _ in range(20):
            device.set_target(chance.randrange(0, 768 * MIB, 4096))
            # It may not get there.
            time.sleep(1)
    run(switch.format(on=0, percent=0))
    balloon_reaches(0)


def test_every_allocation_of_binding_fails_once(tool, guest):
    device = device_of()
    script = textwrap.dedent(f"""
        import os
        bind, unbind = (os.open("{DRIVER}/" + name, os.O_WRONLY) for name in ("bind", "unbind"))
        os.write(unbind, b"{device}")
        nth = os.open("/proc/thread-self/fail-nth", os.O_RDWR)
        refused = 0
        for number in range(1, 400):
            os.write(nth, b"%d" % number)
            try:
                os.write(bind, b"{device}")
                bound = True
            except OSError:
                bound, refused = False, refused + 1
            left = int(os.pread(nth, 20, 0))
            os.pwrite(nth, b"0", 0)
            if bound and left:
                break
            if os.path.exists("{DRIVER}/{device}"):
                os.write(unbind, b"{device}")
        print(number, refused, int(os.path.exists("{DRIVER}/{device}")))
    """)
    for what in ("failslab", "fail_page_alloc"):
        run(f"cd /sys/kernel/debug/{what} && echo N > task-filter; echo N > ignore-gfp-wait; "
                            "echo 0 > verbose; echo 1 > times; echo 0 > probability")  # fmt: skip
    number, refused, bound = map(int, run(f"python3 - <<'EOF'\n{script}\nEOF", seconds=600).split())
    assert bound
    # It ended because no allocation was left to fail, and most of those that did were of some consequence.
    assert 10 < number < 399
    assert refused >= 10
    balloon_reaches(64 * MIB)
    balloon_reaches(0)


def test_migrations(tool, guest):
    balloon_reaches(256 * MIB)
    for number in range(MIGRATIONS):
        verify = ("--verify",) if number % 10 == 9 else ()
        tool.ok("--vm", NAME, "--timeout", "200", "migrate", "--skip-free", *verify, timeout=400)
    balloon_reaches(0)


def test_requests(tool, guest):
    before = _answers()
    accepted = 0
    with hold(NAME, Silent()) as session:
        for _ in range(REQUESTS):
            try:
                session.qmp.execute("x-balloon-drop-cache", {"mode": "all"})
                accepted += 1
            except QmpError as e:
                assert "pending" in e.message or "busy" in e.message
        await_true(lambda: not session.qmp.execute("x-query-balloon-drop-cache")["pending"], seconds=60, what="answers")
    assert 1 <= accepted <= _answers() - before


def _answers():
    lines = run("cat /sys/kernel/debug/virtio-balloon/*/counters").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("host_requests_"))


def test_unbinding_and_binding(tool, guest):
    device = device_of()
    for size in (0, 256 * MIB, 256 * MIB + 4096):
        balloon_reaches(size)
        with hold(NAME, Silent()) as session:
            session.qmp.execute("x-balloon-drop-cache", {"mode": "all"})
        run(f"echo {device} > {DRIVER}/unbind && echo {device} > {DRIVER}/bind", seconds=120)
        balloon_reaches(size)
    # And while it moves.
    for _ in range(5):
        with hold(NAME, Silent()) as session:
            BalloonDevice(session.qmp).set_target(900 * MIB)
        run(f"echo {device} > {DRIVER}/unbind && echo {device} > {DRIVER}/bind", seconds=120)
        balloon_reaches(0)
    # And while it is given other targets, which is to begin no work that nobody waits for.
    with never_at_rest(NAME, 1536 * MIB, 1024 * MIB, every=0.02):
        for _ in range(5):
            run(f"echo {device} > {DRIVER}/unbind && echo {device} > {DRIVER}/bind", seconds=120)
    balloon_reaches(0)


def test_suspend(tool, guest):
    for size in (0, 256 * MIB, 512 * MIB):
        balloon_reaches(size)
        run("echo devices > /sys/power/pm_test && echo freeze > /sys/power/state; "
                            "echo none > /sys/power/pm_test", seconds=200)  # fmt: skip
        balloon_reaches(size)
    balloon_reaches(0)


def test_nothing_is_leaked(tool, guest):
    # Twice: what a scan finds may be in a register, and counts only if the next one finds it as well.
    run("for i in 1 2; do echo scan > /sys/kernel/debug/kmemleak; sleep 6; done", seconds=600)
    assert run("cat /sys/kernel/debug/kmemleak", seconds=120) == ""
