"""`writeback trace`: one session's story across the topics and the CRM, or all sessions of a queue item in order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from ops import crm
from ops.core import story
from ops.core.rendering import as_json_row, row_of
from ops.core.selectors import Selectors, Sort
from ops.core.sessions import Status
from ops.core.story import Event, Story
from ops.core.tables import table
from ops.core.times import iso
from ops.core.values import StepNow, step_now
from ops.core.verdicts import exit_of, row_needs_a_person
from ops.errors import CrmUnavailable
from ops.output import Json, console, json_line
from ops.settings import read_settings
from ops.view.view import View, opened, reader_of
from runtime.errors import Misconfigured
from schemas.codec import Undecodable
from schemas.records import CallOutcome, PlannedWriteback, WritebackResult

NoCrm = Annotated[bool, typer.Option("--no-crm", help="Do not look into the CRM.")]


def trace(
    session: Annotated[str | None, typer.Argument(metavar="SESSION", show_default=False, help="Session id.")] = None,
    queue_item: Annotated[
        str | None, typer.Option("--queue-item", metavar="ID", help="All sessions of this queue item, in order.")
    ] = None,
    no_crm: NoCrm = False,
    as_json: Json = False,
) -> None:
    """Tell one session's story: outcome, plan step by step, requeues, results, and what the CRM holds now.

    Texts are shown as their length (subjects and descriptions are personal data); whether the CRM holds what was
    planned is said of every column. Exit codes: 0 landed or closed, 1 a person must act, 2 still queued.
    """
    if (session is None) == (queue_item is None):
        raise typer.BadParameter("give either a session id or --queue-item ID")
    with opened(read_settings()) as view:
        if session is not None:
            code = _session(view, session, look=not no_crm, as_json=as_json)
        else:
            code = _queue_item(view, str(queue_item).lower(), as_json=as_json)
    raise typer.Exit(code)


def _session(view: View, session: str, *, look: bool, as_json: bool) -> int:
    found = story_of(view, session, look=look)
    if as_json:
        json_line(found.as_json(as_json_row(dict(found.row)) if found.row else None))
    else:
        console().print(shown(found, view.at_ms))
    return found.exit_code


def _queue_item(view: View, queue_item: str, *, as_json: bool) -> int:
    rows = sorted(view.store.sessions(Selectors(queue_item=[queue_item]), sort=Sort.QUEUE_ITEM), key=_outcome_order)
    if as_json:
        for row in rows:
            json_line(as_json_row(row))
    elif rows:
        listed = [row_of(row, view.at_ms) for row in rows]
        console().print(table(("session", "queue item", "status", "disposition", "planned", "what is said"), listed))
    else:
        typer.echo(f"no session of queue item {queue_item} was ever planned; see: writeback rejected list", err=True)
    act = not rows or any(map(row_needs_a_person, rows))
    return exit_of(act=act, wait=any(row["unsettled"] for row in rows))


def _outcome_order(row: Mapping[str, Any]) -> tuple[int, int]:
    """As their outcomes are on the topic; without a plan, by time."""
    offset = str(row["source"] or "").rpartition("/")[2]
    return (int(offset), 0) if offset.isdigit() else (2**63, row["settled_ms"] or 0)


def story_of(view: View, session: str, *, look: bool) -> Story:
    row = view.store.session(session)
    topics = view.settings.broker.topics
    events = [story.of_rejection(each) for each in view.store.rejected("session = ?", [session])]
    if row is None:
        return Story(session, None, None, tuple(story.in_order(events)), crm="the session was never planned")
    planned, results = topics.planned_writebacks.name, topics.writeback_results.name
    events += [story.of_earlier(each, planned=planned, results=results) for each in view.store.earlier(session)]
    events += [story.of_action(each, topics.operator_actions.name) for each in view.store.actions_on(session)]
    plan = None
    if row["plan_offset"] is not None:
        plan = _record(view, PlannedWriteback, planned, row["plan_partition"], row["plan_offset"])
        events.append(story.of_outcome(row, _outcome(view, plan)))
        events.append(story.of_plan(row, planned))
    for topic, place, dry_run in (
        (results, (row["result_partition"], row["result_offset"]), False),
        (topics.writeback_dry_run.name, view.store.dry_run(session) or (None, None), True),
    ):
        if place[1] is not None and (result := _record(view, WritebackResult, topic, *place)) is not None:
            events.append(story.of_result(result, topic, *place, dry_run=dry_run))
    steps, why = _crm(view, plan, look=look)
    return Story(session, Status(row["status"]), row, tuple(story.in_order(events)), steps, why)


def _outcome(view: View, plan: PlannedWriteback | None) -> Mapping[str, Any] | None:
    """What the call system said, without its texts. A plan may come from a topic that had another name then."""
    if plan is None or plan.source.topic != view.settings.broker.topics.call_outcomes.name:
        return None
    found = _record(view, CallOutcome, plan.source.topic, plan.source.partition, plan.source.offset)
    if found is None or found.session_id.strip() != plan.session_id:
        return None
    baseline = found.baseline
    return {
        "disposition": found.disposition,
        "opt-out": found.opt_out or None,
        "review reason": found.human_review_reason,
        "failing rules": ",".join(found.failing_rules),
        "row when it was taken": f"etag {baseline.etag}, status {baseline.status}, attempts {baseline.attempt_count}",
    }


def _record(view: View, cls: Any, topic: str, partition: int, offset: int) -> Any:
    """None if it is not there any more, or cannot be read."""
    message = view.logs.record(topic, partition, offset)
    value = message.value() if message else None
    try:
        return None if value is None else reader_of(cls, view.settings).decode(value)
    except Undecodable:
        return None


def _crm(view: View, plan: PlannedWriteback | None, *, look: bool) -> tuple[tuple[StepNow, ...], str | None]:
    """Every step beside its record, and why the CRM was not looked at, if it was not."""
    if plan is None or not plan.steps:
        return (), "there is no plan any more"
    why = None if look else "--no-crm"
    if why is None and not crm.is_configured(view.settings):
        why = crm.NOT_CONFIGURED
    rows: Mapping[crm.Place, Mapping[str, Any] | None] = {}
    if why is None:
        try:
            rows = crm.read_records(view.settings, [(step.entity_set, step.record_id) for step in plan.steps]).rows
        except (CrmUnavailable, Misconfigured) as error:
            why = str(error)
    steps = [
        step_now(step, rows.get((step.entity_set, step.record_id)), looked=why is None, session_id=plan.session_id)
        for step in plan.steps
    ]
    return tuple(steps), why


def shown(found: Story, at_ms: int) -> RenderableType:
    parts: list[RenderableType] = []
    if found.row is None:
        parts.append(Text(_never_planned(found), style="yellow"))
    else:
        heading = row_of(dict(found.row), at_ms)
        parts.append(Text.assemble("session ", heading[0], " of queue item ", heading[1], ": ", heading[2]))
    parts += [_event(each) for each in found.events]
    for step in found.steps:
        parts.append(_step(step))
        rows = [(f"  {each.name}", each.planned, each.found or "", _verdict(each.same)) for each in step.columns]
        parts.append(table(("  column", "planned", "in the CRM", ""), rows))
    if found.row is not None and found.crm:
        parts.append(Text(f"The CRM was not looked at: {found.crm}", style="yellow"))
    return Group(*parts)


def _never_planned(found: Story) -> str:
    if found.events:
        return f"session {found.session} was never planned: its outcome was rejected"
    return (
        f"nothing is known of session {found.session}: no plan, no result, no rejected outcome that can be read. It "
        "was never published, it waits for the planner (writeback status), or its id is another one"
    )


def _event(event: Event) -> Text:
    style = "bold red" if "REJECTED" in event.what else ""
    text = Text(f"{iso(event.at_ms) or '                    '}  ")
    text.append(event.what, style=style)
    text.append(f"  {event.place}" if event.place else "", style="dim")
    for each in event.details:
        text.append(f"\n                        {each}")
    return text


def _step(step: StepNow) -> Text:
    state = {None: "", True: "is there", False: "IS NOT THERE"}[step.exists]
    whose = f", written last by session {step.whose}" if step.whose else ""
    return Text(f"step {step.step_index} {step.operation}  {step.record}  {state}{whose}", style="bold")


def _verdict(same: bool | None) -> Text:
    return {None: Text(""), True: Text("same", style="green"), False: Text("DIFFERS", style="yellow")}[same]
