"""What a monitor of a QEMU can do, however it is reached."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Protocol, Self

from fastballoon_cli.errors import QmpError

__all__ = ["CommandNotFoundError", "Monitor"]


class CommandNotFoundError(QmpError):
    """This QEMU has no such command; features are found by trying, never by version."""


class Monitor(AbstractContextManager["Monitor"], Protocol):
    """QMP commands to one QEMU; a context manager, which disconnects at its end."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def execute(
        self, command: str, arguments: Mapping[str, object] | None = None, *, timeout: float | None = None
    ) -> Any:
        """Run a command and return its answer.

        :raise CommandNotFoundError: this QEMU does not know it.
        :raise QmpError: QEMU refused it, or did not answer within ``timeout`` seconds.
        :raise VmLostError: QEMU went away; the command may or may not have had its effect.
        """
        ...

    def execute_all(self, command: str, arguments: Sequence[Mapping[str, object]]) -> list[Any]:
        """Run a command once with each of these arguments and return the answers; none may change anything.

        :raise FastballoonError: as :meth:`execute`, by the first that fails.
        """
        return [self.execute(command, one) for one in arguments]

    def execute_until(
        self,
        command: str,
        arguments: Mapping[str, object],
        *,
        event: str,
        ends: Callable[[Any, Mapping[str, Any]], bool],
        timeout: float,
    ) -> dict[str, Any]:
        """Run a command that starts something, wait for the event that ends it, and return that event's data.

        :param ends: given the command's answer and an event's data; says whether the one is the end of the other.
        :param timeout: seconds for the event, from the command's answer.
        :raise FastballoonError: as :meth:`execute`; a :class:`QmpError`, too, if no such event came in time.
        """
        ...

    def close(self) -> None:
        """Disconnect; does nothing when that was done before."""
        ...
