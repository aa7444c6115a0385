"""Where the patch series are, and where everything that is fetched or built goes."""

from pathlib import Path
from typing import Literal

from fastballoon_cli.config import cache_dir
from fastballoon_cli.errors import PreconditionError

__all__ = [
    "Product",
    "apt_dir",
    "artifacts_dir",
    "ccache_dir",
    "checked_cache_dir",
    "checkout_dir",
    "locks_dir",
    "logs_dir",
    "series_dir",
    "sources_dir",
    "tools_dir",
    "tree_dir",
    "work_dir",
    "work_dirs",
    "work_root",
]

Product = Literal["kernel", "qemu"]

#: The checkout, or where a wheel was installed: either has the series beside the package.
_BESIDE_PACKAGE = Path(__file__).resolve().parents[2]
_SERIES: dict[Product, str] = {"kernel": "kernel_patches/linux-6.12", "qemu": "qemu_patches/qemu-10.0"}


def series_dir(product: Product) -> Path:
    """Return the folder of a product's patch series: in the checkout, or as a wheel has installed it."""
    return _BESIDE_PACKAGE / _SERIES[product]


def checkout_dir() -> Path:
    """Return the folder of the checkout; without one, where a wheel was installed."""
    return _BESIDE_PACKAGE


def checked_cache_dir() -> Path:
    """Return the cache folder, made if it is not there.

    :raise PreconditionError: it cannot be made, or make and configure could not work in it.
    """
    path = cache_dir()
    if any(c.isspace() or c in ":'\"$" for c in str(path)):
        raise PreconditionError(
            f"nothing can be built in {path}: make and configure know no spaces, colons, quotes or '$' in paths",
            hint="set FASTBALLOON_CACHE to another folder",
        )
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise PreconditionError(
            f"cannot make the cache folder {path}: {e.strerror}", hint="set FASTBALLOON_CACHE to another folder"
        ) from e
    return path


def sources_dir(product: Product) -> Path:
    """Return the folder of a product's fetched sources, one folder per version in it."""
    return cache_dir() / "sources" / product


def apt_dir() -> Path:
    """Return the folder of the private apt state."""
    return cache_dir() / "sources" / "apt"


def tree_dir(product: Product) -> Path:
    """Return a product's git tree, which all variants share."""
    return cache_dir() / "trees" / product


def work_dir(folder: str) -> Path:
    """Return a build folder: ``kernel``, ``qemu``, or that of a variant with another configuration."""
    return work_root() / folder


def work_dirs(product: Product) -> list[Path]:
    """Return all build folders of a product."""
    return [work_root() / product, *work_root().glob(f"{product}-*")]


def work_root() -> Path:
    """Return the folder of build folders and scratch space."""
    return cache_dir() / "work"


def artifacts_dir() -> Path:
    """Return the folder of finished artifacts."""
    return cache_dir() / "artifacts"


def locks_dir() -> Path:
    """Return the folder of lock files."""
    return cache_dir() / "locks"


def logs_dir() -> Path:
    """Return the folder of build logs."""
    return cache_dir() / "logs"


def tools_dir() -> Path:
    """Return the folder of tools that builds need and Debian does not have in the right version."""
    return cache_dir() / "tools"


def ccache_dir() -> Path:
    """Return ccache's folder: our own, so that the user's settings and limits play no part."""
    return cache_dir() / "ccache"
