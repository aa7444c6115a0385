"""Hosts that run libvirt, on this machine: a daemon each, in namespaces of its own.

Mounts, processes, network and host name are a host's own, so that two daemons do not meet in /run, a guest's address
is nobody else's business, and with the host's first process ends all that runs on it. The machine's own network
namespace stays as it is.
"""

import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from tests.libvirt.certificates import Authority

_DAEMON = "/usr/sbin/libvirtd"
_START_SECONDS = 30.0
#: A process that has a network namespace and nothing else to do.
_IDLE = ("sleep", "infinity")
#: What nsenter and unshare are to enter and leave beside the network.
_OWN = ("--mount", "--uts", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private")
_USERS = ("libvirt-qemu:x:64055:64055::/var/lib/libvirt:/usr/sbin/nologin",)
_GROUPS = ("libvirt-qemu:x:64055:", "kvm:x:64056:")
#: The daemon in its folder's etc, run, lib, cache and log. The shell stays as the first process and reaps orphans.
_BEGIN = """
hostname "$1"; cd "$2"
mkdir -p /run/libvirt /var/lib/libvirt /var/cache/libvirt /var/log/libvirt
for file in passwd group hosts; do mount --bind etc/$file /etc/$file; done
mount --bind etc /etc/libvirt; mount --bind run /run/libvirt; mount --bind lib /var/lib/libvirt
mount --bind cache /var/cache/libvirt; mount --bind log /var/log/libvirt
ip link set lo up
/usr/sbin/libvirtd --listen -f /etc/libvirt/libvirtd.conf -p /run/libvirt/libvirtd.pid &
wait
"""
_LIBVIRTD_CONF = """
host_uuid = "{uuid}"
listen_tls = 0
listen_tcp = 1
auth_tcp = "none"
auth_unix_ro = "none"
auth_unix_rw = "none"
unix_sock_dir = "/run/libvirt"
log_outputs = "3:file:/var/log/libvirt/libvirtd.log"
"""
_QEMU_CONF = """
security_driver = "none"
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
namespaces = [ ]
cgroup_controllers = [ ]
stdio_handler = "file"
"""


def lacking() -> str | None:
    """Return why no host can be made here; None if they can."""
    for program in (_DAEMON, "/usr/bin/virsh"):
        if not Path(program).exists():
            return f"there is no {program}: apt-get install libvirt-daemon libvirt-daemon-driver-qemu libvirt-clients"
    if find_spec("libvirt") is None:
        return "there is no binding: pip install -e '.[libvirt]'"
    for program in ("ip", "unshare", "nsenter", "setpriv"):
        if not shutil.which(program):
            return f"there is no '{program}'"
    tried = subprocess.run(
        ["unshare", *_OWN, "ip", "link", "add", "br0", "type", "bridge"], capture_output=True, text=True, check=False
    )
    return f"no namespaces can be made: {tried.stderr.strip()}" if tried.returncode else None


@dataclass
class Switch:
    """What joins hosts: a network namespace with a bridge in it, that a client can be in as well.

    The guests' image has the address 10.0.2.15, and 10.0.2.2 as its gateway.
    """

    process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "unshare", "--net", *_IDLE])
        _await_own_network(self.process.pid)
        self.run("ip", "link", "add", "br0", "type", "bridge")
        self.run("ip", "address", "add", "10.0.2.2/24", "dev", "br0")
        self.run("ip", "link", "set", "br0", "up")
        self.run("ip", "link", "set", "lo", "up")

    def words(self, *command: str) -> list[str]:
        """Return a command that runs beside the switch."""
        return ["nsenter", "--target", str(self.process.pid), "--net", *command]

    def run(self, *command: str) -> None:
        subprocess.run(self.words(*command), check=True)

    def join(self, host: "Host") -> None:
        """Give a host a bridge ``br0`` of its own that is joined to this one."""
        here = f"to-{host.name}"
        self.run("ip", "link", "add", here, "type", "veth", "peer", "name", "up0", "netns", str(host.inner))
        self.run("ip", "link", "set", here, "master", "br0", "up")
        for command in (
            "ip link add br0 type bridge",
            "ip link set up0 master br0 up",
            f"ip address add {host.address}/24 dev br0",
            "ip link set br0 up",
        ):
            host.run(*command.split())

    def cut(self, host: "Host", *, again: bool = False) -> None:
        """Have no packet reach a host any more; ``again``: have them."""
        self.run("ip", "link", "set", f"to-{host.name}", "up" if again else "down")

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


@dataclass
class Host:
    """A host with a daemon of its own.

    :ivar folder: where all is that it writes; short, as a unix socket's path has 108 bytes.
    :ivar others: name -> address of those that it is to know.
    :ivar authority: who gives it certificates for its address, for migrations by TLS.
    """

    name: str
    folder: Path
    address: str | None = None
    others: dict[str, str] = field(default_factory=dict)
    authority: Authority | None = None
    process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        for part in ("etc", "run", "lib", "cache", "log"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        etc = self.folder / "etc"
        names = "\n".join(
            f"{address} {name}" for name, address in {**self.others, self.name: self.address or "127.0.1.1"}.items()
        )
        (etc / "hosts").write_text(f"{Path('/etc/hosts').read_text()}\n{names}\n")
        # The daemon wants them whatever its configuration says; on Debian 12 another package makes them.
        _with_lines(Path("/etc/passwd"), _USERS, etc / "passwd")
        _with_lines(Path("/etc/group"), _GROUPS, etc / "group")
        (etc / "libvirtd.conf").write_text(_LIBVIRTD_CONF.format(uuid=uuid.uuid5(uuid.NAMESPACE_DNS, self.name)))
        # What a destination tells the source to connect to.
        reached = f'migration_host = "{self.address}"\n' if self.address else ""
        if self.authority and self.address:
            self.authority.issue(etc / "pki", self.address)
            reached += 'migrate_tls_x509_cert_dir = "/etc/libvirt/pki"\n'
        (etc / "qemu.conf").write_text(_QEMU_CONF + reached)
        with (self.folder / "log" / "stdout").open("wb") as log:
            self.process = subprocess.Popen(
                [
                    "setpriv",
                    "--pdeathsig",
                    "KILL",
                    "unshare",
                    *_OWN,
                    "sh",
                    "-c",
                    _BEGIN,
                    "sh",
                    self.name,
                    str(self.folder),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + _START_SECONDS
        while self.try_virsh("hostname").returncode:
            if self.process.poll() is not None or time.monotonic() > deadline:
                said = "\n".join(
                    one.read_text(errors="replace") for one in sorted((self.folder / "log").glob("*")) if one.is_file()
                )
                self.close()
                raise AssertionError(f"the daemon of host '{self.name}' did not start:\n{said}")
            time.sleep(0.05)

    @property
    def uri(self) -> str:
        """How to reach its daemon from this machine."""
        return f"qemu+unix:///system?socket={self.folder}/run/libvirt-sock"

    @property
    def inner(self) -> int:
        """The pid, on this machine, of its first process."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[0])

    def words(self, *command: str) -> list[str]:
        """Return a command that runs on this host."""
        return ["nsenter", "--target", str(self.inner), "--mount", "--uts", "--net", "--pid", *command]

    def run(self, *command: str) -> str:
        return subprocess.run(self.words(*command), check=True, capture_output=True, text=True).stdout

    def virsh(self, *arguments: str) -> str:
        """Return what virsh prints; it must succeed."""
        ran = self.try_virsh(*arguments)
        assert ran.returncode == 0, f"virsh {' '.join(arguments)}: {ran.stderr}"
        return ran.stdout

    def domains(self) -> list[str]:
        """Return the names of all domains, those that do not run too."""
        return self.virsh("list", "--all", "--name").split()

    def close(self) -> None:
        """End it with all that runs on it."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def try_virsh(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run virsh, which may fail."""
        return subprocess.run(
            ["virsh", "-q", "-c", self.uri, *arguments], capture_output=True, text=True, timeout=120, check=False
        )


def _await_own_network(pid: int) -> None:
    here = Path("/proc/self/ns/net").readlink()
    while Path(f"/proc/{pid}/ns/net").readlink() == here:
        time.sleep(0.01)


def _with_lines(source: Path, lines: Sequence[str], target: Path) -> None:
    text = source.read_text()
    names = {line.partition(":")[0] for line in text.splitlines()}
    more = [line for line in lines if line.partition(":")[0] not in names]
    target.write_text(text + "".join(f"{line}\n" for line in more))
