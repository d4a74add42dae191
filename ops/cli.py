"""`writeback`: the operators' command line. Every command has --help with an example, and exit codes."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from ops.commands import Commands
from ops.settings import chosen_profile
from runtime.errors import Misconfigured, Unavailable
from runtime.exit_codes import Exit, problems_of, startup_exit_code
from runtime.version import VERSION

app = typer.Typer(
    name="writeback",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Look after the write-back of call outcomes to Dataverse.",
    epilog="Exit codes: 0 all is well; 1 a person must act; 2 still queued; 64 wrong usage; 69 unreachable, "
    "try again later; 78 misconfigured.",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"writeback {VERSION}")
        raise typer.Exit


@app.callback()
def _before_every_command(
    profile: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Profile file with settings; variables beat it.")
    ] = None,
    _version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Print the version and end.")
    ] = False,
) -> None:
    chosen_profile.set(profile)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Entry point of the `writeback` script."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = app(args=given, prog_name="writeback", standalone_mode=False)
    except _USAGE_ERROR as error:
        _end(Exit.USAGE, _helpful(error), given)
    except (Misconfigured, Unavailable) as error:
        _end(startup_exit_code(error), problems_of(error), given)
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(_INTERRUPTED)
    sys.exit(code if isinstance(code, int) else Exit.OK)


def _end(code: Exit, problems: Sequence[str], given: Sequence[str]) -> NoReturn:
    """For a script that asked for JSON, in JSON."""
    if "--json" in given:
        typer.echo(json.dumps({"error": "; ".join(problems), "problems": list(problems), "exit_code": int(code)}))
    elif problems:
        typer.echo("\n".join(problems), err=True)
    sys.exit(code)


def _helpful(error: Any) -> list[str]:
    """One line: which command, what is wrong with it, where to read more. A bare group has shown its help already."""
    if type(error).__name__ == "NoArgsIsHelpError":
        return []
    message = " ".join(error.format_message().split())
    if error.ctx is None:
        return [message]
    path = error.ctx.command_path
    return [f"{path}: {message[:1].lower()}{message[1:].rstrip('.')}; see: {path} --help"]


_USAGE_ERROR: Any = typer.BadParameter.__base__
"""Typer exports it under no name of its own."""
_INTERRUPTED = 130
"""As shells count it: 128 and the number of SIGINT."""

if __name__ == "__main__":
    main()
