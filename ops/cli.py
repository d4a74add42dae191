"""`writeback`: the operators' command line. Every command has --help with an example, and exit codes."""

from __future__ import annotations

import sys

import typer

from ops import topics
from ops.demo.command import demo
from ops.simulate import simulate
from runtime.environment import Misconfigured
from runtime.exit_codes import Exit

app = typer.Typer(
    name="writeback",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Look after the write-back of call outcomes to Dataverse.",
    epilog="Exit codes: 0 all is well; 1 a person must act; 64 wrong usage; 69 unreachable, try again later; "
    "78 misconfigured.",
)
app.add_typer(topics.app, name="topics")
app.command(epilog="Example: writeback demo --calls bank-marketing.csv --items 500")(demo)
app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    epilog="Example: writeback simulate --port 8080",
)(simulate)


def main() -> None:
    """Entry point of the `writeback` script."""
    try:
        app()
    except SystemExit as ended:
        sys.exit(Exit.USAGE if ended.code == _USAGE_OF_TYPER else ended.code)
    except Misconfigured as error:
        typer.echo("\n".join(error.problems), err=True)
        sys.exit(Exit.MISCONFIGURED)


_USAGE_OF_TYPER = 2
"""Typer's exit code for wrong usage. No command uses it otherwise."""
