"""`writeback resolve`: a person's decision about a blocked session. The writer carries it out."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from ops import crm
from ops.actions import By, ForReal, Sender, Sent, Why, asked, now
from ops.core.actions import Asked, planned_ms, sent_again
from ops.core.mapping_text import meanings_of
from ops.core.rendering import URGENT, as_json_row, row_of
from ops.core.resolving import (
    REQUESTS,
    Choice,
    Meanings,
    Sides,
    against,
    came_of,
    etag_of,
    exit_of_case,
    is_version,
    opt_out_left,
    sides,
    waits_for,
    what_leaving_means,
    with_meanings,
)
from ops.core.selectors import Selectors, Sort
from ops.core.sessions import Status
from ops.core.tables import table
from ops.core.values import StepNow, step_now
from ops.errors import CrmRefuses, CrmUnavailable
from ops.groups import Groups
from ops.output import Json, console, json_line, progress, silent
from ops.settings import Settings, read_settings
from ops.view.view import View, headers_of, opened, reader_of
from planner import mapping as mappings
from planner.errors import MappingUnfit
from runtime.exit_codes import Exit
from schemas import headers
from schemas.codec import Undecodable
from schemas.records import BlockReason, Operation, PlannedWriteback, WritebackResult
from writer.core.decisions import OptOutLeft
from writer.core.emission import update_step
from writer.core.history import Settled

_LOOK_EVERY_S = 1.0
_WAITING = Selectors(
    status=[Status.BLOCKED],
    reason=[each for each in BlockReason if each is not BlockReason.ELIGIBILITY],
    unsettled=False,
)
"""Sessions that wait for a person."""


def resolve(
    session: Annotated[
        str | None,
        typer.Argument(metavar="SESSION", show_default=False, help="Session id; without it, list what waits."),
    ] = None,
    apply: Annotated[
        bool, typer.Option("--apply", help="Write the plan onto the queue item as you have seen it.")
    ] = False,
    leave: Annotated[
        bool, typer.Option("--leave", help="Leave the queue item as it is, and close the session.")
    ] = False,
    opt_out_only: Annotated[
        bool, typer.Option("--opt-out-only", help="With --apply: set do-not-call, and nothing else.")
    ] = False,
    opt_out_withdrawn: Annotated[
        bool,
        typer.Option(
            "--opt-out-withdrawn",
            help="With --leave: the contact withdrew the opt-out, which is not on the queue item, and may be called.",
        ),
    ] = False,
    seen: Annotated[
        str | None,
        typer.Option("--seen", metavar="VERSION", help="The version of the queue item that you have seen, as shown."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for what comes of it.")] = True,
    for_real: ForReal = False,
    why: Why = "",
    by: By = "",
    as_json: Json = False,
) -> None:
    """Decide about a session that is blocked: show both sides column by column, then apply its plan or leave the row.

    Without SESSION, lists what waits for a decision, opt-outs that are not on their row first. --apply writes the plan
    onto the queue item under the version that you name with --seen: if it has changed since, nothing is written and you
    are asked again. --leave closes the session; it is refused while the opt-out of the session is not on the queue
    item. The first decision counts; the second person reads who decided what. Texts are shown as their length. Exit
    codes: 0 done, or nothing waits; 1 a person must decide, or the decision was not made; 2 the writer has the session
    before it.
    """
    choice = _choice(
        session, apply=apply, leave=leave, opt_out_only=opt_out_only, withdrawn=opt_out_withdrawn, seen=seen
    )
    settings = read_settings()
    person = asked(settings, for_real=for_real, why=why, by=by)
    if for_real and choice is None:
        raise typer.BadParameter("say what you decide: --apply or --leave", param_hint="--for-real")
    if for_real and choice in (Choice.APPLY, Choice.OPT_OUT) and seen is None:
        raise typer.BadParameter(
            "say which version of the queue item you have seen, as this command shows it without --for-real",
            param_hint="--seen",
        )
    if session is None:
        raise typer.Exit(_list(settings, as_json=as_json))
    with opened(settings) as view:
        case = _case(view, session)
        refused = waits_for(case.row, _last_action(view, session)) or (
            against(choice, case.row, case.sides, seen) if choice else None
        )
        stopped = bool(case.row["status"] and case.row["unsettled"]) and not _writer_runs(settings)
        if stopped and refused is not None:
            refused = f"{refused}. {_NO_WRITER}"
        _show(case, view.at_ms, choice, refused, as_json=as_json, for_real=for_real)
        if refused is not None or choice is None or not for_real:
            raise typer.Exit(Exit.ACT if stopped else exit_of_case(case.row, decides=choice is not None))
        sent_at = _send(view, case, choice, person, seen)
    raise typer.Exit(_follow(settings, case, choice, person, sent_at, wait=wait, as_json=as_json))


def _choice(
    session: str | None, *, apply: bool, leave: bool, opt_out_only: bool, withdrawn: bool, seen: str | None
) -> Choice | None:
    if apply and leave:
        raise typer.BadParameter("give one of --apply and --leave")
    if opt_out_only and not apply:
        raise typer.BadParameter("it says how to apply: give --apply too", param_hint="--opt-out-only")
    if withdrawn and not leave:
        raise typer.BadParameter("it says why to leave: give --leave too", param_hint="--opt-out-withdrawn")
    if seen is not None and not is_version(seen):
        raise typer.BadParameter("give the version as this command shows it, such as 1007", param_hint="--seen")
    if session is None and (apply or leave):
        raise typer.BadParameter("say which session: one decision is about one", param_hint="SESSION")
    if apply:
        return Choice.OPT_OUT if opt_out_only else Choice.APPLY
    if leave:
        return Choice.WITHDRAWN if withdrawn else Choice.LEAVE
    return None


def _list(settings: Settings, *, as_json: bool) -> int:
    with opened(settings) as view:
        rows = list(view.store.sessions(_WAITING, sort=Sort.URGENT))
        at_ms = view.at_ms
    if as_json:
        for row in rows:
            json_line(as_json_row(row))
    elif rows:
        listed = [(*row_of(row, at_ms)[:4], row["conflicts"] or "") for row in rows]
        console().print(table(("session", "queue item", "status", "disposition", "changed by a person"), listed))
    else:
        typer.echo("no session waits for a decision")
    return Exit.ACT if rows else Exit.OK


@dataclass(frozen=True, slots=True)
class _Case:
    session: str
    row: Mapping[str, Any]
    plan: PlannedWriteback | None = None
    result: WritebackResult | None = None
    sides: Sides | None = None
    """None if nobody looked at the CRM."""
    steps: tuple[StepNow, ...] = ()
    """The session's other records."""
    not_looked: str | None = None
    place: tuple[int, int] = (0, 0)
    """Partition and offset of its plan."""


def _case(view: View, session: str) -> _Case:
    row = view.store.session(session)
    if row is None:
        return _Case(session, {"status": None, "reason": None})
    topics = view.settings.broker.topics
    case = _Case(session, row, place=(row["plan_partition"], row["plan_offset"]))
    if row["result_offset"] is not None:
        result = _record(
            view, WritebackResult, topics.writeback_results.name, row["result_partition"], row["result_offset"]
        )
        case = replace(case, result=result)
    if row["plan_offset"] is None or waits_for(row) is not None:
        return case
    plan = _record(view, PlannedWriteback, topics.planned_writebacks.name, *case.place)
    return case if plan is None else _looked(view, replace(case, plan=plan), plan)


def _looked(view: View, case: _Case, plan: PlannedWriteback) -> _Case:
    if not crm.is_configured(view.settings):
        return replace(case, not_looked=crm.NOT_CONFIGURED)
    try:
        rows = crm.read_records(view.settings, [(step.entity_set, step.record_id) for step in plan.steps]).rows
    except (CrmUnavailable, CrmRefuses) as error:
        return replace(case, not_looked=str(error))
    update = update_step(plan)
    others = [s for s in plan.steps if s.operation in (Operation.CREATE_PHONE_CALL, Operation.CREATE_TASK)]
    return replace(
        case,
        sides=with_meanings(
            sides(plan, crm.observed(rows.get((update.entity_set, update.record_id))), _History(view)),
            _meanings(view.settings),
        ),
        steps=tuple(
            step_now(step, rows.get((step.entity_set, step.record_id)), looked=True, session_id=plan.session_id)
            for step in others
        ),
    )


def _meanings(settings: Settings) -> Meanings:
    """Of the mapping, if there is one that can be read: a decision does not need it."""
    if settings.mapping_file is None:
        return {}
    try:
        return meanings_of(mappings.read(settings.mapping_file))
    except MappingUnfit:
        return {}


def _last_action(view: View, session: str) -> str | None:
    """What an operator did about this session last, and why."""
    found = [each for each in view.store.actions() if each["about"] == session]
    return (
        f"{found[-1]['who']} asked at {found[-1]['at']}: {found[-1]['action']} ({found[-1]['why']})" if found else None
    )


@dataclass(frozen=True, slots=True)
class _History:
    """How sessions settled, by the view."""

    view: View

    def of(self, session_id: str) -> Settled | None:
        row = self.view.store.session(session_id)
        return None if row is None or row["settled_as"] is None else Settled(row["settled_as"])


def _record(view: View, cls: Any, topic: str, partition: int, offset: int) -> Any:
    """None if it is not there any more, or cannot be read."""
    message = view.logs.record(topic, partition, offset)
    value = message.value() if message else None
    try:
        return None if value is None else reader_of(cls, view.settings).decode(value)
    except Undecodable:
        return None


def _show(
    case: _Case, at_ms: int, choice: Choice | None, refused: str | None, *, as_json: bool, for_real: bool
) -> None:
    if as_json:
        json_line(_as_json(case, choice, refused, for_real=for_real))
        return
    parts: list[RenderableType] = []
    if case.row["status"] is not None:
        heading = row_of(dict(case.row), at_ms)
        parts.append(Text.assemble("session ", heading[0], " of queue item ", heading[1], ": ", heading[2]))
        parts.append(Text(case.row["message"] or "", style="dim"))
    if case.sides is not None:
        parts += _both(case.sides)
        parts += [Text(f"{step.operation}: {'is there' if step.exists else 'is not there'}") for step in case.steps]
    elif case.not_looked:
        parts.append(Text(f"The CRM was not looked at: {case.not_looked}", style="yellow"))
    console().print(Group(*parts))
    if case.result is not None and case.result.decision is not None:
        decision = case.result.decision
        typer.echo(f"{decision.by} decided at {decision.at:%Y-%m-%dT%H:%M:%SZ}: {decision.what} ({decision.reason})")
    if refused is not None:
        typer.echo(refused, err=True)
    elif not for_real:
        typer.echo("\n".join(_commands(case, choice)), err=True)


def _both(found: Sides) -> list[RenderableType]:
    if found.etag is None:
        return [Text("There is no such queue item.", style="yellow")]
    parts: list[RenderableType] = []
    if found.opts_out and not found.opted_out:
        parts.append(Text("THE CONTACT OPTED OUT, AND DO-NOT-CALL IS NOT ON THE QUEUE ITEM", style=URGENT))
    if found.written_by:
        parts.append(Text(f"The item was called again since: session {found.written_by} was written last."))
    rows = [
        (each.name, each.expected, each.now, each.planned, Text("CHANGED", style="yellow") if each.changed else "")
        for each in found.columns
    ]
    heading = ("column", "when the call was taken", "now", "the plan writes", "")
    parts.append(table(heading, rows, title=f"the queue item, version {found.version}"))
    return parts


def _commands(case: _Case, choice: Choice | None) -> list[str]:
    """What to call to decide, word for word."""
    call, then = f"writeback resolve {shlex.quote(case.session)}", "--for-real --reason WHY"
    version = case.sides.version if case.sides else None
    lines = []
    for each, option in (
        (Choice.OPT_OUT, "--apply --opt-out-only"),
        (Choice.APPLY, "--apply"),
        (Choice.LEAVE, "--leave"),
        (Choice.WITHDRAWN, "--leave --opt-out-withdrawn"),
    ):
        if choice in (None, each) and against(each, case.row, case.sides, None) is None:
            seen = "" if each.closes else f" --seen {shlex.quote(str(version))}"
            lines.append(f"to {each}: {call} {option}{seen} {then}")
    if choice is not None and choice.closes:
        lines = [*what_leaving_means(choice, case.row, case.sides), *lines]
    return ["nothing was decided.", *lines]


def _as_json(case: _Case, choice: Choice | None, refused: str | None, *, for_real: bool) -> dict[str, Any]:
    found, decision = case.sides, case.result.decision if case.result else None
    return {
        "session_id": case.session,
        "session": as_json_row(dict(case.row)) if case.row["status"] is not None else None,
        "etag": found.etag if found else None,
        "seen": found.version if found else None,
        "columns": [each.as_json() for each in found.columns] if found else [],
        "called_again_by": found.written_by if found else None,
        "opts_out": found.opts_out if found else None,
        "do_not_call_is_set": found.opted_out if found else None,
        "records": [{"operation": each.operation, "record": each.record, "exists": each.exists} for each in case.steps],
        "crm_not_looked_at": case.not_looked,
        "decision": None if decision is None else {
            "what": decision.what, "by": decision.by, "reason": decision.reason, "at": decision.at.isoformat(),
        },
        "choice": choice,
        "refused": refused,
        "requests": REQUESTS if choice in (Choice.APPLY, Choice.OPT_OUT) else 0,
        "for_real": for_real,
    }  # fmt: skip


def _send(view: View, case: _Case, choice: Choice, person: Asked, seen: str | None) -> str:
    """Recorded first, then the plan again with the decision on it. Returns when it was decided."""
    topic, at = view.settings.broker.topics.planned_writebacks.name, now()
    message = view.logs.record(topic, *case.place)
    if message is None:
        typer.echo("the plan was replaced while you decided: call this again", err=True)
        raise typer.Exit(Exit.ACT)
    kept = headers_of(message)
    said = {"at": at, "planned_ms": str(planned_ms(kept, message.timestamp()[1]))}
    name = headers.LEAVE
    if choice.closes:
        left = OptOutLeft.WITHDRAWN if choice is Choice.WITHDRAWN else opt_out_left(case.row, case.sides)
        said |= {} if left is None else {"opt_out": left}
    else:
        name, said = headers.ACCEPTED_ETAG, {**said, "etag": etag_of(str(seen))}
    if choice is Choice.OPT_OUT:
        said["only"] = "opt-out"
    details = {"queue_item": case.row["queue_item"], "etag": said.get("etag"), "digest": case.row["digest"]}
    again = sent_again(kept, person.header(name, **said))
    with Sender(view.settings) as sender:
        sender.record(person.action(f"resolve: {choice}", about=case.session, count=1, at=at, details=details))
        sender.send([Sent(topic, case.place[0], message.key(), message.value(), again)])
    return at


_NO_WRITER = "But no writer is running now: start one, or it stays like this"


def _writer_runs(settings: Settings) -> bool:
    """True where the broker does not say."""
    return Groups(settings).is_active(settings.group_id(settings.writer_group)) is not False


def _follow(
    settings: Settings, case: _Case, choice: Choice, person: Asked, at: str, *, wait: bool, as_json: bool
) -> int:
    """What came of the decision, once the writer has settled the session."""
    code = Exit.OK
    if not _writer_runs(settings):
        typer.echo("no writer is running now: it is carried out when one is started", err=True)
        code, wait = (Exit.ACT if wait else Exit.OK), False
    if not wait:
        typer.echo(f"decided; writeback resolve {shlex.quote(case.session)} shows what came of it", err=True)
        return code
    with progress("waiting for the writer:"):
        while True:
            with opened(settings, on_progress=silent) as view:
                found = _case(view, case.session)
                if not found.row["unsettled"] and found.row["plan_offset"] != case.place[1]:
                    break
            time.sleep(_LOOK_EVERY_S)
    done, sentence = came_of(found.row, found.result, by=person.who, at=at)
    if as_json:
        means = what_leaving_means(choice, case.row, case.sides) if done and choice.closes else []
        json_line(
            {
                "session_id": case.session, "status": found.row["status"], "done": done, "what": sentence,
                "means": means,
            }
        )  # fmt: skip
    else:
        typer.echo(sentence, err=not done)
        if done and choice.closes:
            typer.echo("\n".join(what_leaving_means(choice, case.row, case.sides)))
    return Exit.OK if done else Exit.ACT
