"""A guest at rest under a host that can be told to answer wrongly."""

import pytest

from fastballoon_cli.machine import registry
from tests.hostile_host.host import hostile

NAME = "hostile"


@pytest.fixture
def host(tool):
    """A guest at rest, which the tests share for as long as each leaves it so."""
    record = registry.load(NAME)
    if record is None or not record.alive:
        options = ("--memory", "512M", "--qemu", "fast-hostile", "--append", "panic_on_warn=1")
        tool.ok("--timeout", "300", "vm", "start", "--name", NAME, *options, timeout=400)
    with hostile(NAME) as host:
        yield host
    if not host.whole:
        tool.run("vm", "stop", NAME)


@pytest.fixture(scope="module", autouse=True)
def _no_guest_is_left(tool):
    yield
    tool.run("vm", "stop", NAME)
