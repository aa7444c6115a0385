"""The bare guest on each accelerator: whether one runs it is found out by running it."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from fastballoon_cli import build
from fastballoon_cli.progress import Silent
from tests.bare.guest import Guest, chunk
from tests.bare.image import build_image
from tests.bare.machine import BareError, Machine, Spec

#: ``-accel`` of each run. Only KVM has a dirty log of which a migration clears parts when it likes.
ACCELERATORS = ("tcg", "kvm")


@pytest.fixture(scope="session")
def rom(tmp_path_factory) -> Path:
    return build_image(tmp_path_factory.mktemp("rom"))


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    # Short: a unix socket's path has 108 bytes.
    with tempfile.TemporaryDirectory(prefix="fbb-") as name:
        yield Path(name)


@pytest.fixture(scope="session")
def reasons() -> dict[str, str | None]:
    """Why an accelerator does not run the guest, None if it does, as far as it is known."""
    return {}


@pytest.fixture(params=ACCELERATORS)
def accelerator(request, rom, folder, reasons) -> str:
    """Each accelerator that runs the guest; the test is skipped with the reason where one does not."""
    accel: str = request.param
    if accel not in reasons:
        reasons[accel] = _why_not(_spec(rom, folder, accel))
    if reason := reasons[accel]:
        assert accel != "tcg", reason
        pytest.skip(f"-accel {accel} does not run the bare guest: {reason}")
    return accel


@pytest.fixture
def boot(rom, accelerator, folder) -> Iterator[Any]:
    """Boot a guest for one test: ``boot(shift=6)``; it ends with the test."""
    with ExitStack() as guests:

        def start(*, pages=None, shift=31, **changes) -> Guest:
            spec = _spec(rom, folder, accelerator, options=chunk(shift), **changes)
            return guests.enter_context(Guest(spec, pages=pages))

        yield start


def _spec(rom: Path, folder: Path, accel: str, **changes: Any) -> Spec:
    return Spec(
        binary=build.qemu(build.Variant.FAST, Silent()).binary,
        rom=rom,
        accel=accel,
        folder=Path(tempfile.mkdtemp(dir=folder)),
        **changes,
    )


def _why_not(spec: Spec) -> str | None:
    if spec.accel.startswith("kvm") and not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "there is no /dev/kvm that this user may open"
    try:
        Machine(spec).stop()
    except BareError as e:
        return str(e)
    return None
