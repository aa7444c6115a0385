"""Every command's help has an example that works when pasted."""

import itertools
import shutil

import click
import pytest

from fastballoon_cli.cli import root
from fastballoon_cli.results.files import save
from tests.unit.examples import NEED_A_FOREIGN_VM, NEED_A_VM, NEED_BUILDS_AND_TIME, commands, examples, is_of_a_domain
from tests.unit.made import three_variants

_COMMANDS = dict(commands())
_HERE = [name for name in _COMMANDS if name not in NEED_A_VM | NEED_A_FOREIGN_VM | NEED_BUILDS_AND_TIME]
#: Those that can say what they would do.
_DRY = [
    name for name, command in _COMMANDS.items() if any("--dry-run" in parameter.opts for parameter in command.params)
]
#: And of these, those that start no VM and have one to work with.
_NEED_ONE = {"deflate", "drop-cache", "reclaim"}


@pytest.mark.parametrize("name", _COMMANDS)
def test_every_command_has_an_example_of_itself(name):
    command = _COMMANDS[name]
    lines = examples(command)
    assert lines, f"'fastballoon {name} --help' has no example"
    for line in lines:
        # Those of a domain begin with what it is: --connect URI --vm NAME.
        behind = itertools.dropwhile(lambda word: word != name.split()[0], line)
        words = [word for word in behind if not word.startswith("-")]
        assert words[: len(name.split())] == name.split()


@pytest.mark.parametrize("name", _COMMANDS)
def test_examples_are_understood(name):
    for line in examples(_COMMANDS[name]):
        command: click.Command = root
        context = root.make_context("fastballoon", list(line))
        words = [*context._protected_args, *context.args]
        while isinstance(command, click.Group):
            word, inner, words = command.resolve_command(context, words)
            assert inner
            command = inner
            context = command.make_context(word, words, parent=context)
            words = [*context._protected_args, *context.args]
        assert command is _COMMANDS[name]


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Stand where the files are that examples speak of."""
    monkeypatch.chdir(tmp_path)
    for name in ("before.json", "after.json"):
        save(tmp_path / name, three_variants().document())


@pytest.mark.parametrize("name", _HERE)
def test_examples_that_need_no_guest_work_when_pasted(fastballoon, files, name):
    for line in examples(_COMMANDS[name]):
        result = fastballoon(*line)
        # The doctor may well find that this machine lacks something.
        assert result.returncode in ((0, 3) if name == "doctor" else (0,)), result.stderr


@pytest.mark.parametrize("name", _DRY)
def test_examples_that_need_one_can_be_tried_dry(fastballoon, name):
    if name in ("build", "vm start") and shutil.which("gcc") is None:
        pytest.skip("planning a build asks the compiler for its version, and there is none")
    for line in itertools.filterfalse(is_of_a_domain, examples(_COMMANDS[name])):
        result = fastballoon(*line, "--dry-run")
        needs_one = name in _NEED_ONE or "--all" in line
        assert result.returncode == (3 if needs_one else 0), result.stderr
        assert result.stdout or needs_one


def test_what_needs_more_is_named_only_if_it_exists():
    assert set(_HERE) == {"compare", "report", "doctor", "vm list"}
    assert {"inflate", "deflate", "build"} <= set(_DRY)
