"""libvirt's binding, made up: daemons with domains whose guests take and give memory at once.

The tool runs in a process that is forked: each run begins with what the test has set up here, and what is said to
libvirt meanwhile is written to a file.
"""

import json
import threading
import time
from types import ModuleType, SimpleNamespace

from tests.unit.made import GIB

URI = "qemu:///system"
#: of another host
FAR = "qemu+ssh://far/system"
#: What a domain with a feature of ours has in its XML.
OURS = """<qemu:override><qemu:device alias='balloon0'><qemu:frontend>
  <qemu:property name='x-page-bitmap' type='bool' value='true'/></qemu:frontend></qemu:device></qemu:override>"""
_XML = """
<domain type='{kind}' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>{name}</name>
  <memory unit='KiB'>{kib}</memory>
  <vcpu current='2'>4</vcpu>
  {backing}
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    {memory}
    <memballoon model='{balloon}'>{stats}</memballoon>
  </devices>
  {more}
</domain>
"""


class LibvirtError(Exception):
    def __init__(self, message, code=1):
        super().__init__(message)
        self.code = code

    def get_error_code(self):
        return self.code

    def get_error_message(self):
        return str(self)


class Domain:
    """A domain that runs.

    :param xml: what stands in its XML beside what every domain has: ``kind``, ``backing``, ``memory``, ``balloon`` and
        ``more``.
    """

    def __init__(self, daemon, name, *, memory=GIB, **xml):
        self.daemon, self._name, self.memory = daemon, name, memory
        self.xml = {"kind": "kvm", "backing": "", "memory": "", "balloon": "virtio", "more": "", **xml}
        self.actual, self.period, self.state_, self.active, self.error = memory, 0, 1, True, None
        #: what its QEMU answers to commands that are passed on
        self.answers, self.tainted = {}, False
        #: the error that a migration ends with, and the state at the source then; None: it is at the destination
        self.migrates, self.state_then = None, 1
        #: what libvirt is at already: VIR_DOMAIN_JOB_NONE
        self.job = 0
        #: what its QEMU answers from the beginning of a migration on, which lasts until somebody has asked
        self.answers_then, self.asked_then = {}, threading.Event()
        #: whether a migration keeps everybody else waiting
        self.connects_for_ever = False
        #: whether somebody asks its QEMU something, for whom everybody else has to wait
        self.occupied = threading.Event()
        #: a migration waits for this
        self.arrival = threading.Event()
        self.arrival.set()
        self.stats = {"unused": 300 << 10, "usable": 500 << 10, "available": 1000 << 10, "rss": 700 << 10}

    def name(self):
        return self._name

    def UUIDString(self):
        return f"00000000-0000-4000-8000-{sum(self._name.encode()):012x}"

    def isActive(self):
        return int(self.active)

    def isPersistent(self):
        return 1

    def state(self):
        return [self.state_, 1]

    def connect(self):
        return self.daemon

    def XMLDesc(self, flags):
        stats = f"<stats period='{self.period}'/>" if self.period else ""
        return _XML.format(name=self._name, kib=self.memory >> 10, stats=stats, **self.xml)

    def controlInfo(self):
        return [2 if self.occupied.is_set() else 0, 0, 0]

    def _wait_for_others(self):
        if self.occupied.is_set():
            time.sleep(30)
            raise LibvirtError("cannot acquire state change lock", self.daemon.binding.VIR_ERR_OPERATION_TIMEOUT)

    def memoryStats(self):
        if self.error:
            raise self.error
        now = int(time.time())
        return {"actual": self.actual >> 10, **self.stats, **({"last_update": now} if self.period else {})}

    def setMemoryFlags(self, kib, flags):
        self.daemon.binding.say("setMemoryFlags", kib, flags)
        self.actual = kib << 10

    def setMemoryStatsPeriod(self, period, flags):
        self._wait_for_others()
        self.daemon.binding.say("setMemoryStatsPeriod", period, flags)
        self.period = period

    def messages(self, flags):
        return ["tainted: custom monitor control commands issued"] if self.tainted else []

    def info(self):
        return [1, self.memory >> 10, self.actual >> 10, 2, 5_000_000_000]

    def migrateSetMaxDowntime(self, milliseconds, flags):
        self.daemon.binding.say("migrateSetMaxDowntime", milliseconds, flags)

    def migrateToURI3(self, uri, parameters, flags):
        self.daemon.binding.say("migrateToURI3", uri, parameters, flags)
        if self.connects_for_ever:
            self.occupied.set()
        self.arrival.wait()
        if self.answers_then:
            self.answers |= self.answers_then
            self.asked_then.wait()
        if self.migrates:
            self.state_ = self.state_then
            raise self.migrates
        other = self.daemon.binding.daemons[uri]
        other.domains.append(self.daemon.domains.pop(self.daemon.domains.index(self)))
        self.daemon = other

    def jobStats(self, flags):
        if not flags & 1:
            raise LibvirtError("no job is active on the domain", 55)
        pages = {"memory_normal": 10, "memory_constant": 20, "memory_iteration": 2}
        return {"memory_total": GIB, "memory_processed": 7 << 20, "time_elapsed": 1500, "downtime": 40, **pages}

    def jobInfo(self):
        return [self.job, *[0] * 11]

    def abortJob(self):
        self.daemon.binding.say("abortJob")
        self._wait_for_others()


class Daemon:
    def __init__(self, binding, uri, kind="QEMU"):
        self.binding, self.uri, self.kind, self.domains = binding, uri, kind, []
        #: the error that a domain is not defined with
        self.refuses = None

    def getURI(self):
        return self.uri

    def getType(self):
        return self.kind

    def defineXML(self, xml):
        if self.refuses:
            raise self.refuses
        self.binding.say("defineXML", xml)

    def getHostname(self):
        return "far"

    def getLibVersion(self):
        return 9_000_002

    def lookupByName(self, name):
        return self._lookup(lambda one: one.name() == name)

    def lookupByUUIDString(self, uuid):
        return self._lookup(lambda one: one.UUIDString() == uuid)

    def _lookup(self, is_it):
        for one in self.domains:
            if is_it(one):
                return one
        raise LibvirtError("Domain not found", self.binding.VIR_ERR_NO_DOMAIN)

    def listAllDomains(self, flags):
        return [one for one in self.domains if one.active]

    def domainListGetStats(self, domains, kind, flags=0):
        return [(domains[0], {"vcpu.current": 2, "vcpu.0.time": 1_000_000_000, "vcpu.1.time": 500_000_000})]


class Binding(ModuleType):
    """The module ``libvirt``; ``libvirt_qemu`` is its :ivar:`qemu`."""

    def __init__(self, log):
        super().__init__("libvirt")
        self._log = log
        for number, name in enumerate(
            ("NO_DOMAIN", "OPERATION_DENIED", "ACCESS_DENIED", "AUTH_FAILED", "OPERATION_TIMEOUT", "OPERATION_INVALID"),
            start=42,
        ):
            setattr(self, f"VIR_ERR_{name}", number)
        self.VIR_CONNECT_LIST_DOMAINS_ACTIVE = self.VIR_DOMAIN_AFFECT_LIVE = self.VIR_DOMAIN_JOB_STATS_COMPLETED = 1
        self.VIR_DOMAIN_MESSAGE_TAINTING, self.VIR_DOMAIN_JOB_NONE = 2, 0
        self.VIR_DOMAIN_XML_SECURE, self.VIR_DOMAIN_XML_INACTIVE = 1, 2
        self.VIR_DOMAIN_CONTROL_OK = 0
        self.VIR_DOMAIN_STATS_VCPU, self.VIR_DOMAIN_RUNNING, self.VIR_DOMAIN_PAUSED = 8, 1, 3
        self.VIR_MIGRATE_LIVE, self.VIR_MIGRATE_PEER2PEER, self.VIR_MIGRATE_PERSIST_DEST = 1, 2, 8
        self.VIR_MIGRATE_UNDEFINE_SOURCE, self.VIR_MIGRATE_PARALLEL, self.VIR_MIGRATE_TLS = 16, 131072, 65536
        self.VIR_MIGRATE_PARAM_BANDWIDTH, self.VIR_MIGRATE_PARAM_PARALLEL_CONNECTIONS = "bandwidth", "parallel"
        self.VIR_MIGRATE_PARAM_URI = "migrate_uri"
        self.libvirtError = LibvirtError
        self.daemons: dict[str, Daemon] = {}
        self.qemu = SimpleNamespace(qemuMonitorCommand=self._pass)

    def say(self, *words):
        with self._log.open("a") as file:
            file.write(json.dumps(words) + "\n")

    def said(self, *names):
        """Return what was said to libvirt under these names, in order."""
        lines = [json.loads(line) for line in self._log.read_text().splitlines()] if self._log.exists() else []
        return [words for words in lines if words[0] in names]

    def daemon(self, uri, **more):
        self.daemons[uri] = Daemon(self, uri, **more)
        return self.daemons[uri]

    def open(self, uri):
        found = self.daemons.get(uri or "default:///")
        if found is None:
            raise LibvirtError(f"Failed to connect socket to '{uri}': No such file or directory", 38)
        return found

    def registerErrorHandler(self, handler, context):
        pass

    def virEventRegisterDefaultImpl(self):
        pass

    def virEventRunDefaultImpl(self):
        time.sleep(1)

    @staticmethod
    def _pass(domain, text, flags):
        request = json.loads(text)
        domain.daemon.binding.say("passed", request)
        answer = domain.answers.get(request["execute"])
        if answer is not None and answer is domain.answers_then.get(request["execute"]):
            domain.asked_then.set()
        if answer is None:
            return json.dumps({"error": {"class": "CommandNotFound", "desc": request["execute"]}})
        return json.dumps({"return": answer})


def at(fastballoon, *arguments, uri=URI, vm="web", **environment):
    return fastballoon("--json", "--connect", uri, "--vm", vm, *arguments, **environment)


def ok(fastballoon, *arguments, **more):
    ran = at(fastballoon, *arguments, **more)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return json.loads(ran.stdout)


def refused(fastballoon, code, *arguments, **more):
    ran = at(fastballoon, *arguments, **more)
    assert ran.returncode == code, ran.stdout + ran.stderr
    assert "Traceback" not in ran.stderr
    return json.loads(ran.stdout)["error"]
