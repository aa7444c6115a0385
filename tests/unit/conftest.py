"""The command line in a process of its own, with no VM, no cache and no configuration of the user's."""

import os

import pytest

from tests import forked

_SECONDS = 60


@pytest.fixture
def fastballoon(tmp_path):
    """Run the tool: ``fastballoon("vm", "list", VARIABLE="value")``."""
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("FASTBALLOON")},
        "FASTBALLOON_RUNTIME": str(tmp_path / "run"),
        "FASTBALLOON_CACHE": str(tmp_path / "cache"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
    }

    def call(*arguments, **more):
        return forked.run(arguments, environment | more, timeout=_SECONDS)

    return call
