"""The command line in a process of its own, with no VM, no cache and no configuration of the user's."""

import os
import subprocess
import sys

import pytest


@pytest.fixture
def fastballoon(tmp_path):
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("FASTBALLOON")},
        "FASTBALLOON_RUNTIME": str(tmp_path / "run"),
        "FASTBALLOON_CACHE": str(tmp_path / "cache"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
    }

    def call(*arguments, **more):
        return subprocess.run(
            [sys.executable, "-m", "fastballoon_cli", *arguments],
            env=environment | more,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return call
