"""A connection to libvirt: its binding imported late, a deadline for every call, errors of this tool's own tree."""

import queue
import shlex
import sys
import threading
from collections.abc import Callable
from importlib import import_module
from typing import Any, TypeVar
from urllib.parse import urlsplit

from fastballoon_cli.errors import FastballoonError, PreconditionError, QmpError, VmLostError

__all__ = ["Connection", "binding", "virsh"]

_T = TypeVar("_T")

#: A daemon answers within milliseconds. It waits up to 30 s for whoever works with the domain, a migration say.
_CALL_SECONDS = 35.0


def binding(name: str = "libvirt") -> Any:
    """Return a module of libvirt's Python binding.

    :raise PreconditionError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as e:
        raise PreconditionError(
            "libvirt's Python binding is not installed",
            hint="apt-get install libvirt-dev python3-dev pkgconf gcc, and: "
            f"{sys.executable} -m pip install libvirt-python",
            details=str(e),
        ) from e


def virsh(uri: str, *words: str) -> str:
    """Return a command of virsh's, ready to paste.

    :param uri: of the daemon; nothing for libvirt's own default.
    """
    return shlex.join(["virsh", *(["-c", uri] if uri else []), *words])


class Connection:
    """A connection to a libvirt daemon that has QEMU's domains; it ends with the process.

    :ivar uri: as libvirt writes it.
    :ivar handle: the binding's object.
    :ivar patience: seconds for an answer, at most; somebody who is about to leave has less of it.
    :param uri: as virsh takes it; nothing for libvirt's own default, which ``LIBVIRT_DEFAULT_URI`` sets.
    :raise PreconditionError: there is no binding, no daemon, no permission, or it is not about QEMU.
    """

    def __init__(self, uri: str) -> None:
        self._libvirt = binding()
        self.patience = _CALL_SECONDS
        # Each error is raised, and would be printed as well.
        self._libvirt.registerErrorHandler(lambda *_: None, None)
        _run_events(self._libvirt)
        try:
            # Without a deadline: it may have to ask for a password.
            self.handle = _in_thread(lambda: self._libvirt.open(uri or None), None)
        except self._libvirt.libvirtError as e:
            raise PreconditionError(
                f"cannot connect to libvirt{f' at {uri}' if uri else ''}: {_said(e)}",
                hint=f"see whether this works: {virsh(uri, 'list')}",
            ) from e
        self.uri = str(self.handle.getURI())
        if self.handle.getType() != "QEMU":
            raise PreconditionError(
                f"{self.uri} has domains of {self.handle.getType()}, not of QEMU",
                hint="name a daemon that has domains of QEMU: --connect qemu:///system",
            )

    @property
    def local(self) -> bool:
        """Whether its domains run on this host."""
        return not urlsplit(self.uri).hostname

    def host(self) -> str:
        """Return the name of the host that its domains run on."""
        return str(self.call(self.handle.getHostname))

    def version(self) -> str:
        """Return the daemon's version, such as ``9.0.0``."""
        number = int(self.call(self.handle.getLibVersion))
        return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"

    def find(self, name: str) -> Any:
        """Return the domain of a name.

        :raise PreconditionError: there is none.
        """
        try:
            return self.call(self.handle.lookupByName, name)
        except _NoDomainError:
            raise PreconditionError(
                f"there is no domain '{name}' at {self.uri}",
                hint=f"name one with --vm; see: fastballoon --connect {shlex.quote(self.uri)} vm list",
            ) from None

    def by_uuid(self, uuid: str) -> Any:
        """Return the domain of a UUID.

        :raise VmLostError: there is none.
        """
        return self.call(self.handle.lookupByUUIDString, uuid)

    def running(self) -> list[Any]:
        """Return the domains that run."""
        return list(self.call(self.handle.listAllDomains, self._libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE))

    def bulk_stats(self, domain: Any, kind: int) -> dict[str, Any]:
        """Return one domain's statistics of one ``VIR_DOMAIN_STATS_*``, those that nobody has to be waited for."""
        flags = getattr(self._libvirt, "VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT", 0)
        found = self.call(self.handle.domainListGetStats, [domain], kind, flags)
        return dict(found[0][1]) if found else {}

    def define(self, xml: str) -> None:
        """Define a domain, or an existing one anew.

        :raise QmpError: libvirt refuses.
        """
        self.call(self.handle.defineXML, xml)

    def call(self, function: Callable[..., _T], *arguments: Any, timeout: float | None = _CALL_SECONDS) -> _T:
        """Return what a function of the binding returns.

        :param timeout: seconds, but no more than the connection's patience; None for no limit.
        :raise QmpError: libvirt refused, or did not answer in time.
        :raise VmLostError: the domain does not run any more.
        :raise PreconditionError: this user may not do that.
        """
        if timeout is not None:
            timeout = min(timeout, self.patience)
        try:
            return _in_thread(lambda: function(*arguments), timeout)
        except TimeoutError:
            raise QmpError(
                f"libvirt did not answer within {timeout:g} s", hint="the daemon, or the domain's QEMU, may hang"
            ) from None
        except self._libvirt.libvirtError as e:
            raise self._error(e) from e

    def _error(self, error: Any) -> FastballoonError:
        lib, code, said = self._libvirt, error.get_error_code(), _said(error)
        if code == lib.VIR_ERR_NO_DOMAIN:
            return _NoDomainError(f"the VM was lost: libvirt does not know its domain any more: {said}")
        if code in (lib.VIR_ERR_OPERATION_DENIED, lib.VIR_ERR_ACCESS_DENIED, lib.VIR_ERR_AUTH_FAILED):
            return PreconditionError(f"libvirt does not allow it: {said}", hint="use sudo, or a user that may")
        if code == lib.VIR_ERR_OPERATION_TIMEOUT:
            return QmpError(f"the domain is busy: {said}", hint="wait until whoever works with it has ended")
        if code == lib.VIR_ERR_OPERATION_INVALID and "not running" in said:
            return VmLostError(f"the VM was lost: {said}")
        return QmpError(f"libvirt refused: {said}")


class _NoDomainError(VmLostError):
    pass


def _said(error: Any) -> str:
    return str(error.get_error_message() or error).strip()


def _in_thread(function: Callable[[], _T], timeout: float | None) -> _T:
    """Call a function that may not return; Ctrl-C is heard meanwhile, which a call into C would hold back."""
    ended: queue.SimpleQueue[tuple[bool, Any]] = queue.SimpleQueue()

    def run() -> None:
        try:
            ended.put((True, function()))
        except BaseException as e:
            ended.put((False, e))

    threading.Thread(target=run, daemon=True).start()
    try:
        done, value = ended.get(timeout=timeout)
    except queue.Empty:
        raise TimeoutError from None
    if not done:
        raise value
    result: _T = value
    return result


_events: threading.Thread | None = None


def _run_events(libvirt: Any) -> None:
    """Have a thread deliver events, and answer the daemon that asks whether this side still lives."""
    global _events  # noqa: PLW0603  # libvirt has one loop per process
    if _events:
        return
    libvirt.virEventRegisterDefaultImpl()

    def run() -> None:
        while True:
            libvirt.virEventRunDefaultImpl()

    _events = threading.Thread(target=run, daemon=True)
    _events.start()
