import re
from importlib import resources
from itertools import pairwise
from pathlib import Path

from fastballoon_cli.machine.spec import QemuSpec


def spec(**changes):
    values = dict(
        name="t",
        binary=Path("/q/qemu"),
        firmware=(Path("/fw/a"), Path("/fw/b")),
        kernel=Path("/k/bzImage"),
        rootfs=Path("/i/root.img"),
        memory_bytes=4 << 30,
        cpus=2,
        accel="tcg",
        balloon_options="x-page-bitmap=on",
        append="",
        ssh_port=2222,
        directory=Path("/run/vm,1"),
    )
    return QemuSpec(**(values | changes))


def after(argv, option):
    return [value for key, value in pairwise(argv) if key == option]


def test_lays_out_the_command_line():
    argv = spec(append="init_on_alloc=1").argv()
    assert after(argv, "-m") == ["4096M"]
    assert after(argv, "-accel") == ["tcg,thread=multi"]
    assert after(argv, "-L") == ["/fw/a", "/fw/b"]
    assert after(argv, "-append")[0].endswith(" init_on_alloc=1")
    assert "virtio-balloon-pci,id=balloon0,x-page-bitmap=on" in after(argv, "-device")


def test_a_kernel_with_an_initramfs_has_its_network_card_where_the_guests_init_looks_for_it():
    argv = spec(initrd=Path("/k/initrd")).argv()
    assert after(argv, "-initrd") == ["/k/initrd"]
    assert "net.ifnames=0" in after(argv, "-append")[0].split()
    assert "-initrd" not in spec().argv()
    assert "net.ifnames" not in after(spec().argv(), "-append")[0]


def test_the_forwarded_port_is_open_to_this_host_only():
    (netdev,) = after(spec().argv(), "-netdev")
    assert "hostfwd=tcp:127.0.0.1:2222-:22" in netdev
    assert "restrict=on" in netdev


def test_a_comma_in_a_path_is_doubled():
    assert any("path=/run/vm,,1/0/qmp.sock," in word for word in spec().argv())


def test_unmodified_balloon_has_no_options():
    assert "virtio-balloon-pci,id=balloon0" in after(spec(balloon_options="").argv(), "-device")


def test_kvm_uses_the_hosts_cpu():
    argv = spec(accel="kvm").argv()
    assert after(argv, "-accel") == ["kvm"]
    assert after(argv, "-cpu") == ["host"]


def test_a_kernel_whose_clock_is_emulated_takes_it_as_it_comes():
    assert "no_timer_check" in after(spec(accel="tcg").argv(), "-append")[0]
    assert "no_timer_check" not in after(spec(accel="kvm").argv(), "-append")[0]


def test_virtio_mem_lends_a_part_of_the_memory():
    argv = spec(pluggable_bytes=3 << 30).argv()
    assert after(argv, "-m") == ["1024M,maxmem=4096M"]
    assert "memory-backend-ram,id=vmem0-ram,size=3072M" in after(argv, "-object")
    assert "virtio-mem-pci,id=vmem0,memdev=vmem0-ram,requested-size=3072M" in after(argv, "-device")


def test_shared_memory_is_a_memfd_of_the_memory_that_is_not_lent():
    argv = spec(shared_memory=True, pluggable_bytes=1 << 30).argv()
    assert after(argv, "-machine") == ["pc,memory-backend=ram"]
    assert "memory-backend-memfd,id=ram,size=3072M,share=on" in after(argv, "-object")
    assert after(spec().argv(), "-machine") == ["pc"]


def test_a_disk_of_zeros_fills_the_buffers_that_are_read_into():
    (disk,) = after(spec(zero_disk_bytes=1 << 30).argv(), "-blockdev")
    assert f"size={1 << 30}" in disk
    assert "read-zeroes=on" in disk


def test_an_image_of_zeros_is_that_disk_instead_and_is_only_read():
    argv = spec(zero_image=Path("/z,1/zeros.erofs")).argv()
    assert not after(argv, "-blockdev")
    assert "if=none,id=zeros,file=/z,,1/zeros.erofs,format=raw,readonly=on" in after(argv, "-drive")
    assert "virtio-blk-pci,drive=zeros" in after(argv, "-device")


def test_the_destination_differs_from_the_source_in_what_it_must():
    source, destination = spec().argv(), spec().successor(3333).argv()
    assert destination[-2:] == ["-incoming", "defer"]
    differing = [(one, other) for one, other in zip(source, destination, strict=False) if one != other]
    assert len(differing) == 4  # the forwarded port and three sockets
    assert "hostfwd=tcp:127.0.0.1:3333-:22" in differing[0][1]
    for one, other in differing[1:]:
        assert one.replace("/run/vm,,1/0/", "/run/vm,,1/1/") == other
    assert spec().successor(1).successor(2).generation == 2


def test_hints_get_the_thread_that_qemu_wants():
    argv = spec(balloon_options="free-page-hint=on").argv()
    assert after(argv, "-object") == ["iothread,id=hints"]
    assert "virtio-balloon-pci,id=balloon0,free-page-hint=on,iothread=hints" in after(argv, "-device")
    assert after(spec(balloon_options="free-page-hint=on,iothread=own").argv(), "-object") == []


def test_a_disk_that_leaves_buffers_alone():
    (disk,) = after(spec(zero_disk_bytes=1 << 30, zero_disk_leaves_buffers=True).argv(), "-blockdev")
    assert "read-zeroes=off" in disk


def test_a_qemu_that_can_confine_itself_does():
    (how,) = after(spec(sandbox=True).argv(), "-sandbox")
    assert {"on", "spawn=deny", "elevateprivileges=deny"} <= set(how.split(","))
    assert after(spec(sandbox=True).successor(1).argv(), "-sandbox") == [how]
    assert after(spec().argv(), "-sandbox") == []


def test_what_is_given_to_the_guest_is_where_its_init_looks():
    """Below "opt/" and a reversed domain name, as QEMU asks of everybody, so that names of others never meet."""
    init = (resources.files("fastballoon_cli.build") / "guest_files" / "init").read_text()
    names = [option.partition(",")[0].removeprefix("name=") for option in after(spec().argv(), "-fw_cfg")]
    folders = {name.rpartition("/")[0] for name in names}
    (folder,) = folders
    assert re.fullmatch(r"opt/[a-z]+(\.[a-z]+)+", folder)
    assert f"given=/sys/firmware/qemu_fw_cfg/by_name/{folder}\n" in init
    for name in names:
        assert f"$given/{name.rpartition('/')[2]}/raw" in init
