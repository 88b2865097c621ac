#!/usr/bin/env python
"""Writes the page of all commands, with the help of each as it is.

python .ci/commands.py            rewrites nbs/commands.qmd where it has changed
python .ci/commands.py --check    exits 1 when the stored help is not what the commands say
"""

import sys
from pathlib import Path

import click
import typer
from typer.testing import CliRunner

from geograph_types.cli.root import app

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "nbs" / "commands.qmd"
INTRODUCTION = """\
---
title: "Commands: the help of each"
description: "`geograph-types COMMAND --help`, for every command, with an example of each."
---

*What can be done from a terminal, and with which options?*

Every command prints what is below with `--help`. Standard output gets the result and nothing else: a table drawn for a \
terminal, CSV in a pipe, JSON Lines with `--json`; sentences, warnings and bars go to standard error. What exists is \
replaced only with `--overwrite`. The exit status is 0 when all went well, 1 for an error in what was handed in, 2 for a \
wrong option, 130 and 143 after an interruption; a long job then goes on with the same line.

The same option means the same everywhere; \
[one table](https://github.com/{user}/{repo}/blob/{branch}/CONTRIBUTING.md#what-a-command-looks-like) says what.
"""


def leaves(command: click.Command, words: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The words of each command, in the order of the help."""
    if not hasattr(command, "commands"):
        return [words]
    return [leaf for name, inner in command.commands.items() for leaf in leaves(inner, (*words, name))]


def help_of(words: tuple[str, ...]) -> str:
    """What a command says with `--help`, on a terminal of 80 columns."""
    asked = CliRunner().invoke(
        app, [*words, "--help"], prog_name="geograph-types", env={"COLUMNS": "80", "TERM": "dumb"}
    )
    if asked.exit_code:
        sys.exit(f"geograph-types {' '.join(words)} --help ended with {asked.exit_code}")
    return "\n".join(line.rstrip() for line in asked.output.strip().splitlines())


def page() -> str:
    from refresh import settings  # beside this script

    parts, group = [INTRODUCTION.format(**settings())], None
    for words in leaves(typer.main.get_command(app)):
        if words[:-1] != group:
            group = words[:-1]
            title = " ".join(group) or "types"
            parts.append(f"## {title[0].upper()}{title[1:]}\n" if not group else f"## `{title}`\n")
            if group:
                parts.append(help_of(group).split("\n\n")[1].strip() + "\n")
        parts.append(f"### `{' '.join(words)}`\n\n```text\n{help_of(words)}\n```\n")
    return "\n".join(parts)


def main() -> None:
    fresh = page()
    if "--check" in sys.argv:
        if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != fresh:
            sys.exit("nbs/commands.qmd is not what the commands say: run `.ci/prepare` and commit it.")
    else:
        PAGE.write_text(fresh, encoding="utf-8")


if __name__ == "__main__":
    main()
