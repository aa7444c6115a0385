"""Guests of distributions' kernels, as far as it shows without building one."""

import os
from pathlib import Path
from tempfile import mkdtemp

import pytest

from fastballoon_cli import build
from fastballoon_cli.build import distribution, module
from fastballoon_cli.build.chroot import Chroot, run_in_chroot
from fastballoon_cli.build.guest_packages import GuestPackages
from fastballoon_cli.build.job import job
from fastballoon_cli.errors import BuildError, UsageError
from fastballoon_cli.machine import plan
from fastballoon_cli.machine.plan import Request
from fastballoon_cli.ops.bench.plan import Bench
from fastballoon_cli.ops.bench.variants import VARIANTS
from fastballoon_cli.progress import Silent

DISTRIBUTIONS = [one.value for one in build.Distribution]


def test_a_variant_that_a_distribution_does_not_have_is_refused_before_anything_is_built(fastballoon):
    ran = fastballoon("vm", "start", "--name", "v", "--guest", "debian13", "--kernel", "fast-debug")
    assert ran.returncode == 2
    assert ran.stderr.splitlines() == [
        "error: there is no kernel 'fast-debug' of debian13",
        "hint: fast is that kernel with our module, stock with its own driver",
    ]


def test_what_is_not_built_yet_is_named_with_its_command(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTBALLOON_CACHE", str(tmp_path))
    assert "fastballoon build kernel --variant stock --guest debian12" in plan.missing(
        Request(guest="debian12", kernel="stock")
    )


@pytest.mark.parametrize("guest", DISTRIBUTIONS)
def test_a_bench_can_compare_a_distributions_kernel_with_our_module_and_with_its_own_driver(guest):
    ours, own = VARIANTS[guest], VARIANTS[f"{guest}-stock"]
    assert (ours.guest, ours.kernel, ours.qemu, ours.method) == (guest, "fast", "fast", "page-bitmap")
    assert (own.guest, own.kernel, own.qemu, own.method) == (guest, "stock", "stock", "pfn")
    request = Bench(scenario="inflate", init_on_alloc=True).request(guest)
    assert (request.guest, request.append) == (guest, "init_on_alloc=1")


def test_a_kernel_is_made_anew_when_the_module_or_the_series_changes():
    one = GuestPackages(None, "a" * 64, "one")
    other = GuestPackages(None, "a" * 64, "other")
    debian = build.Distribution.DEBIAN13
    assert distribution._inputs(debian, one) != distribution._inputs(debian, other)


def test_each_file_that_the_module_shares_is_one_of_the_series():
    patches = "".join(path.read_text() for path in (build.series_dir("kernel")).glob("*.patch"))
    for theirs in module.SHARED:
        assert f"+++ b/{theirs}\n" in patches, theirs


@pytest.fixture
def in_chroot(tmp_path, monkeypatch):
    """Run a script of ours in a Debian, of which mmdebstrap is made up and fails after these commands; return why."""
    monkeypatch.setenv("FASTBALLOON_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("fastballoon_cli.build.chroot.require", lambda *_: None)
    monkeypatch.setattr("fastballoon_cli.build.apt.machine_mirror", lambda _: "http://127.0.0.1:1/debian")
    monkeypatch.setattr("fastballoon_cli.build.apt.keyring", lambda: "/keys")
    fake = tmp_path / "bin/mmdebstrap"
    fake.parent.mkdir()
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    script = tmp_path / "make-it"
    script.touch()

    def run(*commands):
        fake.write_text("\n".join(["#!/bin/sh", *commands, "exit 1", ""]))
        fake.chmod(0o755)
        into = Path(mkdtemp(dir=tmp_path))
        with job("t", "building t", Silent(), need_bytes=0) as work, pytest.raises(BuildError) as error:
            run_in_chroot(Chroot(suite="trixie", packages=()), script, [], into, work, what="the thing")
        return error.value

    return run


def test_a_debian_that_cannot_be_had_is_told_from_a_script_that_fails_in_it(in_chroot):
    unreachable = in_chroot("echo 'E: Failed to fetch http://127.0.0.1:1/debian  Connection refused'")
    assert "cannot install Debian for the thing: Failed to fetch" in unreachable.message
    assert "check the network" in unreachable.hint

    hook = "I: running --customize-hook in shell: chroot $1 sh -eu /build/make-it"
    ours = in_chroot(f"echo '{hook}'", "echo 'make: *** [x] Error 2'")
    assert ours.message == "cannot make the thing: a script of ours failed"
    assert "make: *** [x] Error 2" in ours.details


def test_there_is_no_such_kernel_in_the_library_either():
    with pytest.raises(UsageError):
        build.guest_kernel("debian13", build.Variant.FAST_DEBUG, Silent())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's mounts would be seen by others")
def test_a_debian_that_is_given_up_leaves_nothing_mounted(in_chroot, tmp_path):
    error = in_chroot(
        'mkdir "$TMPDIR/m"',
        'mount -t tmpfs none "$TMPDIR/m"',
        'grep -q "$TMPDIR" /proc/self/mounts && echo mounted',
    )
    assert "mounted" in error.details
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()
