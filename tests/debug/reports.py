"""What a kernel that checks itself says when it has found something."""

import re

_REPORT = re.compile(
    r"WARNING:|BUG:|Oops|KASAN|general protection fault|INFO: task .* blocked for more than|INFO: rcu|ODEBUG|"
    r"kmemleak: \d+ new suspected|possible .* deadlock|INFO: possible|soft lockup|workqueue lockup"
)
#: The core of the kernel: an interrupt whose entry in /proc could not be allocated is taken back all the same.
_CORE = re.compile(r"WARNING: .* at fs/proc/generic\.c:\d+ remove_proc_entry")


def reports(text: str) -> list[str]:
    """Return the lines of a console or log that tell of a finding."""
    return [line for line in text.splitlines() if _REPORT.search(line) and not _CORE.search(line)]
