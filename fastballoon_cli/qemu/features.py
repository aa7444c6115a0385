"""What a QEMU binary can do: asked of itself over QMP, never concluded from its version."""

import json
import subprocess
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from fastballoon_cli.errors import QmpError

__all__ = ["Abilities", "abilities", "with_features"]

_SECONDS = 15.0
#: Properties of a patched QEMU's balloon; all on unless the user says otherwise.
_FEATURES = ("x-page-bitmap", "x-drop-cache", "x-free-pages")


@dataclass(frozen=True)
class Abilities:
    """What a QEMU binary says of itself.

    :ivar properties: names of a device's properties.
    :ivar sandbox: whether it can be confined by seccomp (``-sandbox``).
    """

    properties: frozenset[str]
    sandbox: bool


def abilities(binary: Path, device: str) -> Abilities:
    """Return what a QEMU can do, by one that runs no machine.

    :raise QmpError: it does not run, or does not know the device.
    """
    commands = [
        {"execute": "qmp_capabilities"},
        {"execute": "device-list-properties", "arguments": {"typename": device}, "id": "properties"},
        # An error where QEMU was built without it.
        {"execute": "query-command-line-options", "arguments": {"option": "sandbox"}, "id": "sandbox"},
        {"execute": "quit"},
    ]
    argv = [str(binary), *("-M", "none"), "-nodefaults", "-no-user-config", *("-display", "none"), *("-qmp", "stdio")]
    try:
        ran = subprocess.run(
            argv,
            input="\n".join(map(json.dumps, commands)),
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        answers = {said.get("id"): said for said in map(json.loads, ran.stdout.splitlines())}
    except (OSError, subprocess.SubprocessError, ValueError) as e:
        raise QmpError(f"{binary} does not answer: {e}") from e
    properties = answers.get("properties", {})
    if "error" in properties:
        raise QmpError(f"{binary} refuses: {properties['error'].get('desc')}")
    if "return" not in properties:
        raise QmpError(
            f"{binary} ended with status {ran.returncode} before it answered", details=ran.stderr[-2000:] or None
        )
    names = frozenset(one["name"] for one in properties["return"])
    return Abilities(names, bool(answers.get("sandbox", {}).get("return")))


def with_features(options: str, known: Collection[str]) -> str:
    """Return a balloon's options with all features of the series on that are not mentioned.

    :param known: properties that this QEMU's device has; a feature that it lacks is off without being told so.
    """
    said = [option for option in options.split(",") if option]
    unsaid = [f"{name}=on" for name in _FEATURES if name in known and name not in options]
    lacking = {f"{name}=off" for name in _FEATURES if name not in known}
    return ",".join([*unsaid, *(option for option in said if option not in lacking)])
