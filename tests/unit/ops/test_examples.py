"""Each command's --help ends with an example, and the command understands it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from ops import cli


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


COMMANDS = dict(commands(typer.main.get_command(cli.app)))
SHOWN_BY_ITSELF = {"simulate"}
"""It hands its arguments on, and `simulator` shows its own help."""


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - SHOWN_BY_ITSELF))
def test_every_command_has_an_example_that_it_understands(name: str) -> None:
    examples = re.findall(r"\bwriteback ([^;…]+)", (COMMANDS[name].epilog or "").partition("Example: ")[2])
    assert examples
    for example in examples:
        arguments = shlex.split(example)
        assert " ".join(arguments).startswith(name)
        ran = CliRunner().invoke(cli.app, [*arguments, "--help"])
        assert ran.exit_code == 0, ran.output
