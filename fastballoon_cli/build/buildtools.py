"""A Python environment with the tools that QEMU's configure wants, in newer versions than Debian 12 has."""

import shutil
import sys
from pathlib import Path

from fastballoon_cli.build.job import Job
from fastballoon_cli.build.paths import tools_dir

__all__ = ["python_with_meson"]

_REQUIREMENTS = ("meson>=1.5,<2", "ninja>=1.10", "pycotap>=1.1", "tomli>=1.2")
_STAMP = "complete"


def python_with_meson(work: Job) -> Path:
    """Return the environment's Python, made if it is not there yet; to be called under a lock.

    :raise BuildError: packages could not be fetched.
    """
    home = tools_dir() / "qemu-python"
    python = home / "bin" / "python"
    wanted = f"{sys.version}\n{' '.join(_REQUIREMENTS)}\n"
    stamp = home / _STAMP
    # An environment knows its own path, so it cannot be made aside and renamed: the stamp is written last.
    if stamp.exists() and stamp.read_text() == wanted and python.exists():
        return python
    work.progress.step("install meson and ninja")
    shutil.rmtree(home, ignore_errors=True)
    home.parent.mkdir(parents=True, exist_ok=True)
    work.run([sys.executable, "-m", "venv", home], hint="install the package python3-venv")
    work.run(
        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *_REQUIREMENTS],
        hint="meson and ninja come from the Python package index: check the network and pip's settings",
    )
    stamp.write_text(wanted)
    return python
