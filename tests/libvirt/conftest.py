"""Hosts with a daemon each, and domains on them; the tool as its user runs it."""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fastballoon_cli.guest.login import HOST_ALIAS
from fastballoon_cli.machine.furnish import furnish
from tests.conftest import Tool, await_true
from tests.libvirt.certificates import Authority
from tests.libvirt.domain import domain_xml
from tests.libvirt.hosts import Host, Switch, lacking

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


def define(host: Host, folder: Path, name: str, xml: str) -> None:
    path = folder / f"{name}.xml"
    path.write_text(xml)
    host.virsh("define", str(path))


def start(host: Host, folder: Path, name: str) -> None:
    """Start a domain and wait for its guest."""
    host.virsh("start", name)
    console = folder / f"{name}.console"
    await_true(
        lambda: console.exists() and b"fastballoon: ready" in console.read_bytes(),
        seconds=_BOOT_SECONDS,
        what=f"the guest of domain '{name}'",
    )


@dataclass
class Two:
    """Two hosts with a switch between them, and a domain with our features that moves to and fro."""

    tool: Tool
    switch: Switch
    a: Host
    b: Host
    keys: Path
    name: str = "mover"

    def here(self) -> tuple[Host, Host]:
        """Return the host where the domain runs, and the other one, which must not know it."""
        found = [(one, other) for one, other in ((self.a, self.b), (self.b, self.a)) if self.name in one.domains()]
        assert len(found) == 1, "one host has the domain"
        assert found[0][0].virsh("domstate", self.name).strip() == "running"
        return found[0]

    def words(self, *arguments: str) -> tuple[str, ...]:
        """Return what migrates the domain to the other host."""
        source, target = self.here()
        return ("--connect", source.uri, "--vm", self.name, "migrate", "--to", target.uri, *arguments)

    def beside(self, *arguments: str) -> dict[str, Any]:
        """Run the tool where the guest can be logged in to, told how; it must succeed."""
        known = self.keys / "guest_hosts"
        known.write_text((self.keys / "known_hosts").read_text().replace(HOST_ALIAS, "10.0.2.15"))
        login = ("--ssh", "root@10.0.2.15", "--identity", f"{self.keys}/ssh_key", "--known-hosts", str(known))
        ran = subprocess.run(
            self.switch.words(sys.executable, "-m", "fastballoon_cli", "--json", *login, *arguments),
            env=self.tool.environment,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert ran.returncode == 0, f"exit {ran.returncode}\n{ran.stdout}\n{ran.stderr}"
        document: dict[str, Any] = json.loads(ran.stdout)
        return document

    def in_guest(self, command: str) -> str:
        """Run a command in the guest, wherever it is; it must succeed."""
        options = (f"UserKnownHostsFile={self.keys}/known_hosts", f"HostKeyAlias={HOST_ALIAS}", "ConnectTimeout=20")
        ssh = ["ssh", "-F", "none", "-i", f"{self.keys}/ssh_key", *(word for one in options for word in ("-o", one))]
        ran = subprocess.run(
            self.switch.words(*ssh, "root@10.0.2.15", command), capture_output=True, text=True, timeout=100, check=False
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout


@pytest.fixture(scope="module")
def two(tool: Tool, folder: Path) -> Iterator[Two]:
    """Two hosts and a domain of 512 MiB that is on one of them."""
    keys = folder / "keys"
    furnish(keys)
    addresses = {"a": "10.0.2.101", "b": "10.0.2.102"}
    with ExitStack() as held:
        switch = Switch()
        held.callback(switch.close)
        hosts = []
        authority = Authority()
        for name, address in addresses.items():
            hosts.append(Host(name, folder / name, address=address, others=addresses, authority=authority))
            held.callback(hosts[-1].close)
            switch.join(hosts[-1])
        made = Two(tool, switch, *hosts, keys)
        xml = domain_xml(made.name, "fast", folder / f"{made.name}.console", furnished=keys, bridged=True)
        define(made.a, folder, made.name, xml)
        tool.ok("--connect", made.a.uri, "vm", "xml", made.name, "--apply")
        start(made.a, folder, made.name)
        yield made


@pytest.fixture(scope="module")
def fast(tool: Tool, host: Host, folder: Path) -> Iterator[At]:
    """A domain of our kernel that was defined with an unmodified QEMU, and then given ours by the tool."""
    at = At(tool, host, "fast")
    define(host, folder, "fast", domain_xml("fast", "fast", folder / "fast.console", qemu="stock"))
    at.ok("vm", "xml", "--apply")
    start(host, folder, "fast")
    yield at
    host.virsh("destroy", "fast")
    host.virsh("undefine", "fast")


@pytest.fixture(scope="module")
def stock(tool: Tool, host: Host, folder: Path) -> Iterator[At]:
    """A domain of an unmodified QEMU and kernel."""
    define(host, folder, "stock", domain_xml("stock", "stock", folder / "stock.console"))
    start(host, folder, "stock")
    yield At(tool, host, "stock")
    host.virsh("destroy", "stock")
    host.virsh("undefine", "stock")
