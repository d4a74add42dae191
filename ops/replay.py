"""`writeback replay`: the same plans again, with the writers running."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import Annotated, Any

import typer

from ops.actions import By, ForReal, Limit, Sender, Sent, Why, asked, confirmed, job_id, now
from ops.core.actions import CEILING, Asked, planned_ms, sent_again
from ops.core.replaying import (
    PART,
    REPLAY,
    REPLAY_DONE,
    Progress,
    Selection,
    job_action,
    part_action,
    pauses,
)
from ops.core.selectors import Selectors
from ops.groups import Groups
from ops.options import with_selectors
from ops.output import Json, console, json_line, progress
from ops.settings import Settings, read_settings
from ops.view.view import View, headers_of, opened
from runtime.exit_codes import Exit
from schemas import headers

_LOOK_EVERY_S = 2.0
_AT_ONCE = 100
"""Plans that are appended and acknowledged together, if no rate is asked for."""


@with_selectors
def replay(
    *,
    selectors: Selectors,
    job: Annotated[
        str | None,
        typer.Option("--job", metavar="JOB", help="Show a replay that was begun; with --for-real, go on with it."),
    ] = None,
    rate: Annotated[float, typer.Option("--rate", min=0, help="Most plans to append in a second; 0: no limit.")] = 0,
    wait: Annotated[bool, typer.Option("--wait", help="Follow until every session is settled.")] = False,
    limit: Limit = CEILING,
    for_real: ForReal = False,
    why: Why = "",
    by: By = "",
    as_json: Json = False,
) -> None:
    """Have the writer try the same plans again, while it runs; only shown, unless --for-real is given.

    Shows sessions and the requests it costs first. The order of each queue item stays. What landed or was closed is
    recognised, and nothing is sent for it. Only what is selected when it begins is replayed. After an interruption,
    --job goes on where it stopped. Where the plan itself is wrong a replay cannot help: `writeback replan` makes a new
    one. With --wait, exit code 1 if a session still needs a person.
    """
    settings = read_settings()
    if job is None:
        person = asked(settings, for_real=for_real, why=why, by=by)
        job = _begin(settings, selectors, person, rate, limit=limit, as_json=as_json)
        if job is None:
            return
    else:
        if selectors != Selectors():
            raise typer.BadParameter("a job has its sessions already: give no selectors", param_hint="--job")
        person = asked(settings, for_real=for_real, why=why or _why_begun(settings, job), by=by)
        if not for_real:
            _show(settings, job, as_json=as_json)
            return
    _append(settings, _Job(job, person, rate))
    if not as_json:
        typer.echo(f"replay {job}: appended; `writeback replay --job {job}` shows what came of it", err=True)
    if wait:
        _follow(settings, job)
    found = _show(settings, job, as_json=as_json)
    raise typer.Exit(Exit.ACT if wait and found.needs_a_person else Exit.OK)


@dataclass(frozen=True, slots=True)
class _Job:
    name: str
    person: Asked
    rate: float


def _begin(
    settings: Settings, selectors: Selectors, person: Asked, rate: float, *, limit: int, as_json: bool
) -> str | None:
    """Selects, asks and records. The job's name; None if nothing is to be done."""
    with opened(settings) as view:
        selection = view.store.select_replay(selectors)
        preview = selection.preview(selectors.described())
        if not confirmed(preview, person, limit=limit, as_json=as_json):
            return None
        _warn_if_nobody_reads(settings)
        job = job_id()
        with Sender(settings) as sender:
            _record(sender, view, selection, person, job, selectors.described(), rate)
    typer.echo(f"replay {job}: if it is interrupted, `writeback replay --job {job} --for-real` goes on", err=True)
    return job


def _record(
    sender: Sender, view: View, selection: Selection, person: Asked, job: str, selected: str, rate: float
) -> None:
    sessions = selection.count + selection.behind
    sender.record(job_action(person, job, selection, selected, at=now(), rate=rate, sessions=sessions))
    for number, part in enumerate(_parts(view.store.selected_for_replay())):
        sender.record(part_action(person, job, number, part, at=now()))


def _parts(sessions: Iterator[str]) -> Iterator[list[str]]:
    while part := list(islice(sessions, PART)):
        yield part


def _why_begun(settings: Settings, job: str) -> str:
    """Raises typer.Exit if it never was."""
    with opened(settings) as view:
        found = [each for each in view.store.actions() if (each["action"], each["about"]) == (REPLAY, job)]
        recorded = sum(len(part) for part in view.store.job_parts(job))
    if not found:
        typer.echo(f"there is no replay {job} on operator-actions", err=True)
        raise typer.Exit(Exit.ACT)
    [first] = found
    if missing := first["details"]["sessions"] - recorded:
        typer.echo(
            f"replay {job} was interrupted before it was recorded whole: {missing:,} of its sessions are not in it; "
            f"select them again ({first['details']['selected']})",
            err=True,
        )
    return str(first["why"])


def _append(settings: Settings, job: _Job) -> None:
    """Part by part. Between two parts the view is brought up to date, so that a plan that was requeued, planned anew or
    retired meanwhile is taken as it is now.
    """
    began, appended = time.monotonic(), 0
    with progress(f"replay {job.name}:") as shown, Sender(settings) as sender:
        parts: Iterable[int] = count()
        while parts:
            moved, before = [], appended
            for number in parts:
                with opened(settings, on_progress=_silent) as view:
                    if (part := view.store.job_part(job.name, number)) is None:
                        break
                    left = [row for row in view.store.plans_of(part) if row["job"] != job.name]
                    copies = _copies(view, left, job)
                if len(copies) < len(left):
                    moved.append(number)
                for some in _some(copies, job.rate):
                    time.sleep(pauses(job.rate, appended, time.monotonic() - began))
                    sender.send(some)
                    appended += len(some)
                shown("plans appended", appended, appended)
            parts = moved if appended > before else ()  # once more what a writer moved meanwhile
        sender.record(
            job.person.action(REPLAY_DONE, about=job.name, count=appended, at=now(), details={"appended": appended})
        )


def _some(copies: Sequence[Sent], rate: float) -> Iterator[Sequence[Sent]]:
    """So many as are appended at once: those of a second, or a hundred."""
    size = min(_AT_ONCE, max(1, int(rate))) if rate else _AT_ONCE
    for start in range(0, len(copies), size):
        yield copies[start : start + size]


def _copies(view: View, rows: Sequence[dict[str, Any]], job: _Job) -> list[Sent]:
    """What is not on the topic any more was replaced since the view was read: the next look finds it."""
    topic = view.settings.broker.topics.planned_writebacks.name
    places = {row["session"]: (row["plan_partition"], row["plan_offset"]) for row in rows}
    found = view.logs.records(topic, list(places.values()))
    copies = []
    for row in rows:
        message = found.get(places[row["session"]])
        if message is None or message.value() is None:
            continue
        kept = headers_of(message)
        more = {"job": job.name, "planned_ms": str(planned_ms(kept, message.timestamp()[1]))}
        if row["first_settled_ms"] is not None and row["settled_as"] is not None:
            more["first_settled_ms"] = str(row["first_settled_ms"])
        mark = job.person.header(headers.REPLAY, **more)
        again = sent_again(kept, mark, unsettled=bool(row["unsettled"]))
        copies.append(Sent(topic, row["plan_partition"], message.key(), message.value(), again))
    return copies


def _follow(settings: Settings, job: str) -> None:
    """Until every session is settled; as seldom as a look takes long."""
    with progress(f"replay {job}:") as shown:
        while True:
            began = time.monotonic()
            with opened(settings, on_progress=_silent) as view:
                came = view.store.came_of(job)
            shown("sessions settled", came.settled, came.sessions)
            if came.done or came.to_append:
                return
            time.sleep(max(_LOOK_EVERY_S, 3 * (time.monotonic() - began)))


def _show(settings: Settings, job: str, *, as_json: bool) -> Progress:
    with opened(settings, on_progress=_silent) as view:
        came = view.store.came_of(job)
    if as_json:
        json_line(came.as_json(job))
    else:
        out = console()
        out.print(f"replay {job}: {came.settled:,} of {came.sessions:,} sessions are settled")
        for line in came.lines():
            out.print(f"  {line}")
        if came.to_append:
            out.print(f"`writeback replay --job {job} --for-real` appends the rest")
    return came


def _warn_if_nobody_reads(settings: Settings) -> None:
    if Groups(settings).is_active(settings.group_id(settings.writer_group)) is False:
        typer.echo("no writer is running now: the plans are tried when one is started", err=True)


def _silent(what: str, done: int, total: int) -> None:
    """The job's own progress is shown."""
