"""One wrapper over qemu.qmp: plain calls with a deadline, and errors of this tool's own tree."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

from qemu.qmp import ConnectError, ExecInterruptedError, ExecuteError, QMPClient, QMPError, Runstate, StateError
from qemu.qmp.qmp_client import GreetingError

from fastballoon_cli.errors import QmpError, VmLostError
from fastballoon_cli.qemu.monitor import CommandNotFoundError, Monitor
from fastballoon_cli.signals import blocked_signals, signal_mask

__all__ = ["MonitorBusyError", "Qmp", "connect_when_ready"]

_T = TypeVar("_T")
_P = ParamSpec("_P")

_GREETINGS = 3

# connect() logs an error of its own for each failed try, and we try until QEMU has made its socket.
logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL)


class MonitorBusyError(QmpError):
    """Somebody else is connected to the monitor, which takes one client at a time; or QEMU hangs."""


class Qmp(Monitor):
    """A monitor connection; a context manager.

    A monitor takes one client at a time and lets a second one hang, so every call here has a deadline. Every wait is
    raced against the connection's end: listeners and replies of qemu.qmp stay silent when QEMU is killed.

    :param timeout: seconds for each command unless it says otherwise.
    :param greeting: seconds for connecting.
    :raise MonitorBusyError: the monitor does not answer in time (somebody else holds it).
    :raise VmLostError: nobody listens on the socket.
    """

    def __init__(self, socket: Path, *, timeout: float = 5.0, greeting: float = 5.0) -> None:
        self._timeout = timeout
        self._closed = False
        self._runner = asyncio.Runner()
        self._client = QMPClient("fastballoon")
        try:
            self._run(self._connect, socket, greeting)
        except BaseException:
            self._runner.close()
            raise

    def execute(
        self, command: str, arguments: Mapping[str, object] | None = None, *, timeout: float | None = None
    ) -> Any:
        """Run a command and return its answer, see :meth:`Monitor.execute`."""
        return self._run(self._execute, command, arguments, timeout or self._timeout)

    def execute_all(self, command: str, arguments: Sequence[Mapping[str, object]]) -> list[Any]:
        """Run a command once with each of these arguments, all at a time, see :meth:`Monitor.execute_all`."""
        return self._run(self._execute_all, command, arguments, self._timeout)

    def execute_until(
        self,
        command: str,
        arguments: Mapping[str, object],
        *,
        event: str,
        ends: Callable[[Any, Mapping[str, Any]], bool],
        timeout: float,
    ) -> dict[str, Any]:
        """Run a command and wait for its end, see :meth:`Monitor.execute_until`."""
        return self._run(self._execute_until, command, arguments, event, ends, timeout)

    @contextmanager
    def listening(self, *names: str) -> Iterator[Callable[[], tuple[Mapping[str, Any], ...]]]:
        """Listen for events; yields what returns all of them that came until the latest command, oldest first.

        Register before the command that causes them. QEMU's own time is in each event's ``timestamp``.
        """
        with self._client.listener(names) as listener:
            yield lambda: listener.history

    def close(self) -> None:
        """Disconnect; does nothing when the connection has ended or was closed already."""
        if self._closed:
            return
        self._closed = True
        try:
            self._run(self._disconnect)
        finally:
            self._runner.close()

    def _run(self, call: Callable[_P, Coroutine[Any, Any, _T]], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Run a call to its end.

        :raise KeyboardInterrupt: Ctrl-C came meanwhile. That cancels the task, and a task that ends with an exception
            forgets that it was cancelled; one that returns does not. Signals wait while the loop has no handler for
            them yet: it would be left in pieces.
        """
        with blocked_signals() as mask:
            result, error = self._runner.run(_outcome(call(*args, **kwargs), mask))
        if error:
            raise error
        return cast("_T", result)

    async def _connect(self, socket: Path, greeting: float) -> None:
        try:
            async with asyncio.timeout(greeting):
                await self._greeted(socket)
        except TimeoutError:
            raise MonitorBusyError(
                f"QEMU's monitor {socket} is busy: it did not answer within {greeting:g} s",
                hint="another program is connected to it, as a monitor takes one client at a time; "
                "or QEMU hangs, or it is no monitor",
            ) from None
        except ConnectError as e:
            raise VmLostError(f"no QEMU listens on {socket}", details=str(e.exc)) from e

    async def _greeted(self, socket: Path) -> None:
        """Connect, and once more if something else came before the greeting.

        QEMU accepts a client in a thread of its own, and then takes the monitor back to its beginning. An event of the
        main loop that comes in between is sent first.
        """
        for left in reversed(range(_GREETINGS)):
            try:
                return await self._client.connect(str(socket))
            except ConnectError as e:
                if not left or not isinstance(e.exc, GreetingError):
                    raise

    async def _execute_all(
        self, command: str, arguments: Sequence[Mapping[str, object]], timeout: float
    ) -> list[object]:
        return await asyncio.gather(*(self._execute(command, one, timeout) for one in arguments))

    async def _execute(self, command: str, arguments: Mapping[str, object] | None, timeout: float) -> object:
        call = self._client.execute(command, arguments)
        try:
            return await self._unless_lost(call, timeout)
        except TimeoutError:
            raise QmpError(f"QEMU did not answer '{command}' within {timeout:g} s") from None
        except ExecuteError as e:
            error = CommandNotFoundError if e.error_class == "CommandNotFound" else QmpError
            raise error(f"QEMU refused '{command}': {e}") from e
        except (ExecInterruptedError, StateError, EOFError) as e:
            raise VmLostError(f"QEMU ended during '{command}'") from e
        except QMPError as e:
            raise QmpError(f"'{command}' failed: {e}") from e

    async def _execute_until(
        self,
        command: str,
        arguments: Mapping[str, object],
        event: str,
        ends: Callable[[Any, Mapping[str, Any]], bool],
        timeout: float,
    ) -> dict[str, Any]:
        # Listening begins before the command: its event may be on the way when its answer is read.
        with self._client.listener(event) as listener:
            answer = await self._execute(command, arguments, self._timeout)
            deadline = time.monotonic() + timeout
            while True:
                try:
                    message = await self._unless_lost(listener.get(), max(0.0, deadline - time.monotonic()))
                except TimeoutError:
                    raise QmpError(f"QEMU told of no end of '{command}' within {timeout:g} s") from None
                except EOFError as e:
                    raise VmLostError(f"QEMU ended during '{command}'") from e
                data = message.get("data")
                if isinstance(data, dict) and ends(answer, data):
                    return data

    async def _unless_lost(self, call: Coroutine[Any, Any, _T], timeout: float) -> _T:
        reply = asyncio.ensure_future(call)
        lost = asyncio.ensure_future(self._client.runstate_changed())
        try:
            done, _ = await asyncio.wait({reply, lost}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if reply in done:
                return reply.result()
            raise EOFError if done else TimeoutError
        finally:
            for task in (reply, lost):
                task.cancel()
            await asyncio.gather(reply, lost, return_exceptions=True)

    async def _disconnect(self) -> None:
        if self._client.runstate is Runstate.IDLE:
            return
        try:
            async with asyncio.timeout(self._timeout):
                await self._client.disconnect()
        except (TimeoutError, EOFError, OSError, QMPError):
            pass  # there is nobody left to say goodbye to


async def _outcome(call: Coroutine[Any, Any, _T], mask: Set[int]) -> tuple[_T | None, Exception | None]:
    """Return what a call returns, and what it raises; signals are let in meanwhile."""
    with signal_mask(mask):
        try:
            return await call, None
        except Exception as e:
            return None, e


def connect_when_ready(socket: Path, *, deadline: float, alive: Callable[[], None]) -> Qmp:
    """Connect to a QEMU that is just starting, trying until ``deadline`` (``time.monotonic()``).

    :param alive: called between tries; raises when it is pointless to go on.
    """
    while True:
        try:
            return Qmp(socket)
        except VmLostError:
            alive()
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
