"""How long work says where it is, without knowing who listens."""

from typing import Protocol

__all__ = ["Nested", "Progress", "Silent"]


class Progress(Protocol):
    """Told by builds, boots and balloon moves; ``cli.output`` draws it."""

    def step(self, title: str, total: float | None = None) -> None:
        """Begin a step; the one before it is done. ``total`` is in the step's own unit, None if unknown."""

    def update(self, done: float, *, total: float | None = None, note: str | None = None) -> None:
        """Say how far the step is (in its unit), and optionally a few words such as ``1.2 of 3 GiB``."""

    def warn(self, message: str) -> None:
        """Say something that the user should know and that stops nothing."""


class Silent:
    """A listener that wants to hear nothing."""

    def step(self, title: str, total: float | None = None) -> None:
        """Ignore it."""

    def update(self, done: float, *, total: float | None = None, note: str | None = None) -> None:
        """Ignore it."""

    def warn(self, message: str) -> None:
        """Ignore it."""


class Nested:
    """The steps of work that is itself a part of a step: they become that step's note.

    :param done: how far the outer step is meanwhile, in its unit.
    :param label: what goes before each note.
    """

    def __init__(self, outer: Progress, done: float, label: str) -> None:
        self._outer, self._done, self._label = outer, done, label
        self._title = ""

    def step(self, title: str, total: float | None = None) -> None:  # noqa: ARG002
        """Show the step's title in the outer step's note."""
        self._title = title
        self._outer.update(self._done, note=f"{self._label}: {title}")

    def update(self, done: float, *, total: float | None = None, note: str | None = None) -> None:  # noqa: ARG002
        """Show the step's note behind its title."""
        said = f" ({note})" if note else ""
        self._outer.update(self._done, note=f"{self._label}: {self._title}{said}")

    def warn(self, message: str) -> None:
        """Hand the warning on."""
        self._outer.warn(f"{self._label}: {message}")
