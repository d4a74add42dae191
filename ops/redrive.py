"""`writeback rejected redrive`: rejected outcomes go to the planner again."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Any

import typer

from ops.actions import By, ForReal, Limit, Sender, Sent, Why, asked, confirmed, now
from ops.core.actions import CEILING, Asked
from ops.core.jobs import exit_of_job
from ops.core.redriving import (
    MOST_REDRIVES,
    REDRIVE,
    Redriven,
    RedriveProgress,
    Rules,
    place_of,
    select,
    sent_action,
)
from ops.jobs import Job
from ops.output import Json, progress, silent
from ops.rejections import Code, Filters, FromSender, OptOuts, Since, Until, chosen
from ops.settings import Settings, read_settings
from ops.view.view import View, headers_of, opened, reader_of
from planner.core.normalisation import crm_id
from runtime.exit_codes import Exit
from schemas import headers
from schemas.codec import Undecodable
from schemas.placement import partition_of
from schemas.records import CallOutcome

_NOT_SENT = {headers.REJECTION_REASONS, headers.REJECTED_BY, headers.REJECTED_FROM, headers.OPT_OUT, headers.REDRIVE}


def redrive(
    code: Code = None,
    sender: FromSender = None,
    opt_out: OptOuts = False,
    since: Since = None,
    until: Until = None,
    rekey: Annotated[
        bool, typer.Option("--rekey", help="Also records with a wrong key or place: sent under their queue item.")
    ] = False,
    anyway: Annotated[bool, typer.Option("--anyway", help="Also records that would be rejected again.")] = False,
    most_redrives: Annotated[
        int, typer.Option("--most-redrives", min=1, help="How often one outcome may be sent again in all.")
    ] = MOST_REDRIVES,
    job: Annotated[
        str | None,
        typer.Option("--job", metavar="JOB", help="Show a redrive that was begun; with --for-real, go on with it."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow until the planner has read every record.")] = False,
    limit: Limit = CEILING,
    for_real: ForReal = False,
    why: Why = "",
    by: By = "",
    as_json: Json = False,
) -> None:
    """Send rejected outcomes to the planner again, unchanged; only shown, unless --for-real is given.

    Says for each reason and sender whether that can help; what would be rejected again is left out. What was sent again
    once and rejected again is not sent a second time. Without --wait, 0 means that it was sent. With --wait, and of a
    --job that is shown: 0 all is well, 1 something was rejected again or not sent, 2 the planner has it before it.
    """
    settings = read_settings()
    if job is None:
        person = asked(settings, for_real=for_real, why=why, by=by)
        filters = Filters(code, sender, opt_out, since, until)
        rules = Rules(rekey=rekey, anyway=anyway, most=most_redrives)
        doing = _begin(settings, filters, rules, person, limit=limit, as_json=as_json)
        if doing is None:
            return
    else:
        doing = Job.begun(settings, REDRIVE, job, for_real=for_real, why=why, by=by)
        if not for_real:
            raise typer.Exit(exit_of_job(doing.show(_came_of, as_json=as_json)))
    _send(doing)
    if wait:
        doing.follow(_came_of)
    found = doing.show(_came_of, as_json=as_json)
    raise typer.Exit(exit_of_job(found) if wait else Exit.OK)


def _begin(
    settings: Settings, filters: Filters, rules: Rules, person: Asked, *, limit: int, as_json: bool
) -> Job | None:
    """Selects, asks and records. None if nothing is to be done."""
    with opened(settings) as view:
        outcomes = settings.broker.topics.call_outcomes_rejected.name
        selection = select(chosen(view, filters), rules, view.store.redriven(), outcomes=outcomes)
    described = filters.described()
    if not confirmed(selection.preview(described), person, limit=limit, as_json=as_json):
        return None
    places = selection.chosen
    details = rules.details(described, len(places))
    return Job.begin(settings, REDRIVE, person, places, count=len(places), details=details)


def _send(job: Job) -> None:
    """Part by part; each part that was sent is noted, so that an interrupted job repeats one part at most. The planner
    makes nothing twice of what it gets twice (P1).
    """
    with opened(job.settings, on_progress=silent) as view, Sender(job.settings) as sender:
        parts, done = list(view.store.job_parts(job.name)), view.store.redriven_parts_done(job.name)
        total, sent = sum(map(len, parts)), 0
        with progress(f"{job}:") as shown:
            for part, places in enumerate(parts):
                if part not in done:
                    sender.send(_copies(view, view.store.rejected_at(places), job))
                    sender.record(sent_action(job.person, job.name, part, len(places), at=now()))
                sent += len(places)
                shown("outcomes sent", sent, total)


def _copies(view: View, rows: Sequence[dict[str, Any]], job: Job) -> list[Sent]:
    """What retention has taken meanwhile is gone."""
    topics = view.settings.broker.topics
    codec = reader_of(CallOutcome, view.settings)
    places = {place_of(row): (row["partition"], row["offset"]) for row in rows}
    found = view.logs.records(topics.call_outcomes_rejected.name, list(places.values()))
    copies = []
    for row in rows:
        if (message := found.get(places[place_of(row)])) is None:
            continue
        key, value = message.key(), message.value()
        if job.details["rekey"] and value is not None:
            with suppress(Undecodable):  # it keeps its key
                key = crm_id(codec.decode(value).queue_item_id).encode()
        kept = [each for each in headers_of(message) if each[0] not in _NOT_SENT]
        copies.append(
            Sent(
                topics.call_outcomes.name,
                partition_of(key or b"", view.partitions),
                key,
                value,
                [*_without_counts(kept), *_marks(row, job)],
            )
        )
    return copies


def _without_counts(kept: headers.Headers) -> list[tuple[str, bytes]]:
    return [each for each in kept if each[0] not in (headers.REDRIVE_COUNT, headers.REDRIVEN_FROM)]


def _marks(row: dict[str, Any], job: Job) -> list[tuple[str, bytes]]:
    return [
        job.person.header(headers.REDRIVE, job=job.name),
        (headers.REDRIVE_COUNT, str(row["redrives"] + 1).encode()),
        (headers.REDRIVEN_FROM, place_of(row).encode()),
    ]


def _came_of(view: View, job: str) -> RedriveProgress:
    settings, store = view.settings, view.store
    topic = settings.broker.topics.call_outcomes.name
    group = settings.group_id(settings.planner_group)
    waits = view.logs.waiting(group, topic, range(view.partitions))[0] > 0
    done = store.redriven_parts_done(job)
    came = []
    for part, places in enumerate(store.job_parts(job)):
        sessions = {place_of(row): row["session"] for row in store.rejected_at(places)}
        for place in places:
            again, session = store.rejected_again(place), sessions.get(place)
            row = store.session(session) if session else None
            codes = tuple(again["codes"].split()) if again else None
            planned = row is not None and row["plan_offset"] is not None
            came.append(Redriven(place, part in done, codes, planned, waits))
    return RedriveProgress(tuple(came))
