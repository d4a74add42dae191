"""`writeback replan`: a new plan from the same outcome, for sessions of which nothing was written."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import typer
from confluent_kafka import Message

from ops.actions import By, ForReal, Limit, Sender, Sent, Why, asked, confirmed, job_id, now
from ops.core.actions import CEILING, Asked
from ops.core.replanning import (
    PART,
    REPLAN,
    Copy,
    OutcomePlace,
    ReplanSelection,
    ReplanState,
    came_of,
    header,
    kept_until,
    place_of,
    why_not,
)
from ops.core.selectors import NEVER_PLANNED, Selectors
from ops.core.sessions import Status
from ops.groups import Groups
from ops.options import with_selectors
from ops.output import Json, console, json_line, progress, silent
from ops.settings import Settings, read_settings
from ops.view.view import View, headers_of, opened, reader_of
from runtime.errors import RegistryUnavailable
from runtime.exit_codes import Exit
from schemas.codec import Undecodable
from schemas.records import CallOutcome

_LOOK_EVERY_S = 2.0


@with_selectors
def replan(
    *,
    selectors: Selectors,
    every: Annotated[
        bool, typer.Option("--all", help="All that are selected, however many; needed unless --session names them.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Follow until every session is settled.")] = False,
    limit: Limit = CEILING,
    for_real: ForReal = False,
    why: Why = "",
    by: By = "",
    as_json: Json = False,
) -> None:
    """Have sessions planned anew with today's mapping, from the same outcomes; only shown, unless --for-real is given.

    Only for blocked sessions of which nothing was written. Start the planner with the corrected mapping first: --all
    --mapping OLD selects what was planned with the old one. The planner replaces exactly the plan that is shown, and
    the writer carries the new one out. With --wait, exit code 1 if a session still needs a person.
    """
    if not (every or selectors.session):
        raise typer.BadParameter("name sessions with --session, or give --all with or without selectors")
    settings = read_settings()
    person = asked(settings, for_real=for_real, why=why, by=by)
    with opened(settings) as view:
        chosen, selection = _selected(view, selectors)
        if not confirmed(selection.preview(selectors.described()), person, limit=limit, as_json=as_json):
            raise typer.Exit(Exit.ACT if selection.gone or not selection.chosen else Exit.OK)
        copies = _send(settings, chosen, person, selectors.described())
    if not wait:
        typer.echo("sent; writeback trace SESSION, or this command with --wait, shows what comes of it", err=True)
        raise typer.Exit(Exit.ACT if selection.gone else Exit.OK)
    came = _follow(settings, copies)
    _tell(came, as_json=as_json)
    raise typer.Exit(Exit.OK if all(each.ok for each in came.values()) and not selection.gone else Exit.ACT)


@dataclass(frozen=True, slots=True)
class _Chosen:
    session: str
    digest: str
    outcome: Message


def _selected(view: View, selectors: Selectors) -> tuple[list[_Chosen], ReplanSelection]:
    """Sessions by name are judged each; of others only those that are blocked."""
    if not selectors.session and not selectors.status:
        selectors = replace(selectors, status=[Status.BLOCKED])
    left_out: Counter[str] = Counter()
    rows: dict[str, Mapping[str, Any]] = {}
    for row in view.store.sessions(selectors):
        if (why := why_not(row)) is None:
            rows[row["session"]] = row
        else:
            left_out[why] += 1
    if unknown := view.store.unknown(selectors):
        left_out[NEVER_PLANNED] += unknown
    found = _outcomes(view, rows)
    chosen = [_Chosen(name, str(rows[name]["digest"]), message) for name, message in found.items()]
    gone = {name: _kept_until(view, row) for name, row in rows.items() if name not in found}
    return chosen, ReplanSelection([each.session for each in chosen], gone, dict(left_out))


def _outcomes(view: View, rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Message]:
    """Session to its outcome, in the order of the topic, as far as it is still there."""
    topic = view.settings.broker.topics.call_outcomes.name
    places = {name: place_of(row["source"]) for name, row in rows.items()}
    ours = {name: place for name, place in places.items() if place.topic == topic}
    there = _within_the_log(view, topic, ours)
    messages = view.logs.records(topic, [(place.partition, place.offset) for place in there.values()])
    codec = reader_of(CallOutcome, view.settings)
    found = {}
    for name, place in sorted(there.items(), key=lambda each: (each[1].partition, each[1].offset)):
        message = messages.get((place.partition, place.offset))
        try:
            outcome = codec.decode(message.value() or b"") if message else None
        except (Undecodable, RegistryUnavailable):
            outcome = None
        if message is not None and outcome is not None and outcome.session_id.strip() == name:
            found[name] = message
    return found


def _within_the_log(view: View, topic: str, places: Mapping[str, OutcomePlace]) -> dict[str, OutcomePlace]:
    marks = view.logs.marks(topic, range(view.partitions)) if places else {}
    return {
        name: place
        for name, place in places.items()
        if place.partition in marks and marks[place.partition][0] <= place.offset < marks[place.partition][1]
    }


def _kept_until(view: View, row: Mapping[str, Any]) -> str:
    facts = view.logs.topics()[view.settings.broker.topics.call_outcomes.name]
    retention = (facts.config or {}).get("retention.ms")
    return kept_until(int(row["planned_ms"]), int(retention) if retention else None)


def _send(settings: Settings, chosen: Sequence[_Chosen], person: Asked, selected: str) -> list[Copy]:
    """Recorded first. The same key, bytes and partition as before."""
    topic = settings.broker.topics.call_outcomes.name
    about = chosen[0].session if len(chosen) == 1 else job_id()
    copies: list[Copy] = []
    with Sender(settings) as sender:
        for start in range(0, len(chosen), PART):
            part = chosen[start : start + PART]
            details = {"selected": selected, "sessions": [[each.session, each.digest] for each in part]}
            sender.record(person.action(REPLAN, about=about, count=len(part), at=now(), details=details))
            records = [
                Sent(
                    topic, int(each.outcome.partition() or 0), each.outcome.key(), each.outcome.value(),
                    header(headers_of(each.outcome), each.digest, person),
                )
                for each in part
            ]  # fmt: skip
            offsets = sender.send(records)
            copies += [
                Copy(each.session, each.digest, record.partition, offset)
                for each, record, offset in zip(part, records, offsets, strict=True)
            ]
    return copies


def _follow(settings: Settings, copies: Sequence[Copy]) -> dict[str, ReplanState]:
    """Until nothing more comes of any of them."""
    topic, group = settings.broker.topics.call_outcomes.name, settings.group_id(settings.planner_group)
    groups = Groups(settings)
    for service, name in (("planner", group), ("writer", settings.group_id(settings.writer_group))):
        if groups.is_active(name) is False:
            typer.echo(f"no {service} is running now: start one, or nothing comes of it", err=True)
    with progress("replan:") as shown:
        while True:
            partitions = {each.partition for each in copies}
            with opened(settings, on_progress=silent) as view:
                at = {each.partition: each.offset for each in view.logs.offsets(group, topic, partitions)}
                came = {each.session: _came(view, each, topic, at.get(each.partition, 0)) for each in copies}
            shown("sessions settled", sum(each.done for each in came.values()), len(came))
            if all(each.done for each in came.values()):
                return came
            time.sleep(_LOOK_EVERY_S)


def _came(view: View, copy: Copy, topic: str, planner_at: int) -> ReplanState:
    rejected = view.store.rejected("source = ?", [f"{topic}/{copy.partition}/{copy.offset}"], limit=1)
    codes = str(rejected[0]["codes"]) if rejected else None
    return came_of(copy, view.store.session(copy.session), planner_at=planner_at, rejected=codes)


def _tell(came: Mapping[str, ReplanState], *, as_json: bool) -> None:
    if as_json:
        for session, each in came.items():
            json_line({"session_id": session, "what": each.what, "needs_a_person": not each.ok})
        return
    for what, count in Counter(each.what for each in came.values()).most_common():
        console().print(f"{count:,} {what}", markup=False)
