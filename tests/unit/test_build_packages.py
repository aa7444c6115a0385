import re
from pathlib import Path

import pytest

from fastballoon_cli.build import packages
from fastballoon_cli.build.packages import PACKAGES, Package, install_line, missing, require
from fastballoon_cli.errors import PreconditionError


def test_list_is_sound() -> None:
    names = [p.name for p in PACKAGES]
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9.+-]+", name) for name in names)
    assert all(p.purposes and p.probe and not p.probe.startswith("/") for p in PACKAGES)


def test_probe_of_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    package = Package("x", ("kernel",), "no-such-program")
    assert not package.present
    (tmp_path / "no-such-program").touch(mode=0o755)
    assert package.present


def test_probe_of_a_file() -> None:
    assert Package("x", ("kernel",), "etc/pass*d").present
    assert not Package("x", ("kernel",), "etc/no-such-*").present


def test_missing_packages_come_with_the_line_that_installs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = Package("absent", ("kernel",), "no-such-program")
    other = Package("other", ("image",), "no-such-program")
    rare = Package("rare", ("sanitize",), "no-such-program")
    monkeypatch.setattr(packages, "PACKAGES", (absent, other, rare))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert missing() == [absent, other]
    assert missing(["kernel"]) == [absent]
    assert missing(["sanitize"]) == [rare]
    with pytest.raises(PreconditionError, match="missing packages: absent") as error:
        require("kernel")
    assert error.value.hint == "run: apt-get install --no-install-recommends -y absent"
    assert error.value.exit_code == 3


def test_what_the_binding_of_libvirt_is_compiled_with_is_named_wherever_it_is_told() -> None:
    """Python.h as well: a Debian whose Python is Debian's has it only in python3-dev."""
    needed = {"libvirt-dev", "python3-dev", "pkgconf", "gcc"}
    assert needed <= {p.name for p in PACKAGES if "libvirt" in p.purposes}
    root = Path(__file__).parents[2]
    for told in ("README.md", "docs/libvirt.md", "fastballoon_cli/libvirt/connection.py"):
        lines = re.findall(r"apt-get install ([a-z0-9 -]*libvirt-dev[a-z0-9 -]*)", (root / told).read_text())
        assert lines, told
        assert all(needed <= set(line.split()) for line in lines), told


def test_sudo_only_where_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert install_line([Package("a", ("image",), "x")]).startswith("sudo apt-get install")
