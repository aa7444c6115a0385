"""Folders of the user's; the environment is made up."""

from pathlib import Path

import pytest

from fastballoon_cli.cli.login import login_of
from fastballoon_cli.config import cache_dir, load_defaults
from fastballoon_cli.errors import PreconditionError, UsageError


@pytest.fixture
def homeless(monkeypatch):
    """Be somebody whom the system does not know, as in a container that runs with any user id."""

    def home():
        raise RuntimeError("Could not determine home directory.")

    for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "FASTBALLOON_CACHE", "FASTBALLOON_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", home)


def test_without_a_home_there_is_no_configuration(homeless):
    assert load_defaults() == {}


def test_without_a_home_builds_go_where_the_environment_says(homeless, monkeypatch):
    with pytest.raises(PreconditionError, match="no home folder") as refused:
        cache_dir()
    assert "FASTBALLOON_CACHE" in refused.value.hint
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert cache_dir() == Path("/x/fastballoon")
    monkeypatch.setenv("FASTBALLOON_CACHE", "/y")
    assert cache_dir() == Path("/y")


def test_a_home_that_nobody_has_is_said():
    with pytest.raises(UsageError, match="no home folder"):
        login_of("root@web", Path("/key"), Path("~no-such-user/known_hosts"))
