"""The examples of the help texts that need a VM, pasted as they are."""

import itertools

import pytest

from tests.unit.examples import NEED_A_VM, commands, examples, is_of_a_domain

pytestmark = pytest.mark.guest

#: In the order in which a person would try them; the last one ends the VM that they are about.
_ORDER = [
    "vm status",
    "vm touch",
    "inflate",
    "deflate",
    "drop-cache",
    "reclaim",
    "migrate",
    "vm ssh",
    "vm console",
    "vm stop",
]


def test_examples_work_when_pasted(tool):
    lines = {name: examples(command) for name, command in commands() if name in NEED_A_VM}
    assert set(lines) <= set(_ORDER)
    # The default VM: the examples do not name one.
    tool.ok("vm", "start")
    for name in _ORDER:
        for line in itertools.filterfalse(is_of_a_domain, lines.get(name, [])):
            ran = tool.run(*line)
            assert ran.code == 0, f"fastballoon {' '.join(line)}: exit {ran.code}\n{ran.out}\n{ran.err}"
    assert "default" not in tool.folders()
