"""`writeback status`, `list` and `watch`: the state of the system, and the sessions that were asked for."""

from __future__ import annotations

import time
from typing import Annotated

import typer
from rich.console import Group
from rich.live import Live

from ops.core.counting import number_of
from ops.core.overview import Backlog, Overview, urgent_first
from ops.core.rendering import as_json_row, change, line, row_of, shown, summary
from ops.core.selectors import Selectors, Sort
from ops.core.tables import table
from ops.core.times import iso
from ops.core.verdicts import CommandVerdict, exit_of, exit_of_counts
from ops.groups import Groups
from ops.options import with_selectors
from ops.output import Json, console, json_line, silent
from ops.settings import read_settings
from ops.view.view import View, opened


@with_selectors
def status(*, selectors: Selectors, as_json: Json = False) -> None:
    """Count sessions by status and reason, with how far planner and writer are behind; open opt-outs first.

    Selectors choose among the sessions. Outcomes that were rejected, and those that are not planned yet, belong to no
    session: all of them are counted. Exit code 1 if anything needs a person: blocked sessions (eligibility aside),
    sessions that were passed over, rejected opt-outs, a planner or a writer that has work before it and does not run. 2
    if nothing does and sessions are still queued.
    """
    with opened(read_settings()) as view:
        found = overview(view, selectors)
        _warn(view)
    if as_json:
        json_line(found.as_json())
    else:
        console().print(shown(found))
    raise typer.Exit(verdict(found))


@with_selectors
def list_(
    *,
    selectors: Selectors,
    sort: Annotated[
        Sort, typer.Option(help="By urgency: open opt-outs first, then what needs a person.")
    ] = Sort.URGENT,
    limit: Annotated[int, typer.Option(min=0, help="Most sessions to show; 0: all.")] = 100,
    as_json: Json = False,
) -> None:
    """List sessions with what is said of them, the most urgent first. Open opt-outs are red.

    Exit codes, of all that were selected: 0 all is well, 1 a person must act, 2 still queued.
    """
    with opened(read_settings()) as view:
        found = view.store.count(selectors)
        sessions = view.store.sessions(selectors, sort=sort, limit=limit or None)
        _warn(view)
        code = exit_of_counts(view.store.counts(selectors))
        if as_json:
            for row in sessions:
                json_line(as_json_row(row))
            raise typer.Exit(code)
        rows = [row_of(row, view.at_ms) for row in sessions]
    out = console()
    if rows:
        out.print(table(("session", "queue item", "status", "disposition", "planned", "what is said"), rows))
    out.print(summary(found, len(rows), selectors))
    raise typer.Exit(code)


@with_selectors
def watch(
    *,
    selectors: Selectors,
    every: Annotated[float, typer.Option(min=0.2, help="Seconds between two looks.")] = 2.0,
    times: Annotated[int, typer.Option(min=0, help="End after so many looks; 0: until Ctrl-C.")] = 0,
    as_json: Json = False,
) -> None:
    """Show `status` again and again, with what changed since the look before; until Ctrl-C.

    Not on a terminal, it prints one line for each look. With --times, the exit code is that of `status` at the last
    look.
    """
    settings = read_settings()
    out = console()
    before: Overview | None = None
    looks = 0
    with Live(console=out, auto_refresh=False, transient=False) as live:
        while True:
            with opened(settings, on_progress=silent) as view:
                found = overview(view, selectors)
            looks += 1
            if as_json:
                json_line({"at": iso(found.at_ms), **found.as_json()})
            elif out.is_terminal:
                live.update(Group(shown(found), change(before, found)), refresh=True)
            else:
                typer.echo(line(found, before))
            if looks == times:
                raise typer.Exit(verdict(found))
            before = found
            time.sleep(every)


def overview(view: View, selectors: Selectors) -> Overview:
    rejected = view.store.rejected_counts()
    rows = urgent_first(view.store.counts(selectors))
    groups = Groups(view.settings)
    return Overview(
        at_ms=view.at_ms,
        rows=rows,
        oldest_unsettled_ms=view.store.oldest_unsettled_ms(selectors),
        outcomes=_outcomes_waiting(view),
        rejected_opt_outs=sum(row["opt_outs"] for row in rejected),
        rejected=sum(row["records"] for row in rejected),
        planner_runs=groups.is_active(view.settings.group_id(view.settings.planner_group)),
        writer_runs=groups.is_active(view.settings.group_id(view.settings.writer_group)),
    )


def _outcomes_waiting(view: View) -> Backlog:
    settings = view.settings
    topic = settings.broker.topics.call_outcomes.name
    records, oldest_ms = view.logs.waiting(settings.group_id(settings.planner_group), topic, range(view.partitions))
    return Backlog(records, oldest_ms)


def verdict(found: Overview) -> CommandVerdict:
    return exit_of(act=found.needs_a_person(), wait=found.unsettled > 0)


def _warn(view: View) -> None:
    if view.made_anew:
        typer.echo(f"the local view was made anew: {view.made_anew}", err=True)
    for topic, count in view.unreadable.items():
        typer.echo(
            f"{number_of(count, 'record')} of {topic} cannot be read by this version; is their writer newer?", err=True
        )
