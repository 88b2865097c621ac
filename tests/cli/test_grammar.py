"""One grammar for all commands: the same option means the same everywhere, and the table in CONTRIBUTING says what."""

import inspect
import re
import shlex
from collections import defaultdict
from pathlib import Path
from typing import Annotated, get_args, get_origin

import pytest
import typer
from typer.testing import CliRunner

from geograph_types.cli import shared as shared_parts
from geograph_types.cli.root import app

ROOT = Path(__file__).resolve().parents[2]


def walk(program: typer.Typer, path: tuple[str, ...] = ()):
    """Every command with its words."""
    for command in program.registered_commands:
        name = command.name or command.callback.__name__.replace("_", "-")
        yield " ".join([*path, name]), command
    for group in program.registered_groups:
        yield from walk(group.typer_instance, (*path, group.name))


COMMANDS = dict(walk(app))


def kind_of(annotation: object) -> str:
    """Its name; what may be left out is of the same kind."""
    return str(getattr(annotation, "__name__", annotation)).removesuffix(" | None").rpartition(".")[2]


def options(command) -> dict[str, tuple[str, object, str]]:
    """Option -> kind, default and help."""
    found = {}
    for parameter in inspect.signature(command.callback).parameters.values():
        if get_origin(parameter.annotation) is not Annotated:
            continue
        kind, info = get_args(parameter.annotation)[:2]
        if type(info).__name__ == "OptionInfo":
            declared = [
                name for name in (info.default, *(info.param_decls or ())) if str(name).startswith("--")
            ]
            name = declared[0].partition("/")[0] if declared else "--" + parameter.name.replace("_", "-")
            found[name] = (kind_of(kind), parameter.default, info.help)
    return found


def shared() -> dict[str, list]:
    """Options of several commands, with all that these say of them."""
    uses = defaultdict(list)
    for command in COMMANDS.values():
        for name, said in options(command).items():
            uses[name].append(said)
    return {name: said for name, said in uses.items() if len(said) > 1}


def table() -> dict[str, str]:
    """The table in CONTRIBUTING: option -> meaning."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^\| `(--[a-z-]+)` \| ([^|]+) \|$", text, re.MULTILINE))


def test_there_are_commands():
    assert len(COMMANDS) > 30 and "zeroshot label-counts" in COMMANDS


@pytest.mark.parametrize("name", sorted(shared()))
def test_an_option_means_the_same_in_every_command(name):
    kinds = {kind for kind, _, _ in shared()[name]}
    meanings = {meaning for _, _, meaning in shared()[name]}
    assert len(kinds) == 1 and len(meanings) == 1, (kinds, meanings)
    assert table()[name] == meanings.pop()


def test_the_table_lists_no_other_options():
    assert sorted(table()) == sorted(shared())


def test_defaults_that_are_settled():
    for name, allowed in {"--seed": {42, None}, "--split": {"tes"}, "--json": {False}}.items():
        assert {getattr(default, "value", default) for _, default, _ in shared()[name]} <= allowed


@pytest.mark.parametrize("words", COMMANDS)
def test_every_command_keeps_the_rules(words):
    named = options(COMMANDS[words])
    assert {"--quiet", "--verbose"} <= named.keys()
    parameters = inspect.signature(COMMANDS[words].callback).parameters
    writes = {"--out", "--report", "--figure", "--map"} & named.keys() or "out" in parameters
    assert ("--overwrite" in named) >= bool(writes)
    old = {"--top", "--resume", "--published", "--labels-file", "--normalise", "--folder", "--at-most"}
    assert not old & named.keys()


@pytest.mark.parametrize("words", COMMANDS)
def test_numbers_have_a_least_value(words):
    """A number that makes no sense is wrong use, before anything is read or fetched."""
    for parameter in inspect.signature(COMMANDS[words].callback).parameters.values():
        if get_origin(parameter.annotation) is not Annotated:
            continue
        kind, info = get_args(parameter.annotation)[:2]
        if {int, float} & {kind, *get_args(kind)} or "list[float]" in str(kind):
            assert info.min is not None, parameter.name


def numbers() -> list[tuple[str, str]]:
    """Every option that takes a fraction, with its command."""
    return [
        (words, name)
        for words, command in COMMANDS.items()
        for name, (kind, _, _) in options(command).items()
        if "float" in kind
    ]


@pytest.mark.parametrize(("words", "option"), numbers())
def test_nan_is_no_number(words, option):
    """It passes every comparison, so bounds do not find it."""
    help = CliRunner().invoke(app, [*words.split(), "--help"]).output
    example = shlex.split(" ".join(help.partition("Example: ")[2].split()))[1:]
    end = CliRunner().invoke(app, [*example, option, "nan"])
    assert end.exit_code == 2 and f"Invalid value for '{option}': " in end.output


def test_nan_is_no_number_whatever_the_library_says_of_it():
    program = shared_parts.program("For this test.")

    @shared_parts.command(program, "test --share 0.5")
    def test(share: Annotated[float, typer.Option(help="Any number.")] = 1.0) -> None:
        "Nothing."

    end = CliRunner().invoke(program, ["--share", "nan"])
    assert end.exit_code == 2 and "Invalid value for '--share': expected a number" in end.output


@pytest.mark.parametrize("words", COMMANDS)
def test_help_is_whole_at_80_columns_and_ends_with_an_example_that_parses(words):
    runner = CliRunner()
    help = runner.invoke(app, [*words.split(), "--help"], env={"COLUMNS": "80", "TERM": "dumb"}).output
    assert max(map(len, help.splitlines())) <= 80
    said = " ".join(help.split())
    for _, _, meaning in options(COMMANDS[words]).values():
        assert " ".join(meaning.split()) in said.replace(" [", "[").replace("[", " [")
    example = " ".join(help.partition("Example: ")[2].split())
    program, *line = shlex.split(example)
    assert program == "geograph-types"
    command = typer.main.get_command(app)
    context = command.make_context("geograph-types", line)
    while hasattr(command, "commands"):
        name, command, line = command.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(name, line, parent=context)
    assert context.command.callback.__name__ == COMMANDS[words].callback.__name__


@pytest.mark.parametrize("group", ["", "context", "locate", "coordinates", "places", "zeroshot", "review"])
def test_lists_of_commands_are_whole(group):
    help = CliRunner().invoke(app, [*group.split(), "-h"], env={"COLUMNS": "80", "TERM": "dumb"}).output
    commands = help.partition("Commands:")[2]
    assert commands and "..." not in commands and max(map(len, help.splitlines())) <= 80
