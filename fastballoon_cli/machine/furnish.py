"""What a VM's folder has before its QEMU starts; also ``python -m fastballoon_cli.machine.furnish DIRECTORY``."""

import shutil
import sys
import zipapp
from importlib.resources import as_file, files
from pathlib import Path

from fastballoon_cli.guest.keys import make_key_pair
from fastballoon_cli.guest.login import HOST_ALIAS

__all__ = ["furnish"]


def furnish(folder: Path) -> None:
    """Put into a VM's folder the keys of both ends and the agent for the guest, and make the first QEMU's own folder.

    :param folder: is made if it is missing.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / "0").mkdir(exist_ok=True)
    make_key_pair(folder / "ssh_key", folder / "authorized_keys")
    make_key_pair(folder / "host_key", folder / "known_hosts", prefix=f"{HOST_ALIAS} ")
    with as_file(files("guest_agent")) as source:
        staging = folder / "agent"
        shutil.copytree(source, staging / "guest_agent", ignore=shutil.ignore_patterns("__pycache__"))
        # Not by runpy, which takes a guest without KVM longer to import than the agent.
        (staging / "__main__.py").write_text("from guest_agent.__main__ import listen\n\nlisten()\n")
        zipapp.create_archive(staging, folder / "agent.pyz")
        shutil.rmtree(staging)


if __name__ == "__main__":
    furnish(Path(sys.argv[1]))
