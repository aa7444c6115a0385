"""A command on one VM, or on several at once: ``--vm`` more than once, or ``--all``."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from fastballoon_cli.children import run_all, run_apart
from fastballoon_cli.cli.common import Context, emit_dry_run, start_default_vm
from fastballoon_cli.errors import FastballoonError, PreconditionError
from fastballoon_cli.libvirt.connection import virsh
from fastballoon_cli.machine import domain
from fastballoon_cli.ops import status as vm_status
from fastballoon_cli.progress import Progress
from fastballoon_cli.results.many import Done, ManyResult
from fastballoon_cli.results.model import SCHEMA_VERSION
from fastballoon_cli.results.page.terminal import terminal
from fastballoon_cli.results.report.many import many_section
from fastballoon_cli.results.report.single import single_section

__all__ = ["Task", "carry_out"]


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a command does with each VM; where there are several, in processes of their own.

    :ivar operation: as results name it.
    :ivar action: what a dry run says that would be done.
    :ivar title: of the step that all of it is, without the VMs: ``Inflating the balloons``.
    :ivar work: does it; given a VM's name and whom it tells how far it is.
    :ivar plan: returns what the work would do, as commands to paste.
    :ivar starts: whether it starts the default VM.
    """

    operation: str
    action: str
    title: str
    work: Callable[[str, Progress], Done]
    plan: Callable[[str], list[str]]
    starts: bool = False


def carry_out(ctx: Context, task: Task, *, dry_run: bool) -> None:
    """Do what a command does, show the result, and end with the exit code of the first VM that it failed with.

    :raise FastballoonError: there is one VM, and it failed with that.
    :raise PreconditionError: every VM was to be worked on, and none runs.
    :raise InterruptedByUser: Ctrl-C, or what does the same.
    """
    if not ctx.several:
        _with_one(ctx, task, dry_run=dry_run)
        return
    names, out = _names(ctx), ctx.output
    if dry_run:
        plans = run_all(names, lambda name, _: task.plan(name), out, verbose=ctx.verbose)
        _show_plans(ctx, task, plans)
        return
    title = f"{task.title} of {len(names)} VM{'' if len(names) == 1 else 's'}"
    begun = time.monotonic()
    outcomes = run_all(names, task.work, out, title=title, verbose=ctx.verbose)
    result = ManyResult(operation=task.operation, outcomes=outcomes, duration_s=time.monotonic() - begun)
    for name, done in result.done.items():
        for remark in done.remarks:
            out.warn(f"{name}: {remark}")
    out.emit(result.document(), *terminal([many_section(result)]))
    _end(ctx, result.failures, in_table=not out.as_json)


def _with_one(ctx: Context, task: Task, *, dry_run: bool) -> None:
    if dry_run:
        emit_dry_run(ctx, task.action, task.plan(ctx.vm))
        return
    if task.starts:
        start_default_vm(ctx)
    done = task.work(ctx.vm, ctx.output)
    for remark in done.remarks:
        ctx.output.warn(remark)
    sections = [single_section(one) for one in (done.dropped, done.result) if one]
    ctx.output.emit(done.document(), *terminal(sections))


def _names(ctx: Context) -> list[str]:
    """Return the VMs to work on.

    :raise PreconditionError: none runs.
    """
    if not ctx.every:
        return list(ctx.vms)
    uri = ctx.connect
    if uri is None:
        if found := vm_status.names(booting=False):
            return found
        raise PreconditionError("no VM runs", hint="start one: fastballoon vm start; or name a libvirt: --connect URI")
    # libvirt's binding has threads, which nobody has who is forked later.
    if found := run_apart(lambda: domain.names(uri), ctx.output):
        return found
    raise PreconditionError(
        f"no domain with a balloon runs{f' at {uri}' if uri else ''}", hint=f"see which there are: {virsh(uri, 'list')}"
    )


def _show_plans(ctx: Context, task: Task, plans: dict[str, list[str] | FastballoonError]) -> None:
    document = {
        "schema_version": SCHEMA_VERSION,
        "dry_run": True,
        "action": task.action,
        "vms": [
            {"vm": name, "error": plan.document()}
            if isinstance(plan, FastballoonError)
            else {"vm": name, "commands": plan}
            for name, plan in plans.items()
        ],
    }
    lines = [line for name, plan in plans.items() if isinstance(plan, list) for line in (f"# {name}", *plan)]
    ctx.output.emit(document, *lines)
    failures = {name: plan for name, plan in plans.items() if isinstance(plan, FastballoonError)}
    _end(ctx, failures, in_table=False)


def _end(ctx: Context, failures: dict[str, FastballoonError], *, in_table: bool) -> None:
    """Say what went wrong with which VM, and what can be done about it, what is alike once; exit if anything did."""
    if not in_table:
        for name, error in failures.items():
            ctx.output.failed(name, error.message)
    for name, error in failures.items():
        if error.details:
            ctx.output.say("\n".join(f"{name}: {line}" for line in error.details.splitlines()))
    for hint in dict.fromkeys(error.hint for error in failures.values() if error.hint):
        ctx.output.hint(", ".join(name for name, error in failures.items() if error.hint == hint), hint)
    if failures:
        sys.exit(next(iter(failures.values())).exit_code)
