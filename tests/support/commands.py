"""Every command of `writeback`, as its own command line has them."""

from __future__ import annotations

import typer

from ops.cli import app


def commands(group: typer.core.TyperGroup, path: str = "") -> list[str]:
    """Groups and the bare name included."""
    found = [path]
    for name, command in group.commands.items():
        inner = f"{path} {name}".strip()
        found += commands(command, inner) if isinstance(command, typer.core.TyperGroup) else [inner]
    return found


ROOT_COMMAND = typer.main.get_command(app)
COMMANDS = commands(ROOT_COMMAND) if isinstance(ROOT_COMMAND, typer.core.TyperGroup) else []
OWN_COMMANDS = tuple(each for each in COMMANDS if each != "simulate")
"""Without the simulator's, which is another program."""
