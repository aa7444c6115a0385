"""What can go wrong, one class per exit code.

Every error that a user can cause or meet carries one sentence that says what is wrong and, where there is
one, a hint that says what to do. ``cli`` renders them; nothing below it prints.
"""

from typing import Any

__all__ = [
    "BuildError",
    "FastballoonError",
    "GuestError",
    "IntegrityError",
    "InterruptedByUser",
    "MigrationError",
    "NotInTimeError",
    "PreconditionError",
    "QmpError",
    "RegressionError",
    "TargetNotReachedError",
    "UsageError",
    "VmLostError",
    "as_error",
    "exit_code_table",
]


class FastballoonError(Exception):
    """Base of all errors raised on purpose; by itself it stands for a defect in the tool.

    :param message: one sentence, no full stop at its end.
    :param hint: what the user can do about it.
    :param details: further lines, such as the tail of a log.
    """

    exit_code = 1
    meaning = "internal error"

    def __init__(self, message: str, *, hint: str | None = None, details: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = details
        if details:
            self.add_note(details)  # for tracebacks, which show the message alone

    def __reduce__(self) -> tuple[Any, ...]:
        """Say how it is pickled, whatever else a subclass is made of: one may come from another process."""
        return _again, (type(self), self.message), self.__dict__

    def document(self) -> dict[str, Any]:
        """Return the error as it is printed."""
        return {
            "exit_code": self.exit_code,
            "kind": type(self).__name__,
            "message": self.message,
            "hint": self.hint,
            "details": self.details,
        }


def _again(kind: type[FastballoonError], message: str) -> FastballoonError:
    error = kind.__new__(kind, message)
    error.args = (message,)
    return error


class UsageError(FastballoonError):
    """An option or argument that makes no sense, or not for this VM."""

    exit_code = 2
    meaning = "usage: an option or value that cannot be right"


class PreconditionError(FastballoonError):
    """Something must be so before the command can run, and is not."""

    exit_code = 3
    meaning = "precondition: something that must be there first is missing, or a build failed"


class BuildError(PreconditionError):
    """A source could not be fetched, or a kernel, QEMU or image could not be built."""


class QmpError(FastballoonError):
    """QEMU refused a command or did not answer in time."""

    exit_code = 4
    meaning = "QMP: QEMU refused a command or did not answer"


class GuestError(FastballoonError):
    """The guest or the agent in it refused, failed or did not answer in time."""

    exit_code = 5
    meaning = "guest: the guest or its agent failed or did not answer"


class NotInTimeError(FastballoonError):
    """What was asked of the guest did not come about in time."""

    exit_code = 6
    meaning = "not in time: the target was not reached, or the guest did not answer the host's request"


class TargetNotReachedError(NotInTimeError):
    """The balloon stopped short of its target."""


class MigrationError(FastballoonError):
    """A migration failed or was cancelled; the guest runs on where it was."""

    exit_code = 7
    meaning = "migration failed or cancelled; the guest runs on where it was"


class RegressionError(FastballoonError):
    """A comparison found what it was told to watch for."""

    exit_code = 8
    meaning = "regression: slower than allowed"


class IntegrityError(FastballoonError):
    """Memory of the guest is not what was written to it, or nobody is left to say that it is."""

    exit_code = 9
    meaning = "integrity: memory of the guest is not what was written to it, or could not be checked"


class VmLostError(FastballoonError):
    """QEMU went away while it was needed."""

    exit_code = 128
    meaning = "the VM was lost: its QEMU ended"


class InterruptedByUser(FastballoonError):
    """Ctrl-C or SIGTERM."""

    exit_code = 130
    meaning = "interrupted"


def as_error(error: BaseException) -> FastballoonError:
    """Return what the user is told of whatever has ended a command."""
    match error:
        case FastballoonError():
            return error
        case KeyboardInterrupt() | EOFError():
            return InterruptedByUser("interrupted")
        case OSError():
            return PreconditionError(f"{error.strerror or error}" + (f": {error.filename}" if error.filename else ""))
    return FastballoonError(
        f"internal error: {type(error).__name__}: {error}", hint="run it again with -v to see where"
    )


def exit_code_table() -> list[tuple[int, str]]:
    """Return ``(exit code, meaning)`` for success and every error class, in order of the code."""
    classes: list[type[FastballoonError]] = [FastballoonError, *_descendants(FastballoonError)]
    codes = {cls.exit_code: cls.meaning for cls in reversed(classes)}
    return sorted({0: "ok", **codes}.items())


def _descendants(cls: type[FastballoonError]) -> list[type[FastballoonError]]:
    found: list[type[FastballoonError]] = []
    for sub in cls.__subclasses__():
        found += [sub, *_descendants(sub)]
    return found
