"""Entry point: runs a command and turns whatever ends it into one message and an exit code."""

import os
import signal
import sys
import traceback
from collections.abc import Sequence

import click

from fastballoon_cli.cli import root
from fastballoon_cli.cli.output import Output
from fastballoon_cli.config import load_defaults
from fastballoon_cli.errors import FastballoonError, InterruptedByUser, PreconditionError, UsageError

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` (by default the process's) and return the exit code.

    Prints no traceback without ``-v``.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    # Click has not parsed anything yet when it meets a bad option, and that error is to be JSON as well.
    output = Output(as_json="--json" in arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        root.main(arguments, prog_name="fastballoon", standalone_mode=False, default_map=load_defaults())
    except FastballoonError as e:
        return _fail(output, e)
    except click.exceptions.Exit as e:
        return e.exit_code
    except click.ClickException as e:
        return _fail(output, _usage(e))
    except (KeyboardInterrupt, click.Abort):
        return _fail(output, InterruptedByUser("interrupted"))
    except BrokenPipeError:
        # The reader has gone, as 'head' does; nobody is left to be told, not by the interpreter's exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as e:
        return _fail(output, PreconditionError(f"{e.strerror or e}" + (f": {e.filename}" if e.filename else "")))
    except Exception as e:
        if {"-v", "--verbose"} & set(arguments):
            traceback.print_exc()
        return _fail(
            output,
            FastballoonError(f"internal error: {type(e).__name__}: {e}", hint="run it again with -v to see where"),
        )
    return 0


def _usage(error: click.ClickException) -> UsageError:
    context = getattr(error, "ctx", None)
    hint = f"see: {context.command_path} --help" if context else None
    return UsageError(error.format_message().rstrip("."), hint=hint)


def _fail(output: Output, error: FastballoonError) -> int:
    output.error(error)
    return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
