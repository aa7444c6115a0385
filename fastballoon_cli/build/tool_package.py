"""The package of this tool, for hosts that have no checkout of it."""

import shutil
from pathlib import Path

from fastballoon_cli.build.debian_package import SUITE, build_packages, describe, packaging, write_changelog
from fastballoon_cli.build.job import job
from fastballoon_cli.build.paths import checkout_dir
from fastballoon_cli.build.store import Inputs, find, folder_sha256, key_of
from fastballoon_cli.build.variants import Plan
from fastballoon_cli.build.workdir import scratch_folder
from fastballoon_cli.progress import Progress
from fastballoon_cli.units import GIB

__all__ = ["plan_tool_package", "tool_package"]

_PARTS = ("fastballoon_cli", "guest_agent", "guest_module", "kernel_patches", "qemu_patches")
_PASSING = ("__pycache__",)
_NEEDS = ("dh-python", "python3")
_NEED_BYTES = 2 * GIB
_WHAT = "the tool's package"


def tool_package(progress: Progress) -> Path:
    """Return the folder of the package, made if it is not there yet.

    :raise PreconditionError: packages or space are missing.
    :raise BuildError: this is no checkout, or something in the package is wrong.
    """
    inputs = _inputs()
    if done := find("tool-package", SUITE, key_of(inputs)):
        return done
    building = job("tool-package", "building tool-package", progress, need_bytes=_NEED_BYTES)
    with building as work, scratch_folder("tool-package") as scratch:
        source = scratch / "source"
        for part in _PARTS:
            shutil.copytree(checkout_dir() / part, source / part, ignore=shutil.ignore_patterns(*_PASSING))
        shutil.copytree(packaging("tool"), source / "debian")
        write_changelog(source, "fastballoon")
        build_packages("tool-package", inputs, scratch, _NEEDS, work, what=_WHAT)
    done = find("tool-package", SUITE, key_of(inputs))
    assert done is not None
    return done


def plan_tool_package() -> Plan:
    """Return what :func:`tool_package` would do."""
    done = find("tool-package", SUITE, key_of(_inputs()))
    return Plan("tool-package", done, [] if done else ["fastballoon build tool-package"])


def _inputs() -> Inputs:
    parts = {part: folder_sha256(checkout_dir() / part, without=_PASSING) for part in _PARTS}
    return {"how": describe(_NEEDS), "packaging": folder_sha256(packaging("tool")), **parts}
