"""The QMP wrapper against a real QEMU that runs no guest."""

import json
import os
import signal
import socket as sockets
import subprocess
import threading
import time

import pytest

from fastballoon_cli import build
from fastballoon_cli.errors import PreconditionError, QmpError, VmLostError
from fastballoon_cli.process import Guarded
from fastballoon_cli.progress import Silent
from fastballoon_cli.qemu.balloon import BalloonDevice
from fastballoon_cli.qemu.features import abilities
from fastballoon_cli.qemu.monitor import CommandNotFoundError
from fastballoon_cli.qemu.qmp import Qmp, connect_when_ready

pytestmark = pytest.mark.qemu


@pytest.fixture
def qemu(tmp_path):
    """Start a stopped QEMU: ``qemu("fast", "-device", ...)`` returns its monitor's socket and its process."""
    started = []

    def start(variant, *options):
        artifact = build.qemu(build.Variant(variant), Silent())
        socket = tmp_path / f"qmp{len(started)}.sock"
        firmware = [word for folder in artifact.firmware for word in ("-L", folder)]
        process = Guarded(
            [artifact.binary, "-S", "-machine", "pc", "-accel", "tcg", "-m", "512M", "-nodefaults", "-no-user-config",
             "-display", "none", *firmware, "-qmp", f"unix:{socket},server=on,wait=off", *options],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        started.append(process)
        connect_when_ready(socket, deadline=time.monotonic() + 10, alive=lambda: None).close()
        return socket, process

    yield start
    for process in started:
        process.kill()


def test_a_command_that_is_not_there_and_one_that_is_refused(qemu):
    socket, _ = qemu("fast")
    with Qmp(socket) as qmp:
        with pytest.raises(CommandNotFoundError):
            qmp.execute("no-such-command")
        with pytest.raises(QmpError, match="refused 'balloon'"):
            qmp.execute("balloon", {"value": 1 << 30})
        assert qmp.execute("query-status")["status"] == "prelaunch"


def test_many_commands_at_a_time_answer_in_their_order(qemu):
    """More than QEMU takes from a client before it has answered one of them."""
    socket, _ = qemu("fast", "-device", "virtio-balloon-pci,id=b0,deflate-on-oom=on")
    asked = [{"path": "/machine/peripheral/b0", "property": name} for name in ["deflate-on-oom", "free-page-hint"] * 20]
    with Qmp(socket) as qmp:
        assert qmp.execute_all("qom-get", asked) == [True, False] * 20
        with pytest.raises(QmpError, match="refused 'qom-get'"):
            qmp.execute_all("qom-get", [*asked, {"path": "/machine/peripheral/b0", "property": "no-such"}, *asked])
        assert qmp.execute_all("qom-get", asked[:2]) == [True, False]
        assert qmp.execute_all("qom-get", []) == []


@pytest.mark.parametrize("events", [0, 2, 3])
def test_an_event_may_come_before_the_greeting(tmp_path, events):
    """QEMU sends one now and then to a client that comes right after another one."""
    path = tmp_path / "qmp.sock"
    version = {"qemu": {"micro": 0, "minor": 0, "major": 10}, "package": ""}
    greeting = json.dumps({"QMP": {"version": version, "capabilities": []}})
    words = ['{"event": "RESUME", "timestamp": {"seconds": 0, "microseconds": 0}}'] * events + [greeting]

    def serve():
        for word in words[:3]:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(f"{word}\r\n".encode())
                while command := connection.recv(4096):
                    answer = {"return": {}, "id": json.loads(command).get("id")}
                    connection.sendall(f"{json.dumps(answer)}\r\n".encode())

    with sockets.socket(sockets.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        server = threading.Thread(target=serve, daemon=True)
        server.start()
        if events < 3:
            with Qmp(path) as qmp:
                assert qmp.execute("query-status") == {}
        else:
            with pytest.raises(VmLostError, match="no QEMU listens"):
                Qmp(path)
        server.join(timeout=20)


def test_a_second_client_is_not_left_hanging(qemu):
    socket, _ = qemu("fast")
    with Qmp(socket):
        since = time.monotonic()
        with pytest.raises(QmpError, match="did not answer within"):
            Qmp(socket, greeting=0.5)
        assert time.monotonic() - since < 5


def test_a_killed_qemu_is_noticed_by_the_next_command(qemu):
    socket, process = qemu("fast")
    with Qmp(socket) as qmp:
        os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(VmLostError):
            for _ in range(100):
                qmp.execute("query-status")
    with pytest.raises(VmLostError, match="no QEMU listens"):
        Qmp(socket)


def test_a_qemu_killed_during_a_command_is_noticed_at_once(qemu):
    socket, process = qemu("fast")
    with Qmp(socket) as qmp:
        os.kill(process.pid, signal.SIGSTOP)
        since = time.monotonic()
        with pytest.raises(QmpError, match="did not answer 'query-status'"):
            qmp.execute("query-status", timeout=0.5)
        os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(VmLostError):
            qmp.execute("query-status", timeout=30)
        assert time.monotonic() - since < 10


def test_counters_and_options_of_either_variant(qemu):
    socket, _ = qemu("fast", "-device", "virtio-balloon-pci,id=b,x-page-bitmap=on")
    with Qmp(socket) as qmp:
        device = BalloonDevice(qmp)
        assert device.options()["x-page-bitmap"] is True
        counters = device.counters()
        assert counters is not None
        assert counters.page_bitmap is False  # no guest has agreed yet
        assert counters.inflate.messages == 0
        assert device.ram_bytes == 512 << 20
        assert device.size() == 0
        assert device.has_driver() is False
    socket, _ = qemu("stock", "-device", "virtio-balloon-pci")
    with Qmp(socket) as qmp:
        device = BalloonDevice(qmp)
        assert device.counters() is None
        assert "x-page-bitmap" not in device.options()


@pytest.mark.parametrize("variant", ["fast", "stock"])
@pytest.mark.parametrize("kind", ["pc-dimm", "nvdimm", "plugged later", "virtio-mem"])
def test_the_balloon_is_counted_against_dimms_too(qemu, variant, kind):
    """As QEMU does, or the size would be negative, and a target would be off by all of them."""
    nvdimm = ("-machine", "nvdimm=on") if kind == "nvdimm" else ()
    backend = ("-object", "memory-backend-ram,id=m,size=256M")
    device = {
        "pc-dimm": ("-device", "pc-dimm,memdev=m"),
        "nvdimm": ("-device", "nvdimm,memdev=m,label-size=128K"),
        "plugged later": (),
        "virtio-mem": ("-device", "virtio-mem-pci,memdev=m,requested-size=256M"),
    }[kind]
    memory = ("-m", "512M,slots=1,maxmem=1G")
    socket, _ = qemu(variant, *memory, *nvdimm, *backend, *device, "-device", "virtio-balloon-pci,id=b")
    with Qmp(socket) as qmp:
        if kind == "plugged later":
            assert BalloonDevice(qmp).size() == 0
            qmp.execute("device_add", {"driver": "pc-dimm", "memdev": "m", "id": "dimm"})
        device = BalloonDevice(qmp)
        assert device.size() == 0
        counted = 512 if kind in ("virtio-mem", "nvdimm") else 768
        assert device.ram_bytes == counted << 20
        qmp.execute("cont")
        device.set_target(128 << 20)  # which QEMU accepts: more than 0, and no more than all
        with pytest.raises(QmpError):
            device.set_target(device.ram_bytes)


def test_statistics_have_an_interval_and_no_age_before_the_first(qemu):
    socket, _ = qemu("fast", "-device", "virtio-balloon-pci,id=b")
    with Qmp(socket) as qmp:
        device = BalloonDevice(qmp)
        assert (device.stats().interval_s, device.stats().age_s, device.stats().values) == (0, None, {})


@pytest.mark.parametrize("variant", ["fast", "stock"])
def test_a_binary_says_what_it_can_do(qemu, variant):
    binary = build.qemu(build.Variant(variant), Silent()).binary
    able = abilities(binary, "virtio-balloon-pci")
    assert ("x-page-bitmap" in able.properties) == (variant == "fast")
    tried = subprocess.run([binary, "-M", "none", "-sandbox", "on", "-version"], capture_output=True, check=False)
    assert able.sandbox == (b"sandbox" not in tried.stderr)


def test_the_feature_is_off_unless_asked_for(qemu):
    socket, _ = qemu("fast", "-device", "virtio-balloon-pci")
    with Qmp(socket) as qmp:
        assert BalloonDevice(qmp).options()["x-page-bitmap"] is False


def test_a_vm_without_a_balloon(qemu):
    socket, _ = qemu("stock")
    with Qmp(socket) as qmp, pytest.raises(PreconditionError, match="no balloon device"):
        BalloonDevice(qmp)


def create_file(path):
    return {"job-id": "job", "options": {"driver": "file", "filename": str(path), "size": 4096}}


def test_the_event_that_ends_a_command_is_waited_for(qemu, tmp_path):
    socket, _ = qemu("fast")
    with Qmp(socket) as qmp:
        data = qmp.execute_until(
            "blockdev-create",
            create_file(tmp_path / "disk"),
            event="JOB_STATUS_CHANGE",
            ends=lambda answer, data: data["id"] == "job" and data["status"] == "concluded",
            timeout=10,
        )
    assert data == {"id": "job", "status": "concluded"}
    assert (tmp_path / "disk").stat().st_size == 4096


def test_an_end_that_never_comes_is_given_up_and_a_killed_qemu_noticed(qemu, tmp_path):
    socket, process = qemu("fast")
    with Qmp(socket) as qmp:
        since = time.monotonic()
        never = dict(event="JOB_STATUS_CHANGE", ends=lambda answer, data: False)
        with pytest.raises(QmpError, match=r"no end of 'blockdev-create' within 0\.5 s"):
            qmp.execute_until("blockdev-create", create_file(tmp_path / "disk"), timeout=0.5, **never)
        assert time.monotonic() - since < 5
        qmp.execute("job-dismiss", {"id": "job"})
        threading.Timer(0.3, os.kill, (process.pid, signal.SIGKILL)).start()
        with pytest.raises(VmLostError):
            qmp.execute_until("blockdev-create", create_file(tmp_path / "other"), timeout=30, **never)
