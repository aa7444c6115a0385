"""Entry point: runs a command and turns whatever ends it into one message and an exit code."""

import errno
import os
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import click
from click.shell_completion import shell_complete

from fastballoon_cli.cli import root
from fastballoon_cli.cli.output import Output
from fastballoon_cli.config import load_defaults
from fastballoon_cli.errors import FastballoonError, InterruptedByUser, PreconditionError, UsageError

__all__ = ["main"]

_NAME = "fastballoon"
_COMPLETE = "_FASTBALLOON_COMPLETE"
_AGAIN_SECONDS = 0.01


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` (by default the process's) and return the exit code.

    Prints no traceback without ``-v``.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    _open_streams()
    _interrupt_on_signals()
    output = Output(as_json=_wants_json(arguments, {}))
    try:
        code = _run(arguments, output)
    except BrokenPipeError:
        code = 0  # the reader has gone, as 'head' does: it has what it wanted
    except Exception as e:
        if {"-v", "--verbose"} & set(arguments):
            traceback.print_exc()
        internal = FastballoonError(
            f"internal error: {type(e).__name__}: {e}", hint="run it again with -v to see where"
        )
        code = _fail(output, internal)
    return _flush(code)


def _run(arguments: list[str], output: Output) -> int:
    try:
        defaults = load_defaults()
        # Once more, as the configuration can ask for it, too.
        output.as_json = _wants_json(arguments, defaults)
        if instruction := os.environ.get(_COMPLETE):
            return shell_complete(root, {"default_map": defaults}, _NAME, _COMPLETE, instruction)
        # Not root.main(): that turns a closed pipe into exit code 1.
        with root.make_context(_NAME, arguments, obj=output, default_map=defaults) as context:
            root.invoke(context)
    except FastballoonError as e:
        return _fail(output, e)
    except click.exceptions.Exit as e:
        return e.exit_code
    except SystemExit as e:
        return e.code if isinstance(e.code, int) else int(e.code is not None)
    except click.ClickException as e:
        return _fail(output, _usage(e))
    except (KeyboardInterrupt, EOFError, click.Abort):
        return _fail(output, InterruptedByUser("interrupted"))
    except BrokenPipeError:
        raise
    except OSError as e:
        return _fail(output, PreconditionError(f"{e.strerror or e}" + (f": {e.filename}" if e.filename else "")))
    return 0


def _wants_json(arguments: Sequence[str], defaults: Mapping[str, Any]) -> bool:
    """Return whether errors are to be JSON too, be it that the arguments themselves are the error."""
    with root.make_context(
        _NAME, list(arguments), default_map=defaults, resilient_parsing=True, ignore_unknown_options=True
    ) as context:
        return bool(context.params.get("as_json"))


def _interrupt_on_signals() -> None:
    for number in (signal.SIGTERM, signal.SIGHUP):
        # What runs under nohup goes on when its terminal goes.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # Ctrl-C is not for a shell's job in the background. It is blocked instead of ignored: an event loop has a
        # handler for it only where it is not ignored, and the other signals need that.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGALRM, _interrupt)
    sys.unraisablehook = _interrupt_again


def _interrupt_again(lost: "sys.UnraisableHookArgs") -> None:
    """Interrupt once more after a signal came just as a destructor ran: Python drops what is raised there."""
    if issubclass(lost.exc_type, KeyboardInterrupt):
        signal.setitimer(signal.ITIMER_REAL, _AGAIN_SECONDS)
    else:
        sys.__unraisablehook__(lost)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Do what Ctrl-C would do just now.

    While an event loop runs, it has a handler for that: an exception out of nowhere would end any of its tasks, such as
    the one that reads a monitor.
    """
    handler = signal.getsignal(signal.SIGINT)
    (handler if callable(handler) else signal.default_int_handler)(number, frame)


def _open_streams() -> None:
    """Give a process that was started with a stream closed something to write to."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115


def _flush(code: int) -> int:
    """Write what is left, and let what cannot be written fail here rather than once more when the interpreter ends."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as e:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            if stream is sys.stdout and e.errno != errno.EPIPE:
                code = code or PreconditionError.exit_code
    return code


def _usage(error: click.ClickException) -> UsageError:
    context = getattr(error, "ctx", None)
    hint = f"see: {context.command_path} --help" if context else None
    return UsageError(error.format_message().rstrip("."), hint=hint)


def _fail(output: Output, error: FastballoonError) -> int:
    with suppress(OSError):  # nobody may be left to be told but by the exit code
        output.error(error)
    return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
