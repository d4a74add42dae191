"""`writeback simulate`: hands over to the simulator, which is a program of its own."""

from __future__ import annotations

import os
import sys

import typer


def simulate(context: typer.Context) -> None:
    """Run a simulated Dataverse on this machine. `writeback simulate --help` lists the simulator's options."""
    os.execv(sys.executable, [sys.executable, "-m", "simulator", "serve", *context.args])  # noqa: S606  no shell
