"""What became of a plan, as the result that is published. Pure.

Every blocked result says what a person has to do. Messages name columns, steps, status and code, and never a value:
they are read in logs, terminals and tickets.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from schemas import records
from schemas.records import (
    BlockReason,
    Decision,
    LastReply,
    MetadataGap,
    Operation,
    PlannedStep,
    PlannedWriteback,
    PlanPosition,
    Precondition,
    ResultStatus,
    StepOutcome,
    StepResult,
    WritebackResult,
)
from writer.core.decisions import Accepted, Left, OptOutLeft
from writer.core.emission import CALL_ACTIVITY, opts_out, update_step, was_read
from writer.core.gate import Gap
from writer.core.history import Settled
from writer.core.reconcile import Conflict, Late, NoQueueItem
from writer.core.replies import ON_BEHALF, Judgement, Meaning
from writer.core.sign_in import SENTENCES, SignInTrouble

Warnings = tuple[records.Warning, ...]
_FINAL = (ResultStatus.COMPLETED, ResultStatus.BLOCKED, ResultStatus.CLOSED)
COUNTER_AT_MAXIMUM = "counter_at_maximum"


@dataclass(frozen=True, slots=True)
class ResultContext:
    """What every result of a plan has in common."""

    plan: PlannedWriteback
    position: PlanPosition
    attempts: int
    settled_at: datetime
    written_by: str
    warnings: Warnings = ()
    """Of the gate; the plan's own are added."""
    before: Settled | None = None
    """How an earlier result says that this session ended, if there is one."""
    decided: Accepted | Left | None = None
    """What a person decided about the session, if the plan says so."""
    first_settled_at: datetime | None = None
    """When the session had its first final result, if it has one."""

    @property
    def nothing_written(self) -> str:
        match self.before:
            case Settled.CALL_ONLY:
                return "Nothing more was written (the call itself is recorded, since an earlier attempt)"
            case Settled.OPT_OUT_ONLY:
                return (
                    "Nothing more was written (since an earlier attempt, the call is recorded and do-not-call is set)"
                )
            case Settled.IN_DOUBT:
                return "Nothing more was written (an earlier attempt may have landed)"
            case _:
                return "Nothing was written"

    @property
    def accepted(self) -> Decision | None:
        """The decision to apply the plan, for a result that says that this is done."""
        return self.decided.decision if isinstance(self.decided, Accepted) else None

    def command(self, name: str) -> str:
        """How an operator calls it for this session."""
        return f"writeback {name} {shlex.quote(self.plan.session_id)}"

    def result(
        self,
        status: ResultStatus,
        steps: tuple[StepResult, ...],
        *,
        reason: BlockReason | None = None,
        message: str | None = None,
        conflicts: tuple[str, ...] = (),
        decision: Decision | None = None,
    ) -> WritebackResult:
        return WritebackResult(
            session_id=self.plan.session_id,
            queue_item_id=self.plan.queue_item_id,
            campaign_id=self.plan.campaign_id,
            provider_call_id=self.plan.provider_call_id,
            disposition=self.plan.disposition,
            opt_out=opts_out(self.plan),
            started_at=self.plan.started_at,
            ended_at=self.plan.outcome_at,
            mapping_fingerprint=self.plan.mapping_fingerprint,
            status=status,
            block_reason=reason,
            message=message,
            conflicts=conflicts,
            decision=decision,
            steps=steps,
            attempts=self.attempts,
            plan=self.position,
            warnings=(*self.plan.warnings, *self.warnings),
            first_settled_at=self.first_settled_at or (self.settled_at if status in _FINAL else None),
            settled_at=self.settled_at,
            written_by=self.written_by,
        )


def landed(context: ResultContext, sent: Collection[int], reply: Judgement | None = None) -> WritebackResult:
    """Every step took effect: those in `sent` just now, with this reply, the others before."""
    steps = tuple(_landed_step(step, sent, reply) for step in context.plan.steps)
    if _is_ineligible(context.plan):
        message = (
            "The item was not eligible to be called; its queue item says why. "
            "Nothing to do unless it should be called after all."
        )
        return context.result(
            ResultStatus.BLOCKED, steps, reason=BlockReason.ELIGIBILITY, message=message, decision=context.accepted
        )
    return context.result(ResultStatus.COMPLETED, steps, decision=context.accepted)


def late(context: ResultContext, found: Late, sent: Collection[int], reply: Judgement | None = None) -> WritebackResult:
    """A later session of the queue item had landed first. `sent`: what was recorded just now."""
    steps = tuple(_late_step(step, found, sent, reply) for step in context.plan.steps)
    message = (
        f"A later session of this queue item landed first: {_late_call(context, found)}, and the queue item keeps what "
        "the later session wrote."
    )
    message += _CHECK_THE_CALL if found.found_call else " Nothing to do."
    if opts_out(context.plan):
        message += " The contact opted out in this session: do-not-call is set."
    if found.left_out:
        message += " The contact asked not to be called meanwhile, so no callback task is created."
    if _is_ineligible(context.plan):
        message = "The item was not eligible to be called, and a later session of it landed first. Nothing to do."
        return context.result(ResultStatus.BLOCKED, steps, reason=BlockReason.ELIGIBILITY, message=message)
    return context.result(ResultStatus.COMPLETED, steps, message=message)


def _late_call(context: ResultContext, found: Late) -> str:
    if found.found_call:
        return "a phone call of this session existed already, so none was recorded or counted now"
    if not found.counts:
        return "this call is recorded"
    full_up = [warning.field for warning in context.warnings if warning.code == COUNTER_AT_MAXIMUM]
    return (
        f"this call is recorded, but not counted ({full_up[0]} is at its maximum)"
        if full_up
        else ("this call is recorded and counted")
    )


_CHECK_THE_CALL = (
    " Nothing to do, unless the call system used this session id for two queue items: then the phone call is the other "
    "one's, and this outcome must be published again under a session id of its own."
)


def _late_step(step: PlannedStep, found: Late, sent: Collection[int], reply: Judgement | None) -> StepResult:
    if step.step_index in found.left_out:
        return _step(step, StepOutcome.SKIPPED)
    if step.operation is Operation.UPDATE_QUEUE_ITEM:
        return _step(step, StepOutcome.SUPERSEDED, reply if step.step_index in sent else None)
    return _landed_step(step, sent, reply)


def conflict(
    context: ResultContext, found: Conflict, sent: Collection[int], reply: Judgement | None = None
) -> WritebackResult:
    """A person was faster. `sent`: the steps of the call activity that were recorded just now, and the queue item's
    update if do-not-call was set."""
    steps = tuple(_conflict_step(step, found, sent, reply) for step in context.plan.steps)
    done = f"{_recorded(context.plan)} {_untouched(context.plan, found)}"
    return context.result(
        ResultStatus.BLOCKED,
        steps,
        reason=BlockReason.CONFLICT_DETECTED,
        message=f"{_why_in_conflict(found)} {done} {_how_to_decide(context)}",
        conflicts=found.columns,
        decision=context.accepted if found.by_decision else None,
    )


def _why_in_conflict(found: Conflict) -> str:
    if found.by_decision:
        return "A person decided to apply the opt-out of this session alone; the rest of it is still to be decided."
    changed = f"Somebody changed {', '.join(found.columns)} on the queue item after the call was taken."
    if not found.moved:
        return changed
    again = "The queue item has changed once more since a person decided to apply this session, so that was not done."
    return f"{again} {changed}" if found.columns else again


def _how_to_decide(context: ResultContext) -> str:
    """What a person does about a conflict."""
    return (
        f"Look at both sides with: {context.command('resolve')}. Its --apply writes this session onto the queue item "
        "as you have seen it, its --leave closes the session."
    )


def closed(context: ResultContext, left: Left) -> WritebackResult:
    """A person decided to leave the row as it is."""
    opt_out_set = context.before is Settled.OPT_OUT_ONLY
    steps = _written_before(context.plan, context.before)
    message = f"A person decided to leave the queue item as it is. {context.nothing_written}."
    if opts_out(context.plan) and not opt_out_set:
        message += f" The contact opted out in this session{_OPT_OUT_LEFT[left.opt_out]}"
    return context.result(ResultStatus.CLOSED, steps, message=message, decision=left.decision)


_OPT_OUT_LEFT = {
    OptOutLeft.WITHDRAWN: ", and withdrew that since, as this person says: do-not-call was not set.",
    OptOutLeft.ON_ROW: ", and do-not-call was on the queue item when this person looked.",
    OptOutLeft.NO_ROW: ", and its queue item is gone: make sure that nobody calls this contact from another one.",
    None: ", and do-not-call was not set: make sure that nobody calls this contact again.",
}


def _recorded(plan: PlannedWriteback) -> str:
    return "The call itself is recorded." if _records_call(plan) else "No call was placed, so none is recorded."


def _untouched(plan: PlannedWriteback, found: Conflict) -> str:
    if not opts_out(plan):
        return "The queue item and the task were not touched."
    if found.opted_out:
        return "The contact opted out, and do-not-call is set; nothing else of the queue item was touched."
    if found.row is not None:
        return "The contact opted out: do-not-call was set, and nothing else of the queue item was touched."
    flag = update_step(plan).do_not_call_column
    return f"The contact opted out, but somebody changed {flag} itself: check that this contact is not called again."


def _conflict_step(step: PlannedStep, found: Conflict, sent: Collection[int], reply: Judgement | None) -> StepResult:
    if step.operation in CALL_ACTIVITY:
        return _landed_step(step, sent, reply)
    if step.operation is not Operation.UPDATE_QUEUE_ITEM:
        return _step(step, StepOutcome.SKIPPED)
    if step.step_index in sent:
        return _step(step, StepOutcome.UPDATED, reply)
    return _step(step, StepOutcome.ALREADY_THERE if found.opted_out else StepOutcome.BLOCKED)


def no_queue_item(
    context: ResultContext, found: NoQueueItem, sent: Collection[int], reply: Judgement | None = None
) -> WritebackResult:
    """The row is not there. `sent`: the steps of the call activity that were recorded just now."""
    recorded = bool(sent) or found.call_stands
    steps = tuple(
        _landed_step(step, sent, reply)
        if recorded and step.operation in CALL_ACTIVITY
        else _step(step, StepOutcome.BLOCKED if step.operation is Operation.UPDATE_QUEUE_ITEM else StepOutcome.SKIPPED)
        for step in context.plan.steps
    )
    if was_read(context.plan):
        what = "The queue item does not exist: it was deleted after the call was taken, or its id is wrong."
    else:
        what = (
            "There is no queue item with this id, and the outcome does not say that there was one when the call began."
        )
    did = "The call itself is recorded" if recorded else "Nothing was recorded"
    return context.result(
        ResultStatus.BLOCKED,
        steps,
        reason=BlockReason.CONFLICT_DETECTED,
        message=f"{what} {did}.{_lost_opt_out(context.plan)} If the id is wrong, have the call system publish the "
        "outcome again under a new session id, with the right queue_item_id. Nothing else can be done: close this "
        f"session with: {context.command('resolve')} --leave.",
    )


def _lost_opt_out(plan: PlannedWriteback) -> str:
    if not opts_out(plan):
        return ""
    return " The contact opted out, and there is no row to say so on: check that this contact is not called again."


def _records_call(plan: PlannedWriteback) -> bool:
    return any(step.operation in CALL_ACTIVITY for step in plan.steps)


class Doubt(StrEnum):
    """Why a plan that is refused may have landed all the same, or still land; the value is what its result says."""

    NONE = ""
    UNREAD = " Whether an earlier attempt had landed could not be read, and a replay finds that out."
    THERE = " What it writes is there, so an earlier attempt may have landed, and a replay finds that out."
    MAY_ARRIVE = " An earlier request of it had no answer and may still arrive, and a replay finds that out."


def metadata(context: ResultContext, gaps: Collection[Gap], doubt: Doubt = Doubt.NONE) -> WritebackResult:
    """The CRM is not what the plan needs; this attempt wrote nothing. `doubt`: about an earlier one."""
    listed = "; ".join(str(gap) for gap in gaps)
    at_fault = {gap.step_index for gap in gaps}
    message = (
        f"{'This attempt wrote nothing' if doubt else context.nothing_written}, because the CRM does not have what the "
        f"plan needs: {listed}.{doubt} Put the table, the column or the owner right, then: "
        f"{context.command('replay --session')}.{'' if doubt else _plan_anew(context)}"
    )
    result = context.result(
        ResultStatus.BLOCKED, _nothing_sent(context.plan, at_fault), reason=BlockReason.METADATA, message=message
    )
    listed_gaps = tuple(MetadataGap(entity=g.entity_set, column=g.column, what=g.expected) for g in gaps)
    return replace(result, gaps=listed_gaps, may_have_landed=doubt is not Doubt.NONE)


def _plan_anew(context: ResultContext) -> str:
    """Only for a session of which nothing was written (P1)."""
    if context.before not in (None, Settled.NOT_WRITTEN):
        return ""
    return (
        " If the mapping was wrong, a replay cannot help, since the plan keeps the old names: start the planner with "
        f"the corrected mapping, then: {context.command('replan --session')}."
    )


def foreign_record(context: ResultContext, step_index: int) -> WritebackResult:
    """Under the plan's id exists a record that is not the plan's."""
    message = (
        f"{context.nothing_written}: a record with the id of step {step_index} exists, but this session is not on the "
        "queue item. Most likely one session id was used for two queue items: have the call system publish this "
        "outcome again, under a session id of its own. If the phone call is this queue item's own (a conflict recorded "
        "it, the answer was lost in a crash, and a person has put the row right since), set the queue item by hand, "
        f"then close this session with: {context.command('resolve')} --leave. A replay cannot land it."
    )
    return context.result(
        ResultStatus.BLOCKED,
        _nothing_sent(context.plan, {step_index}),
        reason=BlockReason.PERMANENT_OTHER,
        message=message,
    )


def refused(
    context: ResultContext,
    judgement: Judgement,
    failing: int | None = None,
    doubt: Doubt = Doubt.NONE,
) -> WritebackResult:
    """The CRM will not have it; the change set was rolled back. `failing`: the step it named, if it did. `doubt`: about
    an earlier attempt.
    """
    evidence = f"status {judgement.status}" + (f", code {judgement.code}" if judgement.code else "")
    where = "" if failing is None else f" at step {failing}"
    steps = tuple(
        _step(step, StepOutcome.BLOCKED, judgement)
        if failing in (None, step.step_index)
        else _step(step, StepOutcome.SKIPPED)
        for step in context.plan.steps
    )
    result = context.result(
        ResultStatus.BLOCKED,
        steps,
        reason=BlockReason.METADATA if judgement.meaning is Meaning.DRIFT else BlockReason.PERMANENT_OTHER,
        message=f"The CRM refused the change set{where} ({evidence}); nothing of it was kept.{_since_before(context)}"
        f"{doubt} {_remedy(judgement, _callers(context, failing))}, then: "
        f"{context.command('replay --session')}.{'' if doubt else _plan_anew(context)}",
    )
    if judgement.advice:
        result = replace(
            result,
            message=f"{judgement.advice} Last reply: {evidence}.{doubt} Then: {context.command('replay --session')}.",
        )
    return replace(result, last_reply=_last_reply(judgement), may_have_landed=doubt is not Doubt.NONE)


def _since_before(context: ResultContext) -> str:
    match context.before:
        case Settled.CALL_ONLY | Settled.OPT_OUT_ONLY:
            return " The call itself is recorded, since an earlier attempt."
        case _:
            return ""


def _callers(context: ResultContext, failing: int | None) -> frozenset[str]:
    """On whose behalf the refused operation was; it needs the rights of both."""
    steps = (step for step in context.plan.steps if failing in (None, step.step_index))
    return frozenset(step.caller.record_id for step in steps if step.caller is not None)


def _remedy(judgement: Judgement, callers: frozenset[str] = frozenset()) -> str:
    if judgement.meaning is not Meaning.NOT_ALLOWED:
        return _REMEDIES.get(judgement.meaning, _ASK)
    who = "the application user"
    if callers and judgement.privilege != ON_BEHALF:
        who += f", and the user {', '.join(sorted(callers))} on whose behalf calls are recorded,"
    return f"Give {who} the {f'privilege {judgement.privilege}' if judgement.privilege else 'missing privilege'}"


def _last_reply(judgement: Judgement) -> LastReply:
    return LastReply(
        kind=judgement.kind,
        http_status=judgement.status,
        code=judgement.code or None,
        request_id=judgement.request_id,
    )


_ASK = "Look the code up, or give the request id to the CRM's administrators"
_REMEDIES: Mapping[Meaning, str] = {
    Meaning.DRIFT: "Verify the mapping against the CRM and the records the plan links to",
    Meaning.BUSINESS_RULE: "A plug-in or business rule of the CRM said no: ask its owner",
    Meaning.DUPLICATE_RULE: "A duplicate detection rule matched: merge the records or change the rule",
    Meaning.ALTERNATE_KEY: "Another record has the same alternate key: remove it, or the key",
    Meaning.TOO_LARGE: "The plan is larger than the CRM accepts: shorten the outcome's texts",
}


def resume_needed(context: ResultContext, judgement: Judgement, replied: Judgement | None = None) -> WritebackResult:
    """Not settled: the plan keeps its place, and is tried again for as long as it takes. `judgement` says why it waits
    now, `replied` which reply came last, if any came.
    """
    replied = replied or judgement
    steps = tuple(_step(step, StepOutcome.PLANNED) for step in context.plan.steps)
    message = f"{why_it_waits(judgement, replied)} The plan is still queued and is tried again without your help."
    result = context.result(ResultStatus.RESUME_NEEDED, steps, message=message)
    return replace(result, last_reply=_last_reply(replied))


def why_it_waits(judgement: Judgement, replied: Judgement | None = None) -> str:
    """What is wrong, and what a person must do about it; then the last reply."""
    last = replied or judgement
    evidence = "no answer" if last.status is None else f"status {last.status}"
    evidence += f", code {last.code}" if last.code else ""
    if judgement.advice:
        return f"{judgement.advice} Last reply: {evidence}."
    match judgement.meaning:
        case Meaning.SIGN_IN:
            cause = SENTENCES[SignInTrouble.NOT_ACCEPTED]
        case Meaning.NOT_ALLOWED:
            cause = f"The CRM does not let the writer read what it must verify. {_remedy(judgement)}."
        case Meaning.THROTTLED:
            cause = (
                "The CRM asks the writer to wait. If this lasts, another client shares the application user's limits."
            )
        case Meaning.TROUBLE | Meaning.TOO_SLOW if judgement.status is not None:
            cause = "The CRM, or something before it, reports trouble of its own. If this lasts, ask who runs it."
        case Meaning.UNANSWERED | Meaning.TROUBLE:
            cause = "The CRM could not be reached. If this lasts, check the network, the address and the CRM itself."
        case _:
            cause = f"The CRM gives an answer that says nothing certain. {_ASK} if this lasts."
    return f"{cause} Last reply: {evidence}."


_NOT_WRITTEN = "Checked against the CRM; nothing was written."


def dry_run(context: ResultContext, would_send: Collection[int]) -> WritebackResult:
    """W8: what a dry run would have done: these steps sent, the others found landed."""
    steps = tuple(
        _step(step, StepOutcome.PLANNED if step.step_index in would_send else StepOutcome.ALREADY_THERE)
        for step in context.plan.steps
    )
    return context.result(ResultStatus.DRY_RUN, steps, message=_NOT_WRITTEN)


def dry_run_late(context: ResultContext, found: Late) -> WritebackResult:
    """W8: what would be left to do under a later session of the queue item."""
    steps = tuple(_only_planned(_late_step(step, found, found.steps, None)) for step in context.plan.steps)
    parts = [*(["count this call"] if found.counts else ()), *(["set do-not-call"] if found.sets_do_not_call else ())]
    would = f"the writer would only {' and '.join(parts)}" if parts else "nothing would be written"
    message = f"{_NOT_WRITTEN} A later session of this queue item landed first: on the queue item, {would}."
    return context.result(ResultStatus.DRY_RUN, steps, message=message)


def dry_run_settled(context: ResultContext, known: Settled) -> WritebackResult:
    """W8: its last result says that nothing is left to do, so the row is not even judged."""
    steps = _written_before(context.plan, known)
    message = f"Nothing would be written: {_SETTLED[known]}."
    return context.result(ResultStatus.DRY_RUN, steps, message=message)


_REPLANNED = "and a plan that took the place of another one is carried out only if nothing was written for that"
_SETTLED: Mapping[Settled, str] = {
    Settled.LANDED: "this session has landed, as its last result says",
    Settled.SUPERSEDED: "this session came late and is recorded, as its last result says",
    Settled.CLOSED: "a person has closed this session",
    Settled.CALL_ONLY: f"the call of this session is recorded, {_REPLANNED}",
    Settled.OPT_OUT_ONLY: f"the call of this session is recorded and do-not-call is set, {_REPLANNED}",
    Settled.IN_DOUBT: f"this session may have landed, {_REPLANNED}",
}


def _written_before(plan: PlannedWriteback, known: Settled | None) -> tuple[StepResult, ...]:
    """What is there already, by how its session settled before."""
    there: Collection[Operation] = ()
    match known:
        case Settled.LANDED | Settled.SUPERSEDED:
            there = tuple(Operation)
        case Settled.CALL_ONLY:
            there = CALL_ACTIVITY
        case Settled.OPT_OUT_ONLY:
            there = {*CALL_ACTIVITY, Operation.UPDATE_QUEUE_ITEM}
    return tuple(
        _step(step, StepOutcome.ALREADY_THERE if step.operation in there else StepOutcome.SKIPPED)
        for step in plan.steps
    )


def would_be_blocked(result: WritebackResult) -> WritebackResult:
    """W8: a dry run found what would block this plan. `result`: what would be published once all of it was sent."""
    message = f"{_NOT_WRITTEN} The plan would be blocked: {result.message} In this dry run nothing of that was done."
    return replace(result, steps=tuple(map(_only_planned, result.steps)), message=message, decision=None)


def _only_planned(step: StepResult) -> StepResult:
    written = step.outcome in (StepOutcome.CREATED, StepOutcome.UPDATED)
    return replace(step, outcome=StepOutcome.PLANNED) if written else step


def at_maximum(column: str) -> records.Warning:
    """A counter that stays where it is, since the column holds no more."""
    message = "the column is at its maximum, so this call was not counted in it"
    return records.Warning(code=COUNTER_AT_MAXIMUM, field=column, message=message)


def _is_ineligible(plan: PlannedWriteback) -> bool:
    return plan.disposition is records.Disposition.BLOCKED


def _landed_step(step: PlannedStep, sent: Collection[int], reply: Judgement | None) -> StepResult:
    if step.step_index not in sent:
        return _step(step, StepOutcome.ALREADY_THERE)
    created = step.precondition is Precondition.MUST_NOT_EXIST
    return _step(step, StepOutcome.CREATED if created else StepOutcome.UPDATED, reply)


def _nothing_sent(plan: PlannedWriteback, at_fault: Collection[int]) -> tuple[StepResult, ...]:
    return tuple(
        _step(step, StepOutcome.BLOCKED if step.step_index in at_fault else StepOutcome.SKIPPED) for step in plan.steps
    )


def _step(step: PlannedStep, outcome: StepOutcome, judgement: Judgement | None = None) -> StepResult:
    return StepResult(
        step_index=step.step_index,
        operation=step.operation,
        outcome=outcome,
        record_id=step.record_id,
        http_status=None if judgement is None else judgement.status,
        error_code=None if judgement is None else judgement.code or None,
        request_id=None if judgement is None else judgement.request_id,
    )
