"""The source that a series is built on: found in the cache, or fetched from Debian, or from upstream."""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from fastballoon_cli.build import apt, upstream
from fastballoon_cli.build.job import Job
from fastballoon_cli.build.locks import locked
from fastballoon_cli.build.packages import require
from fastballoon_cli.build.paths import sources_dir
from fastballoon_cli.build.series import Series
from fastballoon_cli.build.store import file_sha256
from fastballoon_cli.build.versions import debian_key, in_range
from fastballoon_cli.errors import BuildError

__all__ = ["Source", "fetched", "obtain"]

_META = "source.json"


@dataclass(frozen=True)
class Source:
    """A fetched source.

    :param sha256: of the main file: the package, the ``.dsc``, or the tarball.
    :param main: that file's name.
    """

    version: str
    origin: Literal["debian", "upstream"]
    sha256: str
    main: str
    directory: Path

    @property
    def main_file(self) -> Path:
        """The main file's path."""
        return self.directory / self.main


def fetched(series: Series) -> Source | None:
    """Return the newest source in the cache that is in the series' range, None if there is none."""
    found: list[Source] = []
    for meta in sources_dir(series.product).glob(f"[!.]*/{_META}"):
        try:
            source = Source(**json.loads(meta.read_text()), directory=meta.parent)
        except (OSError, ValueError, TypeError):
            continue
        if in_range(source.version, series.base.range) and source.main_file.exists():
            found.append(source)
    return max(found, key=lambda s: debian_key(s.version), default=None)


def obtain(series: Series, job: Job) -> Source:
    """Return the source to build on, from the cache or else from the network.

    :raise BuildError: it cannot be had from anywhere.
    """
    if source := fetched(series):
        return source
    require("sources")
    root = sources_dir(series.product)
    aside = root / ".new"
    shutil.rmtree(aside, ignore_errors=True)  # of a fetch that was killed: the product's lock is ours
    aside.mkdir(parents=True)
    try:
        try:
            source = _from_debian(series, aside, job)
        except BuildError as debian:
            if series.upstream is None:
                raise
            job.progress.warn(f"no source from Debian: {_short(debian)}; trying upstream")
            try:
                source = _from_upstream(series, aside, job)
            except BuildError as e:
                raise BuildError(
                    f"cannot fetch the source of {series.base.name}, neither from a Debian mirror nor from upstream",
                    hint="check the network, the proxy settings, and that 'apt-get update' works",
                    details=f"Debian: {_short(debian)}\nupstream: {e.message}",
                ) from e
        meta = {name: value for name, value in asdict(source).items() if name != "directory"}
        (aside / _META).write_text(json.dumps(meta, indent=2) + "\n")
        final = root / source.version.replace(":", "%3a")
        shutil.rmtree(final, ignore_errors=True)
        aside.rename(final)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    return Source(**meta, directory=final)


def _short(error: BuildError) -> str:
    """Return apt's own reason where there is one, else the message."""
    return apt.reason(error.details or "") or error.message


def _from_debian(series: Series, into: Path, job: Job) -> Source:
    base = series.base
    is_source = series.product == "qemu"
    job.progress.step(f"fetch {base.package} from Debian {base.suite}")
    with locked("apt", "fetching package lists", job.progress):
        mirror = apt.machine_mirror(job)
        if mirror is None:
            raise BuildError("this machine's apt has no Debian mirror")
        options = apt.configure(mirror, base.suite)
        apt.update(job, options)
        candidates = apt.candidates(job, options, base.package, source=is_source)
        fitting = [c for c in candidates if in_range(c.version, base.range)]
        if not fitting:
            have = ", ".join(c.version for c in candidates) or "none"
            raise BuildError(
                f"the series fits {base.name} {base.range}, and the archive has of {base.package}: {have}",
                hint=f"move the series with scripts/series, then the range in {series.directory / 'series.toml'}",
            )
        choice = max(fitting, key=lambda c: debian_key(c.version))
        apt.download(job, options, base.package, choice.version, source=is_source, into=into)
    main = next(iter(into.glob("*.dsc" if is_source else "*.deb")), None)
    if main is None:
        raise BuildError(f"apt fetched nothing for {base.package} {choice.version}")
    sha256 = file_sha256(main)
    if choice.sha256 and sha256 != choice.sha256:
        raise BuildError(f"{main.name} is not what the archive's list says: SHA-256 {sha256}")
    if choice.version == base.version and base.sha256 and base.sha256 not in map(file_sha256, _sealed(into)):
        raise BuildError(
            f"no file of {base.package} {base.version} has the SHA-256 in {series.directory / 'series.toml'}"
        )
    return Source(choice.version, "debian", sha256, main.name, into)


def _sealed(folder: Path) -> list[Path]:
    return [p for p in folder.iterdir() if p.is_file()]


def _from_upstream(series: Series, into: Path, job: Job) -> Source:
    assert series.upstream is not None
    job.progress.step(f"fetch {series.base.name} {series.upstream.version} from upstream")
    for leftover in _sealed(into):
        leftover.unlink()
    main = upstream.fetch(series.upstream, into, job.progress)
    return Source(series.upstream.version, "upstream", series.upstream.sha256, main.name, into)
