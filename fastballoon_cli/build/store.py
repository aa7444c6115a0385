"""Finished artifacts, one folder each, named by the sum of everything that went into them."""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastballoon_cli import __version__
from fastballoon_cli.build.paths import artifacts_dir, checked_cache_dir
from fastballoon_cli.errors import BuildError

__all__ = ["Inputs", "file_sha256", "find", "folder_sha256", "key_of", "passed_file", "publish", "read_meta"]

Inputs = Mapping[str, str | int | None]
_META = "meta.json"


def key_of(inputs: Inputs) -> str:
    """Return the sum over everything that decides what comes out of a build."""
    return hashlib.sha256(json.dumps(dict(inputs), sort_keys=True).encode()).hexdigest()


def passed_file(of: str, inputs: Inputs) -> Path:
    """Return the file that says, by being there, that checks have passed; its folder is there.

    :param of: what is checked.
    :param inputs: what decides whether they pass.
    """
    folder = checked_cache_dir() / "checked"
    folder.mkdir(exist_ok=True)
    return folder / f"{of}-{key_of(inputs)[:12]}"


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_sha256(folder: Path, *, without: Collection[str] = ()) -> str:
    """Return the SHA-256 over names and contents of all files below a folder.

    :param without: names of files and folders that are left out.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and not set(name.parts) & set(without):
            content = path.read_bytes()
            digest.update(f"{name}\0{len(content)}\0".encode())
            digest.update(content)
    return digest.hexdigest()


def _folder(kind: str, variant: str, key: str) -> Path:
    return artifacts_dir() / f"{kind}-{variant}-{key[:12]}"


def read_meta(folder: Path) -> dict[str, Any] | None:
    """Return what is known about an artifact, or None if it is not whole: files gone or of another size."""
    try:
        meta: dict[str, Any] = json.loads((folder / _META).read_text())
        whole = all((folder / name).stat().st_size == size for name, size in meta["sizes"].items())
    except (OSError, ValueError, KeyError, AttributeError):
        return None
    return meta if whole else None


def find(kind: str, variant: str, key: str) -> Path | None:
    """Return the folder of a finished artifact, None if it must be built."""
    folder = _folder(kind, variant, key)
    meta = read_meta(folder)
    return folder if meta is not None and meta.get("key") == key else None


@contextmanager
def publish(kind: str, variant: str, inputs: Inputs, extra: dict[str, Any]) -> Iterator[Path]:
    """Yield a folder to put an artifact's files in; it becomes the artifact when the block ends well.

    Written aside, then renamed, so that an artifact is there as a whole or not at all. To be called under the product's
    lock.

    :param extra: goes into ``meta.json``; the block may add to it.
    """
    key = key_of(inputs)
    folder = _folder(kind, variant, key)
    aside = artifacts_dir() / f".{kind}-{variant}.new"
    shutil.rmtree(aside, ignore_errors=True)  # of a builder that was killed: we hold the lock
    aside.mkdir(parents=True)
    try:
        yield aside
        files = sorted(p for p in aside.rglob("*") if p.is_file())
        if not files:
            raise BuildError(f"the build of {kind}-{variant} left nothing")
        meta = {
            **extra,
            "kind": kind,
            "variant": variant,
            "key": key,
            "inputs": dict(inputs),
            "sizes": {str(p.relative_to(aside)): p.stat().st_size for p in files},
            "sha256": {str(p.relative_to(aside)): file_sha256(p) for p in files},
            "built_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "tool_version": __version__,
        }
        (aside / _META).write_text(json.dumps(meta, indent=2) + "\n")
        # A power cut must not leave a name whose content never reached the disk.
        for path in [*files, aside / _META]:
            with path.open("rb") as file:
                os.fsync(file)
        shutil.rmtree(folder, ignore_errors=True)  # there, but found not whole
        aside.rename(folder)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
