"""``fastballoon vm ...``: start, stop and look at VMs."""

import os
import sys
from pathlib import Path
from typing import Any

import click

from fastballoon_cli.build import BOOTABLE, COMMON, Distribution
from fastballoon_cli.cli import terminal
from fastballoon_cli.cli.common import DEFAULT_URI, SIZE, Context, complete_vm, emit_dry_run, pass_context
from fastballoon_cli.cli.lazy import LazyGroup
from fastballoon_cli.cli.login import login_of, login_options
from fastballoon_cli.cli.machines import list_table, state_of, status_table
from fastballoon_cli.cli.markup import escape
from fastballoon_cli.errors import FastballoonError, VmLostError
from fastballoon_cli.libvirt.connection import virsh
from fastballoon_cli.libvirt.description import QEMU
from fastballoon_cli.machine import domain
from fastballoon_cli.machine.domain import Domain
from fastballoon_cli.machine.registry import require_started
from fastballoon_cli.machine.session import hold, running
from fastballoon_cli.machine.spec import DEFAULT_MEMORY_BYTES
from fastballoon_cli.ops import attach as attaching
from fastballoon_cli.ops import status as vm_status
from fastballoon_cli.ops import vm as ops
from fastballoon_cli.ops import vm_xml
from fastballoon_cli.units import format_size

__all__ = ["vm"]

_VARIANT = click.Choice([v.value for v in COMMON])
_BOOT_SECONDS = 120.0
#: States that a user wants to know the reason of.
_TOLD = {"unknown", "busy", "does not answer"}


@click.group(cls=LazyGroup)
def vm() -> None:
    """Start, stop and look at VMs."""


@vm.command()
@click.option("--name", default="default", show_default=True, help="What to call the VM.")
@click.option("--memory", type=SIZE, default=DEFAULT_MEMORY_BYTES, help="The guest's memory.  [default: 4G]")
@click.option("--cpus", type=int, default=2, show_default=True, help="The guest's CPUs.")
@click.option("--accel", type=click.Choice(["auto", "kvm", "tcg"]), default="auto", show_default=True,
              help="auto takes KVM where a guest really boots on it.")  # fmt: skip
@click.option(
    "--variant",
    type=_VARIANT,
    default="fast",
    show_default=True,
    help="Kernel and QEMU: with our series or unmodified.",
)
@click.option("--guest", type=click.Choice([d.value for d in Distribution]),
              help="Boot that distribution's kernel: with our driver as a module, or with its own for the variant "
                   "stock.")  # fmt: skip
@click.option(
    "--kernel", type=click.Choice([v.value for v in BOOTABLE["kernel"]]), help="Another variant for the kernel only."
)
@click.option("--qemu", type=click.Choice([v.value for v in BOOTABLE["qemu"]]), help="Another variant for QEMU only.")
@click.option(
    "--balloon-options",
    default="",
    metavar="K=V,...",
    help="Properties of the balloon device, such as deflate-on-oom=on.",
)
@click.option("--append", default="", metavar="WORDS", help="Further words for the guest kernel's command line.")
@click.option("--dry-run", is_flag=True, help="Print QEMU's command line, and start nothing.")
@pass_context
def start(
    ctx: Context,
    /,
    variant: str,
    guest: str | None,
    kernel: str | None,
    qemu: str | None,
    dry_run: bool,
    memory: int,
    **rest: Any,
) -> None:
    """Start a VM and wait until its agent answers.

    \b
    Example:
      fastballoon vm start --name s --variant stock
    """
    ctx.own()
    request = ops.Request(
        memory_bytes=memory, guest=guest or "", kernel=kernel or variant, qemu=qemu or variant, **rest
    )
    out = ctx.output
    if dry_run:
        ops.check(request)
        ops.require_new(request.name)
        missing = ops.missing(request)
        commands = missing or ops.plan(request, out).commands()
        emit_dry_run(ctx, f"start '{request.name}'", commands)
        if missing:
            out.say("QEMU's command line is known when these are built.")
        return
    ops.start(request, out, timeout=ctx.timeout or _BOOT_SECONDS)
    status = vm_status.status(request.name)
    out.emit(status, status_table(status))


@vm.command()
@click.argument("name", required=False, shell_complete=complete_vm)
@click.option("--all", "every", is_flag=True, help="Stop every VM that was started here.")
@pass_context
def stop(ctx: Context, name: str | None, every: bool) -> None:
    """Stop a VM and remove all that belongs to it.

    \b
    Example:
      fastballoon vm stop
    """
    one = ctx.own(name)
    if not every:
        ops.stop(one, ctx.output)
        ctx.output.emit({"schema_version": 1, "stopped": [one]}, f"stopped: {one}")
        return
    stopped: list[str] = []
    failed: dict[str, FastballoonError] = {}
    for each in vm_status.names(attached=False):
        try:
            ops.stop(each, ctx.output)
            stopped.append(each)
        except FastballoonError as e:
            failed[each] = e
            ctx.output.warn(f"'{each}' was not stopped: {e.message}")
    reasons = {each: e.message for each, e in failed.items()}
    document = {"schema_version": 1, "stopped": stopped, "failed": reasons}
    nothing = "nothing" if failed else "nothing ran"
    ctx.output.emit(document, f"stopped: {', '.join(stopped) or nothing}")
    if failed:
        sys.exit(next(iter(failed.values())).exit_code)


@vm.command()
@click.argument("name")
@click.option("--qmp", "socket", required=True, type=click.Path(path_type=Path), metavar="SOCKET",
              help="A monitor of its QEMU that nobody else is at: -qmp unix:SOCKET,server=on,wait=off")  # fmt: skip
@click.option("--agent", "agent_socket", type=click.Path(path_type=Path), metavar="SOCKET",
              help="The socket of the port of fastballoon-guest, which nobody else is connected to.")  # fmt: skip
@click.option("--qga", "qga_socket", type=click.Path(path_type=Path), metavar="SOCKET",
              help="The socket of QEMU's guest agent, which nobody else is connected to.")  # fmt: skip
@login_options("its guest")
@pass_context
def attach(
    ctx: Context,
    name: str,
    socket: Path,
    agent_socket: Path | None,
    qga_socket: Path | None,
    ssh: str | None,
    identity: Path | None,
    known_hosts: Path,
) -> None:
    """Give a VM that something else has started a name for --vm.

    Nothing about it changes. Its balloon is moved as any other's. What the guest has is told by fastballoon's agent
    (--ssh, --agent), or by QEMU's guest agent (--qga); without them, or while they do not answer, it is read from the
    balloon's statistics. Its monitor is in use only while a command works with it.

    \b
    Example:
      fastballoon vm attach web --qmp /run/web/qmp.sock
      fastballoon vm attach web --qmp /run/web/qmp.sock --ssh root@10.0.0.7 --identity ~/.ssh/id_ed25519
    """
    attaching.attach(
        ctx.own(name),
        socket,
        ctx.output,
        login=login_of(ssh, identity, known_hosts) or ctx.login,
        agent_socket=agent_socket,
        qga_socket=qga_socket,
        timeout=ctx.timeout or attaching.LOGIN_SECONDS,
    )
    document = vm_status.status(name)
    ctx.output.emit(document, status_table(document))


@vm.command()
@click.argument("name", shell_complete=complete_vm)
@pass_context
def detach(ctx: Context, name: str) -> None:
    """Forget a VM that was attached; it runs on as it is.

    \b
    Example:
      fastballoon vm detach web
    """
    attaching.detach(ctx.own(name), ctx.output)
    ctx.output.emit({"schema_version": 1, "detached": name}, f"detached: {name}")


@vm.command()
@click.argument("domain_name", metavar="[DOMAIN]", required=False)
@click.option("--emulator", type=click.Path(path_type=Path), metavar="PATH",
              help="A QEMU with fastballoon's series.  [default: the domain's own, or the one built here]")  # fmt: skip
@click.option("--apply", "define", is_flag=True, help="Define the domain so; takes effect when it is started next.")
@pass_context
def xml(ctx: Context, domain_name: str | None, emulator: Path | None, define: bool) -> None:
    """Print what a domain of libvirt needs to have fastballoon's features.

    Without it a domain works by page numbers, through libvirt alone. What is added here is passed to QEMU past
    libvirt, which notes in the domain's log that it is tainted: custom-device or custom-argv when it starts, and
    custom-monitor when fastballoon asks its QEMU.

    \b
    Example:
      fastballoon --connect qemu:///system vm xml web --apply
    """
    name, uri = domain_name or ctx.vm, ctx.connect or ""
    prepared = vm_xml.prepare(uri, name, emulator=emulator, apply=define, progress=ctx.output)
    added = prepared.extended.added
    document = {"schema_version": 1, "vm": name, "added": added, "applied": define and bool(added)}
    ctx.output.emit(document, *map(escape, added.splitlines()))
    if not added:
        ctx.output.say(f"'{name}' has all of it already")
    elif not define:
        ctx.output.say(f"add it with '{virsh(prepared.uri, 'edit', name)}', and the namespace to the first line: "
                       f"<domain xmlns:qemu='{QEMU}' ...>; --apply does both")  # fmt: skip
    elif prepared.runs:
        ctx.output.say(f"it takes effect when '{name}' is shut down and started again: "
                       f"{virsh(prepared.uri, 'shutdown', name)}; "
                       f"when it is off, {virsh(prepared.uri, 'start', name)}")  # fmt: skip


@vm.command("list")
@pass_context
def list_(ctx: Context) -> None:
    """List the VMs that run.

    \b
    Example:
      fastballoon vm list
    """
    statuses = []
    for name, which in _all(ctx):
        try:
            statuses.append(vm_status.status(which))
        except VmLostError:
            continue  # it ended just now
        except FastballoonError as e:
            statuses.append({"name": name, "state": state_of(which, e), "reason": e.message})
    reasons = [f"{one['name']}: {one['reason']}" for one in statuses if one["state"] in _TOLD]
    ctx.output.emit(
        {"schema_version": 1, "vms": statuses}, list_table(statuses) if statuses else "no VM runs", *reasons
    )


def _all(ctx: Context) -> list[tuple[str, str | Domain]]:
    """Return the names of all VMs, and what they are found by."""
    if ctx.connect is not None:
        return [(one.name, one) for one in domain.find_all(ctx.connect)]
    found: list[tuple[str, str | Domain]] = [(name, name) for name in vm_status.names()]
    if DEFAULT_URI in os.environ:
        try:
            found += [(one.name, one) for one in domain.find_all("")]
        except FastballoonError as e:
            ctx.output.warn(f"the domains of libvirt ({DEFAULT_URI}) are not listed: {e.message}")
    return found


@vm.command()
@click.argument("name", required=False, shell_complete=complete_vm)
@pass_context
def status(ctx: Context, name: str | None) -> None:
    """Show a VM.

    \b
    Example:
      fastballoon vm status default
    """
    document = vm_status.status(ctx.find(name or ctx.vm))
    ctx.output.emit(document, status_table(document))


@vm.command()
@click.option("--size", type=SIZE, help="How much.  [default: nearly all that is available]")
@click.option("--verify", is_flag=True, help="Read every page back.")
@pass_context
def touch(ctx: Context, size: int | None, verify: bool) -> None:
    """Fill the guest's free memory and free it again, so that the host really holds it.

    A guest that has just booted has touched little, and a balloon can give back only what the host holds.

    \b
    Example:
      fastballoon vm touch --size 1G
    """
    with hold(ctx.own(), ctx.output, need_agent=True) as session:
        assert session.agent
        result = ops.touch(session.agent, ctx.output, size=size, verify=verify)
    lines = [f"touched {format_size(result['bytes'])} of the guest's memory"]
    if verify:
        lines.append(f"chunks that did not read back: {result['mismatches']}")
    ctx.output.emit({"schema_version": 1, "vm": ctx.vm, **result}, *lines)


@vm.command(context_settings={"ignore_unknown_options": True})
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@pass_context
def ssh(ctx: Context, command: tuple[str, ...]) -> None:
    """Log in to a VM, or run COMMAND in it; the exit code is the command's.

    \b
    Example:
      fastballoon vm ssh -- free -m
    """
    sys.exit(terminal.ssh(vm_status.login_of_running(ctx.which), command))


@vm.command()
@click.option("--log", is_flag=True, help="Print what the guest has written so far, and return.")
@pass_context
def console(ctx: Context, log: bool) -> None:
    """Attach to a VM's serial console; Ctrl-] leaves it.

    Without a terminal, or with --log or --json, prints what the guest has written so far.

    \b
    Example:
      fastballoon vm console --log
    """
    record = require_started(running(ctx.own()))
    if log or not sys.stdin.isatty() or ctx.output.as_json:
        text = record.spec.console_log.read_text(errors="replace")
        if ctx.output.as_json:
            ctx.output.emit({"schema_version": 1, "vm": ctx.vm, "log": text})
        else:
            click.echo(text, nl=False)
    else:
        terminal.console(record)
