"""A patch series as it lies in the checkout or came with the wheel: what it is based on, its patches, its sum."""

import hashlib
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastballoon_cli.build.paths import Product, series_dir
from fastballoon_cli.errors import BuildError

__all__ = ["Base", "Series", "Upstream", "load_series"]


@dataclass(frozen=True)
class Upstream:
    """The release tarball that is taken where no Debian archive can be reached."""

    version: str
    url: str
    sha256: str


@dataclass(frozen=True)
class Base:
    """What the series was made on, and which other versions it may be tried on."""

    name: str
    package: str
    suite: str
    #: the Debian version that the series was made on
    version: str
    #: of the file that holds that version's source; empty if it was not recorded
    sha256: str
    #: of upstream versions, such as ``>=6.12.48,<6.13``
    range: str


@dataclass(frozen=True)
class Series:
    """One product's patches, in order."""

    product: Product
    directory: Path
    base: Base
    upstream: Upstream | None
    patches: list[Path] = field(default_factory=list)

    @property
    def sha256(self) -> str | None:
        """The sum over names and contents of all patches; None if there are none."""
        if not self.patches:
            return None
        digest = hashlib.sha256()
        for patch in self.patches:
            content = patch.read_bytes()
            digest.update(f"{patch.name}\0{len(content)}\0".encode())
            digest.update(content)
        return digest.hexdigest()


def load_series(product: Product, directory: Path | None = None) -> Series:
    """Return the series of ``product``, by default the one that belongs to this package.

    ``0000-*`` is the cover letter and no patch.

    :raise BuildError: ``series.toml`` is missing or lacks something.
    """
    directory = directory or series_dir(product)
    manifest = directory / "series.toml"
    try:
        document: dict[str, Any] = tomllib.loads(manifest.read_text())
        base = Base(**{name: str(document["base"][name]) for name in Base.__dataclass_fields__})
        table = document.get("upstream")
        upstream = Upstream(**{n: str(table[n]) for n in Upstream.__dataclass_fields__}) if table else None
    except OSError as e:
        raise BuildError(
            f"cannot read {manifest}: {e.strerror}",
            hint="install fastballoon anew: from its wheel, or with pip install -e .",
        ) from e
    except KeyError as e:
        raise BuildError(f"{manifest} lacks {e}") from e
    except (tomllib.TOMLDecodeError, TypeError) as e:
        raise BuildError(f"{manifest} is not what it should be: {e}") from e
    patches = sorted(p for p in directory.glob("*.patch") if not p.name.startswith("0000-"))
    return Series(product, directory, base, upstream, patches)
