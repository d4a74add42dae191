"""`writeback`: the operators' command line. Every command has --help with an example, and exit codes."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from ops import (
    doctor,
    forget,
    mapping,
    outcome,
    queue,
    rejected,
    replan,
    replay,
    resolve,
    retire,
    rewind,
    status,
    topics,
    trace,
)
from ops.crm import CrmRefuses, CrmUnavailable
from ops.demo.command import demo
from ops.settings import Settings, chosen_profile
from ops.simulate import simulate
from ops.view.view import ViewDamaged
from runtime import environment
from runtime.errors import Misconfigured, Unavailable
from runtime.exit_codes import Exit
from runtime.version import VERSION

app = typer.Typer(
    name="writeback",
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


@app.command(epilog="Example: writeback settings --json")
def settings(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")] = False,
) -> None:
    """List every setting: its variable, its default and what it does. Shows no value that is set."""
    for each in environment.describe(Settings):
        if as_json:
            typer.echo(json.dumps(each._asdict(), ensure_ascii=False))
        else:
            typer.echo(f"{each.name}{f' (default: {each.default})' if each.default else ''}\n    {each.description}")


app.command("status", epilog="Example: writeback status --campaign ID --since 2h")(status.status)
app.command("list", epilog="Example: writeback list --opt-out open --json")(status.list_)
app.command("watch", epilog="Example: writeback watch --every 5")(status.watch)
app.command("trace", epilog="Example: writeback trace sess-000001; writeback trace --queue-item ID --json")(trace.trace)
app.command("doctor", epilog="Example: writeback doctor --only topics --only sign-in --json")(doctor.doctor)
app.add_typer(mapping.app, name="mapping")
app.add_typer(outcome.app, name="outcome")
app.add_typer(rejected.app, name="rejected")
app.command(
    "replay",
    epilog="Example: writeback replay --block-reason metadata --for-real --reason 'column made' --wait",
)(replay.replay)
app.command("rewind", epilog="Example: writeback rewind writer --to-time 2h --for-real --reason 'mapping corrected'")(
    rewind.rewind
)
app.command("next", epilog="Example: writeback next --campaign ID --count 5; writeback next --queue-item ID --json")(
    queue.next_
)
app.command("claim", epilog="Example: writeback claim --campaign ID --token call-0001 --json")(queue.claim)
app.command(
    "release",
    epilog="Example: writeback release --token call-0001; "
    "writeback release --stale-after 4h --for-real --reason 'the dialler was restarted'",
)(queue.release)
app.command(
    "replan", epilog="Example: writeback replan --all --mapping 3f9a52c1 --for-real --reason 'status corrected'"
)(replan.replan)
app.command(
    "resolve", epilog="Example: writeback resolve sess-000001 --apply --seen 4711 --for-real --reason 'note read'"
)(resolve.resolve)
app.command("forget", epilog="Example: writeback forget --queue-item ID --for-real --reason 'request 17'")(
    forget.forget
)
app.command("retire", epilog="Example: writeback retire --for-real --reason nightly --limit 0 --json")(retire.retire)
app.add_typer(topics.app, name="topics")
app.command(epilog="Example: writeback demo --keep; writeback demo --calls bank-marketing.csv --items 500")(demo)
app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    epilog="Example: writeback simulate --port 8080",
)(simulate)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Entry point of the `writeback` script."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = app(args=given, prog_name="writeback", standalone_mode=False)
    except _USAGE_ERROR as error:
        _end(Exit.USAGE, _helpful(error), given)
    except Misconfigured as error:
        _end(Exit.MISCONFIGURED, error.problems, given)
    except CrmRefuses as error:
        _end(Exit.MISCONFIGURED, [str(error)], given)
    except (Unavailable, CrmUnavailable, ViewDamaged) as error:
        _end(Exit.UNAVAILABLE, [str(error)], given)
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
