"""`writeback replay`: the same plans again, with the writers running."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from typing import Annotated, Any

import typer

from ops.actions import By, ForReal, Limit, Sender, Sent, Why, asked, confirmed, now
from ops.core.actions import CEILING, Asked, planned_ms, sent_again
from ops.core.jobs import exit_of_job
from ops.core.replaying import REPLAY, REPLAY_DONE, ReplayProgress, pauses
from ops.core.selectors import Selectors
from ops.groups import Groups
from ops.jobs import Job
from ops.options import with_selectors
from ops.output import Json, progress, silent
from ops.settings import Settings, read_settings
from ops.view.view import View, headers_of, opened
from runtime.exit_codes import Exit
from schemas import headers

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
    one. Exit code 1 if nothing was replayed and a session that you named is not known. Without --wait, 0 means that the
    plans were sent. With --wait, and of a --job that is shown: 0 all is well, 1 a session needs a person or was not
    sent, 2 the writer has some before it.
    """
    settings = read_settings()
    if job is None:
        person = asked(settings, for_real=for_real, why=why, by=by)
        doing = _begin(settings, selectors, person, rate, limit=limit, as_json=as_json)
        if doing is None:
            return
    else:
        if selectors != Selectors():
            raise typer.BadParameter("a job has its sessions already: give no selectors", param_hint="--job")
        doing = Job.begun(settings, REPLAY, job, for_real=for_real, why=why, by=by)
        if not for_real:
            raise typer.Exit(exit_of_job(doing.show(_came_of, as_json=as_json)))
    _append(doing, rate)
    if not as_json:
        typer.echo(f"{doing}: appended; `writeback replay --job {doing.name}` shows what came of it", err=True)
    if wait:
        doing.follow(_came_of)
    found = doing.show(_came_of, as_json=as_json)
    raise typer.Exit(exit_of_job(found) if wait else Exit.OK)


def _begin(
    settings: Settings, selectors: Selectors, person: Asked, rate: float, *, limit: int, as_json: bool
) -> Job | None:
    """Selects, asks and records. None if nothing is to be done; raises typer.Exit if that is because of a session that
    nobody knows.
    """
    with opened(settings) as view:
        selection, described = view.store.select_replay(selectors), selectors.described()
        if not confirmed(selection.preview(described), person, limit=limit, as_json=as_json):
            if selection.unknown:
                raise typer.Exit(Exit.ACT)
            return None
        _warn_if_nobody_reads(settings)
        items, details = view.store.selected_for_replay(), selection.details(described, rate)
        return Job.begin(settings, REPLAY, person, items, count=selection.count, details=details)


def _came_of(view: View, job: str) -> ReplayProgress:
    return view.store.came_of(job)


def _append(job: Job, rate: float) -> None:
    """Part by part. Between two parts the view is brought up to date, so that a plan that was requeued, planned anew or
    retired meanwhile is taken as it is now.
    """
    began, appended = time.monotonic(), 0
    with progress(f"{job}:") as shown, Sender(job.settings) as sender:
        parts: Iterable[int] = count()
        while parts:
            moved, before = [], appended
            for number in parts:
                with opened(job.settings, on_progress=silent) as view:
                    if (part := view.store.job_part(job.name, number)) is None:
                        break
                    left = [row for row in view.store.plans_of(part) if row["job"] != job.name]
                    copies = _copies(view, left, job)
                if len(copies) < len(left):
                    moved.append(number)
                for some in _some(copies, rate):
                    time.sleep(pauses(rate, appended, time.monotonic() - began))
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


def _copies(view: View, rows: Sequence[dict[str, Any]], job: Job) -> list[Sent]:
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


def _warn_if_nobody_reads(settings: Settings) -> None:
    if Groups(settings).is_active(settings.group_id(settings.writer_group)) is False:
        typer.echo("no writer is running now: the plans are tried when one is started", err=True)
