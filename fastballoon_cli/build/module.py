"""The driver of the kernel series as the sources of a module for other kernels.

Its files are those of the series, word for word; ``guest_module`` has what these kernels lack for them.
"""

import shutil
from pathlib import Path

from fastballoon_cli.build import trees
from fastballoon_cli.build.git import git
from fastballoon_cli.build.job import Job
from fastballoon_cli.build.paths import checkout_dir
from fastballoon_cli.build.series import Series
from fastballoon_cli.build.store import folder_sha256

__all__ = ["SHARED", "assemble", "own_sha256"]

#: Of the kernel with the series -> of the module.
SHARED = {
    "drivers/virtio/virtio_balloon.c": "driver.c",
    "drivers/virtio/virtio_balloon_bitmap.c": "bitmap.c",
    "drivers/virtio/virtio_balloon_bitmap.h": "virtio_balloon_bitmap.h",
    "drivers/virtio/virtio_balloon_host_req.c": "host_req.c",
    "drivers/virtio/virtio_balloon_host_req.h": "virtio_balloon_host_req.h",
    "include/linux/balloon_compaction.h": "include/linux/balloon_compaction.h",
    "include/linux/drop_caches.h": "include/linux/drop_caches.h",
    "include/linux/free_page_map.h": "include/linux/free_page_map.h",
    "include/uapi/linux/virtio_balloon.h": "include/uapi/linux/virtio_balloon.h",
    "mm/balloon_blocks.c": "mm/balloon_blocks.c",
    "mm/balloon_blocks.h": "mm/balloon_blocks.h",
    "mm/free_page_map.c": "mm/free_page_map.c",
}


_PASSING = ("__pycache__",)


def own_dir() -> Path:
    """Return the folder of what the module has of its own: in the checkout, or as a wheel has installed it."""
    return checkout_dir() / "guest_module"


def _agent_dir() -> Path:
    """Return the folder of the agent, of which the guest's package has a part."""
    return checkout_dir() / "guest_agent"


def own_sha256() -> str:
    """Return the sum over names and contents of what is not of the series."""
    return "".join(folder_sha256(folder, without=_PASSING) for folder in (own_dir(), _agent_dir()))


def assemble(series: Series, tree: Path, into: Path, work: Job) -> None:
    """Put the sources of the module, and what makes packages of them, into a new folder.

    :param tree: has the series on its branch, as :func:`fastballoon_cli.build.devtree.patched_tree` leaves it.
    :raise BuildError: the series lacks a file.
    """
    shutil.copytree(own_dir(), into, ignore=shutil.ignore_patterns(*_PASSING))
    shutil.copytree(_agent_dir(), into / "guest_agent", ignore=shutil.ignore_patterns(*_PASSING))
    for theirs, ours in SHARED.items():
        path = into / ours
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(git(work, tree, ["show", f"{trees.series_branch(series)}:{theirs}"]))
