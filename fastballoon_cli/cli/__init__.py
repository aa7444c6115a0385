"""The command line: parses, calls one function of ``ops``, renders."""

import os
from pathlib import Path

import click
from click.core import ParameterSource

from fastballoon_cli import __version__
from fastballoon_cli.cli.common import DEFAULT_URI, DEFAULT_VM, Context, complete_vm, one_at_a_time
from fastballoon_cli.cli.lazy import LazyGroup
from fastballoon_cli.cli.login import login_of, login_options
from fastballoon_cli.cli.output import Output
from fastballoon_cli.errors import UsageError
from fastballoon_cli.results.model import SEVERAL

__all__ = ["root"]

_COMMANDS = {
    "bench": "fastballoon_cli.cli.bench:bench",
    "build": "fastballoon_cli.cli.build:build",
    "compare": "fastballoon_cli.cli.compare:compare",
    "deflate": "fastballoon_cli.cli.balloon:deflate",
    "doctor": "fastballoon_cli.cli.doctor:doctor",
    "drop-cache": "fastballoon_cli.cli.drop_cache:drop_cache",
    "inflate": "fastballoon_cli.cli.balloon:inflate",
    "migrate": "fastballoon_cli.cli.migrate:migrate",
    "reclaim": "fastballoon_cli.cli.reclaim:reclaim",
    "report": "fastballoon_cli.cli.report:report",
    "vm": "fastballoon_cli.cli.vm:vm",
}


@click.group(
    cls=LazyGroup,
    lazy=_COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "FASTBALLOON"},
)
@click.option(
    "--vm",
    "vm_name",
    multiple=True,
    envvar="FASTBALLOON_VM",
    default=(DEFAULT_VM,),
    show_default=True,
    metavar="NAME",
    shell_complete=complete_vm,
    help=f"The VM to work on; can be given several times: {', '.join(SEVERAL)} work on all of them at once.",
)
@click.option(
    "--all",
    "every",
    is_flag=True,
    envvar="FASTBALLOON_ALL",
    help="Work on every VM that runs and was started or attached here; with --connect, on every domain that runs.",
)
@click.option(
    "--connect",
    metavar="URI",
    help="Work on domains of libvirt, as virsh does: qemu:///system, qemu+ssh://host/system, ...",
)
@login_options("a domain's guest")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    envvar="FASTBALLOON_JSON",
    help="One JSON document on stdout, errors too; all else on stderr.",
)
@click.option("--timeout", type=click.FloatRange(min=0.1), metavar="SECONDS", help="How long to wait for the guest.")
@click.option("-v", "--verbose", is_flag=True, help="Show where an internal error came from.")
@click.version_option(__version__, prog_name="fastballoon")
@click.pass_context
def root(
    ctx: click.Context,
    vm_name: tuple[str, ...],
    every: bool,
    connect: str | None,
    ssh: str | None,
    identity: Path | None,
    known_hosts: Path,
    as_json: bool,
    timeout: float | None,
    verbose: bool,
) -> None:
    """Make virtual machines give memory back fast.

    \b
    Quick start:
      fastballoon build
      fastballoon vm start
      fastballoon inflate --target 3G
      fastballoon deflate
      fastballoon vm stop

    Every option can come from the environment (FASTBALLOON_VM, FASTBALLOON_VM_START_MEMORY, ...) or from
    ~/.config/fastballoon/config.toml ([vm.start] memory = "8G"); the command line wins, then the environment.

    \b
    Completion, one line in ~/.bashrc, ~/.zshrc or ~/.config/fish/config.fish:
      eval "$(_FASTBALLOON_COMPLETE=bash_source fastballoon)"
      eval "$(_FASTBALLOON_COMPLETE=zsh_source fastballoon)"
      _FASTBALLOON_COMPLETE=fish_source fastballoon | source
    """
    # The same one writes an error, and knows of the bar that is on the terminal then.
    output = ctx.obj if isinstance(ctx.obj, Output) else Output()
    output.as_json = as_json
    login = login_of(ssh, identity, known_hosts)
    # The environment and the configuration may have it for other commands than this one.
    asked = ctx.get_parameter_source("ssh") is ParameterSource.COMMANDLINE
    if asked and connect is None and DEFAULT_URI not in os.environ:
        raise UsageError(
            "--ssh is for a domain of libvirt, and goes with --connect",
            hint="for another VM it comes behind 'vm attach', once and for all",
        )
    ctx.obj = Context(
        vms=tuple(dict.fromkeys(vm_name)) or (DEFAULT_VM,),
        every=every and _all_is_meant(ctx),
        connect=connect,
        login=login,
        timeout=timeout,
        verbose=verbose,
        output=output,
    )
    if ctx.obj.several:
        ctx.obj.login = None  # it is one guest's
        _check_several(ctx, login_asked=asked)


def _all_is_meant(ctx: click.Context) -> bool:
    """Return whether --all counts: --vm may have been named nearer by, on the command line and not in a file.

    :raise UsageError: both were named in the same place.
    """
    named, every = (ctx.get_parameter_source(name) for name in ("vm_name", "every"))
    if named is every:
        raise UsageError("--vm and --all exclude each other", hint="name the VMs to work on, or take all that run")
    nearest = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT, ParameterSource.DEFAULT_MAP)
    return next(source for source in nearest if source in (named, every)) is every


def _check_several(ctx: click.Context, *, login_asked: bool) -> None:
    """Check that several VMs make sense.

    :param login_asked: the command line has a login.
    :raise UsageError: they do not.
    """
    if login_asked:
        raise UsageError(
            "--ssh says how to log in to one guest, and there may be several",
            hint="leave it out, or work on one: --vm NAME",
        )
    # What comes from elsewhere is not for this command alone, and is refused where one VM is needed.
    here = ParameterSource.COMMANDLINE in (ctx.get_parameter_source("vm_name"), ctx.get_parameter_source("every"))
    if here and ctx.invoked_subcommand not in SEVERAL:
        raise one_at_a_time()
