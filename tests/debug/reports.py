"""What a kernel that checks itself says when it has found something."""

import re

_REPORT = re.compile(
    r"WARNING:|BUG:|Oops|KASAN|general protection fault|INFO: task .* blocked for more than|INFO: rcu|ODEBUG|"
    r"kmemleak: \d+ new suspected|possible .* deadlock|INFO: possible|soft lockup|workqueue lockup"
)
#: Work items that keep a CPU for too long, of all drivers'; ours are these.
_HOGGED = re.compile(r"workqueue: (\w+).* hogged CPU")
_OURS = re.compile(r"balloon|host_req|drop_cache|free_page")


def reports(text: str) -> list[str]:
    """Return the lines of a console or log that tell of a finding."""
    return [line for line in text.splitlines() if _REPORT.search(line) or _is_ours(line)]


def _is_ours(line: str) -> bool:
    hogged = _HOGGED.search(line)
    return hogged is not None and _OURS.search(hogged[1]) is not None
