"""`writeback settings`: every setting of the operators' commands."""

from __future__ import annotations

import json

import typer

from ops.output import Json
from ops.settings import Settings
from runtime import environment


def settings(as_json: Json = False) -> None:
    """List every setting: its variable, its default and what it does. Shows no value that is set."""
    for each in environment.describe(Settings):
        if as_json:
            typer.echo(json.dumps(each._asdict(), ensure_ascii=False))
        else:
            typer.echo(f"{each.name}{f' (default: {each.default})' if each.default else ''}\n    {each.description}")
