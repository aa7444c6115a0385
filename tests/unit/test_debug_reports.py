"""Which lines of a log are findings."""

import pytest

from tests.debug.reports import reports


@pytest.mark.parametrize(
    "line",
    [
        "[   12.3] WARNING: CPU: 1 PID: 34 at mm/page_alloc.c:4 f+0x1/0x2",
        "[   12.3] WARNING: possible circular locking dependency detected",
        "[   12.3] BUG: KASAN: slab-use-after-free in leak_balloon+0x1/0x2",
        "[   12.3] BUG: sleeping function called from invalid context at mm/page_alloc.c:3",
        "[   12.3] INFO: task kworker/0:1:9 blocked for more than 60 seconds.",
        "[   12.3] ODEBUG: free active (active state 0) object: 0 object type: work_struct",
        "[   12.3] kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)",
    ],
)
def test_findings(line):
    assert reports(f"one\n{line}\nother") == [line]


@pytest.mark.parametrize(
    "line",
    [
        "[   12.3] workqueue: update_balloon_size_func hogged CPU for >10000us 4 times, consider switching",
        "[   12.3] virtio_balloon virtio0: Out of puff! Can't get 1 pages",
        "[   12.3] systemd[1]: Warning: nothing",
        "[   12.3] WARNING: CPU: 0 PID: 9 at fs/proc/generic.c:713 remove_proc_entry+0x1/0x2",
    ],
)
def test_no_findings(line):
    assert reports(line) == []
