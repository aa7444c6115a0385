"""Debian's sources through apt, with a state of our own: the machine's package lists and sources stay as they are.

Nothing here names a mirror: it is the one that the machine's apt uses, asked for another suite.
"""

import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from fastballoon_cli.build.job import Job
from fastballoon_cli.build.paths import apt_dir
from fastballoon_cli.errors import BuildError

__all__ = [
    "Candidate",
    "candidates",
    "choose_mirror",
    "configure",
    "download",
    "keyring",
    "machine_mirror",
    "machine_options",
    "reason",
    "stanzas",
    "update",
]

_TARGET_FORMAT = "$(REPO_URI)|$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(RELEASE)"
_KEYRINGS = (
    "/usr/share/keyrings/debian-archive-keyring.gpg",
    "/usr/share/keyrings/debian-archive-keyring.pgp",
    "/usr/share/keyrings/debian-archive-trixie-stable.gpg",
    "/etc/apt/trusted.gpg.d/debian-archive-trixie-stable.asc",
)


@dataclass(frozen=True)
class Candidate:
    """A version that the archive has.

    :param sha256: of the file that holds or (a ``.dsc``) names the source.
    """

    version: str
    sha256: str
    size: int


def choose_mirror(targets: str, *, distribution: str, codename: str) -> str | None:
    """Return the address of Debian's main archive in the answer of ``apt-get indextargets``, None if it has none.

    :param targets: lines of ``address|origin|label|component|release``; origin and label are empty before the first
        ``apt-get update``.
    :param distribution: ``ID`` of the machine's os-release, which decides where origin is empty.
    :param codename: its ``VERSION_CODENAME``.
    """
    found: list[tuple[bool, str]] = []
    for line in targets.splitlines():
        if line.count("|") != 4:
            continue
        address, origin, label, component, release = line.split("|")
        debian = label == "Debian" if origin or label else distribution == "debian" and "security" not in address
        if address and component == "main" and debian:
            # Point updates and backports may come from elsewhere; the release itself is the safest bet.
            found.append((release != codename, address))
    return min(found, default=(True, None))[1]


def machine_mirror(job: Job) -> str | None:
    """Return the address of the Debian archive that this machine uses, None if it uses none."""
    try:
        release = platform.freedesktop_os_release()
        answer = job.run(["apt-get", "indextargets", "--format", _TARGET_FORMAT, "Created-By: Packages"])
    except (OSError, BuildError):
        return None
    return choose_mirror(answer, distribution=release.get("ID", ""), codename=release.get("VERSION_CODENAME", ""))


def keyring() -> Path:
    """Return the Debian archive's keys.

    :raise BuildError: they are not installed.
    """
    for path in map(Path, _KEYRINGS):
        if path.exists():
            return path
    raise BuildError("the Debian archive's keys are not installed", hint="install the package debian-archive-keyring")


def configure(mirror: str, suite: str) -> list[str]:
    """Write the private configuration; return the options that make an apt program use it."""
    root = apt_dir()
    for folder in ("lists/partial", "cache/archives/partial"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    signed = f"[signed-by={keyring()}]"
    (root / "sources.list").write_text("".join(f"{t} {signed} {mirror} {suite} main\n" for t in ("deb", "deb-src")))
    lines = [
        f'Dir::State::Lists "{root}/lists";',
        f'Dir::Cache "{root}/cache";',
        f'Dir::Etc::SourceList "{root}/sources.list";',
        'Dir::Etc::SourceParts "-";',
        'Dir::Etc::Preferences "-";',
        'Dir::Etc::PreferencesParts "-";',
        # What the machine does after an update of its own lists is no business of ours.
        "#clear APT::Update::Post-Invoke;",
        "#clear APT::Update::Post-Invoke-Success;",
        "#clear APT::Architectures;",
        'APT::Architectures { "amd64"; };',
        'Acquire::Languages "none";',
        # Without it, a failed update is a warning.
        'APT::Update::Error-Mode "any";',
        # Without a network the user should hear of it soon.
        'Acquire::Retries "0";',
        'Acquire::http::Timeout "8";',
        'Acquire::https::Timeout "8";',
    ]
    if os.geteuid() == 0:
        # apt would become _apt, who may not enter root's folders.
        lines.append('APT::Sandbox::User "root";')
    conf = root / "apt.conf"
    conf.write_text("\n".join(lines) + "\n")
    return ["-c", str(conf)]


def update(job: Job, options: Iterable[str]) -> None:
    """Fetch the package lists.

    :raise BuildError: the mirror cannot be reached or does not have the suite.
    """
    job.run(["apt-get", *options, "-q", "update"])


def reason(output: str) -> str | None:
    """Return why an apt program failed, from what it printed; None if it does not say."""
    errors = [line.removeprefix("E: ").strip() for line in output.splitlines() if line.startswith("E: ")]
    return next((e for e in errors if e.startswith("Failed to fetch")), errors[0] if errors else None)


def stanzas(text: str) -> list[dict[str, str]]:
    """Return the stanzas of a Debian control file; a field's further lines follow its first, separated by newlines."""
    result: list[dict[str, str]] = []
    for block in text.split("\n\n"):
        stanza: dict[str, str] = {}
        name = ""
        for line in block.splitlines():
            if line[:1] in (" ", "\t") and name:
                stanza[name] += "\n" + line.strip()
            elif ":" in line:
                name, _, value = line.partition(":")
                stanza[name] = value.strip()
        if stanza:
            result.append(stanza)
    return result


def candidates(job: Job, options: Iterable[str], package: str, *, source: bool) -> list[Candidate]:
    """Return the versions of a package (``source``: of a source package) that the archive has."""
    found: list[Candidate] = []
    for stanza in stanzas(job.run(["apt-cache", *options, "showsrc" if source else "show", package])):
        if source and stanza.get("Package") == package:
            sums = [line.split() for line in stanza.get("Checksums-Sha256", "").splitlines() if line.strip()]
            dsc = next((entry[0] for entry in sums if entry[2].endswith(".dsc")), "")
            found.append(Candidate(stanza["Version"], dsc, sum(int(entry[1]) for entry in sums)))
        elif not source and "Filename" in stanza:
            found.append(Candidate(stanza["Version"], stanza.get("SHA256", ""), int(stanza.get("Size", 0))))
    return found


def download(job: Job, options: Iterable[str], package: str, version: str, *, source: bool, into: Path) -> None:
    """Fetch one version into a folder; apt checks it against the signed lists.

    :raise BuildError: it cannot be fetched.
    """
    what = ["source", "--download-only"] if source else ["download"]
    job.run(["apt-get", *options, "-q", "-o", "Acquire::Retries=2", *what, f"{package}={version}"], cwd=into)


def machine_options(job: Job) -> list[str]:
    """Return what the machine's apt is told about the way to its mirror (proxies, certificates, clocks), as options.

    For programs that do not read the machine's configuration.
    """
    dump = job.run(["apt-config", "dump", "--no-empty", "Acquire"])
    wanted = ("Acquire::http::", "Acquire::https::", "Acquire::Check-")
    return [line for line in dump.splitlines() if line.startswith(wanted) and line.endswith(";")]
