"""How results, progress and errors reach the user: one JSON document on stdout, or tables; progress on stderr."""

import json
import sys
import time
from contextlib import suppress
from typing import Any

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from fastballoon_cli.cli.markup import escape
from fastballoon_cli.errors import FastballoonError
from fastballoon_cli.plain import printable
from fastballoon_cli.units import format_duration

__all__ = ["Output"]

_SCHEMA_VERSION = 1
_LINE_SECONDS = 3.0
_FILE_WIDTH = 160


class _Console(Console):
    """One that leaves it to its user what a closed pipe means; rich would end the process."""

    def on_broken_pipe(self) -> None:
        raise  # noqa: PLE0704  # called while the error is handled


class Output:
    """What a command writes to; also the :class:`fastballoon_cli.progress.Progress` of everything below.

    :param as_json: exactly one document on stdout, all else on stderr.
    """

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        # No text of ours means an emoji by ':name:', and to look for them takes 30 ms.
        # Without a terminal there is no width to fit into, and a table that was cut short is of no use in a file.
        self._out = _Console(width=None if sys.stdout.isatty() else _FILE_WIDTH, emoji=False)
        self._err = _Console(stderr=True, emoji=False)
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._title = self._note = ""
        self._total: float | None = None
        self._begun = self._last_line = time.monotonic()

    def emit(self, document: dict[str, Any], *renderables: RenderableType) -> None:
        """Print a command's result, as JSON or for people."""
        self.finish()
        if self.as_json:
            sys.stdout.write(json.dumps(document, indent=2) + "\n")
            sys.stdout.flush()
            return
        for renderable in renderables:
            # A line of text may be there to be pasted: it is neither cut into pieces nor searched for markup.
            text = isinstance(renderable, str)
            self._out.print(renderable, soft_wrap=text, markup=not text)

    def error(self, error: FastballoonError) -> None:
        """Print an error: what is wrong, what to do, and what led to it."""
        self._clear()
        if error.details:
            self._tell(escape(error.details), style="dim")
        self._tell(f"[bold red]error:[/] {escape(error.message)}")
        if error.hint:
            self._tell(f"[bold]hint:[/] {escape(error.hint)}")
        if self.as_json:
            document = {"schema_version": _SCHEMA_VERSION, "error": error.document()}
            sys.stdout.write(json.dumps(document, indent=2) + "\n")
            sys.stdout.flush()

    def failed(self, name: str, message: str) -> None:
        """Print what went wrong with one of several VMs, to stderr."""
        self._tell(f"[bold red]error:[/] {escape(f'{name}: {message}')}")

    def hint(self, names: str, hint: str) -> None:
        """Print what to do about some of several VMs, to stderr."""
        self._tell(f"[bold]hint:[/] {escape(f'{names}: {hint}')}")

    def say(self, message: str) -> None:
        """Print a line for people, to stderr."""
        self._tell(escape(message))

    def warn(self, message: str) -> None:
        """Print a warning, to stderr."""
        self._tell(f"[yellow]warning:[/] {escape(message)}")

    def step(self, title: str, total: float | None = None) -> None:
        """Begin a step: a bar on a terminal, a line elsewhere."""
        self.finish()
        self._title, self._total, self._note = title, total, ""
        self._begun = self._last_line = time.monotonic()
        if not self._err.is_terminal:
            self.say(f"{title} ...")
            return
        # Time left comes before the note, so that it stays in place while the note changes.
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            *((BarColumn(), TextColumn("{task.percentage:>3.0f}%"), TimeRemainingColumn()) if total else ()),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=self._err,
            transient=True,
        )
        self._task = self._bar.add_task(printable(title), total=total, note="")
        self._bar.start()

    def update(self, done: float, *, total: float | None = None, note: str | None = None) -> None:
        """Move the present step's bar, or print a line when the last is some seconds old."""
        if total is not None:
            self._total = total
        if self._bar is not None and self._task is not None:
            self._note = self._note if note is None else printable(note)
            self._bar.update(self._task, completed=done, total=self._total, note=self._note)
            return
        now = time.monotonic()
        if now - self._last_line < _LINE_SECONDS:
            return
        self._last_line = now
        share = f" {done / self._total:4.0%}" if self._total else ""
        self.say(f"{self._title}{share} after {format_duration(now - self._begun)}" + (f": {note}" if note else ""))

    def finish(self) -> None:
        """End the present step, if there is one."""
        if self._clear():
            self._tell(f"[green]✓[/] {escape(self._title)} [dim]{format_duration(time.monotonic() - self._begun)}[/]")

    def _clear(self) -> bool:
        """Take the bar off the terminal, which has its cursor again then; return whether there was one."""
        bar, self._bar, self._task = self._bar, None, None
        if bar is None:
            return False
        with suppress(OSError):  # the terminal may be gone
            bar.stop()
        return True

    def _tell(self, text: str, *, style: str | None = None) -> None:
        # What people are told on the way is welcome, but no work ends because nobody reads it any more.
        with suppress(OSError):
            self._err.print(text, style=style, soft_wrap=True, highlight=False)
