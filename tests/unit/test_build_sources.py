"""Fetching from upstream, against a server on this machine."""

import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fastballoon_cli.build import apt, sources
from fastballoon_cli.build.job import job
from fastballoon_cli.build.series import Base, Series, Upstream
from fastballoon_cli.build.upstream import fetch
from fastballoon_cli.errors import BuildError
from fastballoon_cli.progress import Silent

_CONTENT = b"a tarball" * 1000
_SHA256 = hashlib.sha256(_CONTENT).hexdigest()
_BASE = Base("linux", "linux-source-6.12", "trixie", "6.12.117-1", "", ">=6.12.48,<6.13")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FASTBALLOON_CACHE", str(tmp_path / "cache"))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "cache"


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "www").mkdir()
    (tmp_path / "www/linux-6.12.80.tar.xz").write_bytes(_CONTENT)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(tmp_path / "www"))) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


def _series(tmp_path: Path, upstream: Upstream | None) -> Series:
    return Series("kernel", tmp_path, _BASE, upstream)


def test_fetch(server: str, tmp_path: Path) -> None:
    target = fetch(Upstream("6.12.80", f"{server}/linux-6.12.80.tar.xz", _SHA256), tmp_path, Silent())
    assert target.read_bytes() == _CONTENT


def test_other_content_is_refused_and_removed(server: str, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="is not what it should be"):
        fetch(Upstream("6.12.80", f"{server}/linux-6.12.80.tar.xz", "0" * 64), tmp_path, Silent())
    assert not (tmp_path / "linux-6.12.80.tar.xz").exists()


@pytest.mark.parametrize("address", ["http://127.0.0.1:1/x.tar.xz", "file:///etc/passwd", "{}/absent.tar.xz"])
def test_unreachable(server: str, tmp_path: Path, address: str) -> None:
    with pytest.raises(BuildError):
        fetch(Upstream("6.12.80", address.format(server), _SHA256), tmp_path, Silent())


def test_upstream_where_there_is_no_debian_mirror(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apt, "machine_mirror", lambda job: None)
    monkeypatch.setattr(sources, "require", lambda *purposes: None)
    series = _series(tmp_path, Upstream("6.12.80", f"{server}/linux-6.12.80.tar.xz", _SHA256))
    assert sources.fetched(series) is None
    with job("kernel", "building kernel-fast", Silent(), need_bytes=0) as work:
        source = sources.obtain(series, work)
    assert (source.origin, source.version, source.sha256) == ("upstream", "6.12.80", _SHA256)
    assert source.main_file.read_bytes() == _CONTENT
    assert sources.fetched(series) == source  # from now on without the network


def test_neither_debian_nor_upstream(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apt, "machine_mirror", lambda job: None)
    monkeypatch.setattr(sources, "require", lambda *purposes: None)
    series = _series(tmp_path, Upstream("6.12.80", "http://127.0.0.1:1/linux.tar.xz", _SHA256))
    with (
        pytest.raises(BuildError, match="neither from a Debian mirror nor from upstream") as error,
        job("kernel", "building kernel-fast", Silent(), need_bytes=0) as work,
    ):
        sources.obtain(series, work)
    assert "no Debian mirror" in (error.value.details or "")
    assert not list((cache / "sources/kernel").iterdir())


def test_the_newest_in_range_is_taken(tmp_path: Path, cache: Path) -> None:
    for version in ("6.12.60-1", "6.12.117-1", "6.12.99-1", "6.13.1-1"):
        folder = cache / "sources/kernel" / version
        folder.mkdir(parents=True)
        (folder / "source.json").write_text(
            f'{{"version": "{version}", "origin": "debian", "sha256": "x", "main": "linux.deb"}}'
        )
        (folder / "linux.deb").touch()
    (cache / "sources/kernel/broken").mkdir()
    (cache / "sources/kernel/broken/source.json").write_text("{")
    found = sources.fetched(_series(tmp_path, None))
    assert found is not None
    assert found.version == "6.12.117-1"
