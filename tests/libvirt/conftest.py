"""Hosts with a daemon each, and domains on them; the tool as its user runs it."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Tool, await_true
from tests.libvirt.domain import domain_xml
from tests.libvirt.hosts import Host, lacking

_BOOT_SECONDS = 90


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = [item for item in items if Path(__file__).parent in item.path.parents]
    reason = lacking() if here else None
    for item in here:
        item.add_marker(pytest.mark.guest)
        if reason:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    # Short: a unix socket's path has 108 bytes.
    made = Path(tempfile.mkdtemp(prefix="fbl-"))
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="session")
def host(folder: Path) -> Iterator[Host]:
    """A host by itself."""
    made = Host("alone", folder / "alone")
    yield made
    made.close()


class At:
    """The tool with ``--connect`` and ``--vm``."""

    def __init__(self, tool: Tool, host: Host, name: str) -> None:
        self.tool, self.host, self.name = tool, host, name

    def ok(self, *arguments: str, **more):
        return self.tool.ok("--connect", self.host.uri, "--vm", self.name, *arguments, **more)

    def refused(self, code: int, *arguments: str):
        return self.tool.refused(code, "--connect", self.host.uri, "--vm", self.name, *arguments)

    def run(self, *arguments: str, **more):
        return self.tool.run("--connect", self.host.uri, "--vm", self.name, *arguments, **more)


def boot(host: Host, folder: Path, name: str, xml: str) -> None:
    """Define a domain, start it, and wait for its guest."""
    path = folder / f"{name}.xml"
    path.write_text(xml)
    host.virsh("define", str(path))
    host.virsh("start", name)
    console = folder / f"{name}.console"
    await_true(
        lambda: console.exists() and b"fastballoon: ready" in console.read_bytes(),
        seconds=_BOOT_SECONDS,
        what=f"the guest of domain '{name}'",
    )


@pytest.fixture(scope="module")
def stock(tool: Tool, host: Host, folder: Path) -> Iterator[At]:
    """A domain of an unmodified QEMU and kernel."""
    boot(host, folder, "stock", domain_xml("stock", "stock", folder / "stock.console"))
    yield At(tool, host, "stock")
    host.virsh("destroy", "stock")
    host.virsh("undefine", "stock")
