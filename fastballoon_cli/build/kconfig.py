"""The kernel's configuration: a fragment, and whether a finished ``.config`` holds what it asks for."""

import re
from pathlib import Path

__all__ = ["parse", "unknown_symbols", "unmet"]

_SET = re.compile(r"CONFIG_(\w+)=(.*)")
_UNSET = re.compile(r"# CONFIG_(\w+) is not set")
_KCONFIG_ENTRY = re.compile(r"^\s*(?:menu)?config\s+(\w+)\s*$", re.MULTILINE)


def parse(text: str) -> dict[str, str]:
    """Return symbol -> value; ``n`` for what is said to be not set."""
    values: dict[str, str] = {}
    for line in map(str.strip, text.splitlines()):
        if match := _SET.fullmatch(line):
            values[match[1]] = match[2]
        elif match := _UNSET.fullmatch(line):
            values[match[1]] = "n"
    return values


def unmet(fragment: str, config: str) -> list[str]:
    """Return the symbols that ``fragment`` sets and ``config`` has not, or not so, in the fragment's order.

    What the fragment wants *off* only keeps the kernel small: if another option needs it, so be it.
    """
    have = parse(config)
    return [name for name, value in parse(fragment).items() if value != "n" and have.get(name, "n") != value]


def unknown_symbols(tree: Path, symbols: list[str]) -> set[str]:
    """Return those of ``symbols`` that no Kconfig file in ``tree`` defines."""
    missing = set(symbols)
    for folder in ("init", "mm", "drivers", "lib", "kernel", "fs", "net", "arch/x86", "block", "security", "crypto"):
        if not missing:
            break
        for path in (tree / folder).rglob("Kconfig*"):
            if path.is_file():
                missing -= set(_KCONFIG_ENTRY.findall(path.read_text(errors="replace")))
    return missing
