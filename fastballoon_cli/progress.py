"""How long work says where it is, without knowing who listens."""

from typing import Protocol

__all__ = ["Progress", "Silent"]


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
