import itertools

import pytest

from fastballoon_cli.build.versions import debian_key, in_range, upstream_version
from fastballoon_cli.errors import BuildError

# In dpkg's order; the tilde sorts before the end, letters before other characters, and 10 after 9.
_ASCENDING = [
    "1.0~~",
    "1.0~~a",
    "1.0~",
    "1.0~rc1",
    "1.0",
    "1.0-1~bpo12+1",
    "1.0-1",
    "1.0-1+deb13u1",
    "1.0-1.1",
    "1.0a",
    "1.0+ds-0",
    "1.0.1",
    "1.9",
    "1.10",
    "1:0.5",
    "1:10.0.3+ds-0+deb13u1",
    "1:10.0.13+ds-0",
    "1:10.0.13+ds-0+deb13u1",
]


@pytest.mark.parametrize(("lower", "higher"), [*itertools.combinations(_ASCENDING, 2)])
def test_order(lower: str, higher: str) -> None:
    assert debian_key(lower) < debian_key(higher)


def test_equal() -> None:
    assert debian_key("1.0") == debian_key("0:1.0-0")


@pytest.mark.parametrize(
    ("version", "upstream"),
    [("1:10.0.13+ds-0+deb13u1", "10.0.13"), ("6.12.117-1", "6.12.117"), ("10.1.0~rc2+ds-1", "10.1.0")],
)
def test_upstream(version: str, upstream: str) -> None:
    assert upstream_version(version) == upstream


def test_no_version() -> None:
    with pytest.raises(BuildError, match="'trixie' is not a version"):
        upstream_version("trixie")


@pytest.mark.parametrize(
    ("version", "wanted", "fits"),
    [
        ("6.12.48-1", ">=6.12.48,<6.13", True),
        ("6.12.47-9", ">=6.12.48,<6.13", False),
        ("6.12.117-1", ">=6.12.48,<6.13", True),
        ("6.13.0-1", ">=6.12.48,<6.13", False),
        ("6.13-1", ">=6.12.48,<6.13", False),
        ("1:10.0.0+ds-1", ">=10.0.0,<10.1", True),
        ("1:10.0+ds-1", ">=10.0.0,<10.1", True),
        ("1:10.1.0~rc1+ds-1", ">=10.0.0,<10.1", False),
        ("1:9.2.4+ds-1", ">=10.0.0,<10.1", False),
        ("1.2", "==1.2.0", True),
        ("1.2", "", True),
    ],
)
def test_range(version: str, wanted: str, fits: bool) -> None:
    assert in_range(version, wanted) is fits


def test_bad_range() -> None:
    with pytest.raises(BuildError, match="'~=1' is not a version comparison"):
        in_range("1.0", "~=1")
