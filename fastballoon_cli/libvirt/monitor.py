"""A domain's monitor, past libvirt: for what libvirt has no words for."""

import json
import queue
import time
from collections.abc import Callable, Mapping
from typing import Any

from fastballoon_cli.errors import QmpError
from fastballoon_cli.libvirt.connection import binding
from fastballoon_cli.libvirt.domain import LibvirtDomain
from fastballoon_cli.qemu.monitor import CommandNotFoundError, Monitor

__all__ = ["DomainMonitor"]

_SECONDS = 10.0


class DomainMonitor(Monitor):
    """QMP commands that libvirt passes on. It notes that the domain is tainted then: ``custom-monitor``.

    The monitor of a domain whose XML names none of our features is left alone: it would know none of them.

    :param alone: whether it is.
    """

    def __init__(self, domain: LibvirtDomain, *, alone: bool) -> None:
        self._domain = domain
        self._alone = alone

    def execute(
        self, command: str, arguments: Mapping[str, object] | None = None, *, timeout: float | None = None
    ) -> Any:
        """Run a command and return its answer, see :meth:`fastballoon_cli.qemu.monitor.Monitor.execute`."""
        if self._alone:
            raise CommandNotFoundError(
                f"'{command}' was not sent to QEMU: the XML of '{self._domain.name}' names no feature of fastballoon's"
            )
        request: dict[str, object] = {"execute": command}
        if arguments:
            request["arguments"] = dict(arguments)
        pass_on = binding("libvirt_qemu").qemuMonitorCommand
        text = self._domain.connection.call(
            pass_on, self._domain.handle, json.dumps(request), 0, timeout=timeout or _SECONDS
        )
        answer = json.loads(text)
        if error := answer.get("error"):
            kind = CommandNotFoundError if error.get("class") == "CommandNotFound" else QmpError
            raise kind(f"QEMU refused '{command}': {error.get('desc')}")
        return answer["return"]

    def execute_until(
        self,
        command: str,
        arguments: Mapping[str, object],
        *,
        event: str,
        ends: Callable[[Any, Mapping[str, Any]], bool],
        timeout: float,
    ) -> dict[str, Any]:
        """Run a command and wait for its end, see :meth:`fastballoon_cli.qemu.monitor.Monitor.execute_until`."""
        heard: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

        def hear(*said: Any) -> None:
            details = said[5]  # after connection, domain, event, seconds and microseconds
            heard.put(json.loads(details) if details else {})

        bound = binding("libvirt_qemu")
        connection, handle = self._domain.connection, self._domain.handle
        opened = handle.connect()
        # Listening begins before the command: its event may be on the way when its answer is read.
        listener = connection.call(bound.qemuMonitorEventRegister, opened, handle, event, hear, None)
        try:
            answer = self.execute(command, arguments)
            deadline = time.monotonic() + timeout
            while True:
                try:
                    data = heard.get(timeout=max(0.001, deadline - time.monotonic()))
                except queue.Empty:
                    raise QmpError(f"QEMU told of no end of '{command}' within {timeout:g} s") from None
                if ends(answer, data):
                    return data
        finally:
            connection.call(bound.qemuMonitorEventDeregister, opened, listener)

    def close(self) -> None:
        """There is nothing to close: the connection to libvirt is used by others as well."""
