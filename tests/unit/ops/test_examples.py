"""Each command's --help ends with an example, and the command understands it."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
from typer.testing import CliRunner

from ops import cli
from tests.support.commands import OWN_COMMANDS, ROOT_COMMAND


def command_of(name: str) -> Any:
    found: Any = ROOT_COMMAND
    for each in name.split():
        found = found.commands[each]
    return found


LEAVES = [name for name in OWN_COMMANDS if not hasattr(command_of(name), "commands")]


@pytest.mark.parametrize("name", LEAVES)
def test_every_command_has_an_example_that_it_understands(name: str) -> None:
    examples = re.findall(r"\bwriteback ([^;…]+)", (command_of(name).epilog or "").partition("Example: ")[2])
    assert examples
    for example in examples:
        arguments = shlex.split(example)
        assert " ".join(arguments).startswith(name)
        ran = CliRunner().invoke(cli.app, [*arguments, "--help"])
        assert ran.exit_code == 0, ran.output
