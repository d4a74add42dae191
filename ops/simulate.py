"""`writeback simulate`: hands over to the simulator, which is a program of its own."""

from __future__ import annotations

import os
import sys

import typer


def simulate(context: typer.Context) -> None:
    """Run a Dataverse on this machine; the options are those of the simulator (see: writeback simulate --help)."""
    os.execv(sys.executable, [sys.executable, "-m", "simulator", "serve", *context.args])  # noqa: S606  no shell
