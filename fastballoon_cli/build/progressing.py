"""Progress bars out of what build tools print."""

import re
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from fastballoon_cli.progress import Progress

__all__ = ["LineCounter", "ninja_progress"]

_NINJA = re.compile(r"\[(\d+)/(\d+)\]")
#: Fewer lines than this are an incremental build, which says nothing about how long a whole one is.
_WHOLE_BUILD = 500


class LineCounter:
    """Counts kbuild's lines; knows from the build before how many there will be.

    :param memory: the file that keeps the number of lines of the last whole build.
    """

    def __init__(self, progress: Progress, memory: Path, usual: int) -> None:
        self._progress = progress
        self._memory = memory
        self._lines = 0
        self._total = usual
        with suppress(OSError, ValueError):
            self._total = int(memory.read_text())

    def __call__(self, line: str) -> None:
        """Count one line."""
        if line.startswith("  "):
            self._lines += 1
            self._progress.update(self._lines, total=max(self._total, self._lines), note=line.strip()[:60])

    def __enter__(self) -> "LineCounter":
        """Begin to count."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Remember how many there were, if the build ended well."""
        if kind is None and self._lines >= _WHOLE_BUILD:
            self._memory.write_text(str(self._lines))


def ninja_progress(progress: Progress, line: str) -> None:
    """Show what ninja says: ``[n/m] ...``."""
    if match := _NINJA.match(line):
        note = line[match.end() :].strip()[:60]
        progress.update(int(match[1]), total=int(match[2]), note=note)
