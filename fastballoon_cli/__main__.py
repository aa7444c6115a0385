"""Entry point: runs a command and turns whatever ends it into one message and an exit code."""

import errno
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
from click.shell_completion import shell_complete

from fastballoon_cli.cli import root
from fastballoon_cli.cli.output import Output
from fastballoon_cli.config import load_defaults
from fastballoon_cli.errors import FastballoonError, PreconditionError, UsageError, as_error
from fastballoon_cli.signals import interrupt_on_signals

__all__ = ["main"]

_NAME = "fastballoon"
_COMPLETE = "_FASTBALLOON_COMPLETE"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` (by default the process's) and return the exit code.

    Prints no traceback without ``-v``.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    _open_streams()
    interrupt_on_signals()
    output = Output(as_json=_wants_json(arguments, {}))
    try:
        code = _run(arguments, output)
    except BrokenPipeError:
        code = 0  # the reader has gone, as 'head' does: it has what it wanted
    except Exception as e:
        if {"-v", "--verbose"} & set(arguments):
            traceback.print_exc()
        code = _fail(output, as_error(e))
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
    except click.Abort:
        return _fail(output, as_error(KeyboardInterrupt()))
    except BrokenPipeError:
        raise
    except (KeyboardInterrupt, EOFError, OSError) as e:
        return _fail(output, as_error(e))
    return 0


def _wants_json(arguments: Sequence[str], defaults: Mapping[str, Any]) -> bool:
    """Return whether errors are to be JSON too, be it that the arguments themselves are the error."""
    with root.make_context(
        _NAME, list(arguments), default_map=defaults, resilient_parsing=True, ignore_unknown_options=True
    ) as context:
        return bool(context.params.get("as_json"))


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
