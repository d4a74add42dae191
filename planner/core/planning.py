"""From a call outcome to the complete, resolved, ordered list of CRM writes. Pure.

P2 A plan is a function of outcome, place, mapping, policy and the earlier plans of its queue item: no clock, no dice.
P3 It is self-contained: the writer needs no mapping and re-derives nothing.
P4 Its steps are ordered and carry `step_index`.
P7 Every free text passes through the redactor before it becomes part of a plan.
P8 A status that may not be left stays: `planner.core.standing`.

Attempt count: one more than the row has, if a call was placed. It is an increment: what a person corrected stays and is
added to. The writer adds under the etag at which the row's value holds, so it takes effect once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from planner.core import validation
from planner.core.digests import digest
from planner.core.dispositions import Effect, TaskKind, decide
from planner.core.next_attempt import Delays, next_attempt
from planner.core.normalisation import is_phone_number, normalised, skewed
from planner.core.notices import CLOCK_SKEW, last_error, notices, status_kept
from planner.core.preceding import DIGEST_BYTES, MOST_PRECEDING, NO_HISTORY, EarlierPlan, History, order_of
from planner.core.record_ids import record_id
from planner.core.redaction import redact
from planner.core.resolution import ResolvedMapping, TextColumn
from planner.core.standing import restrained, standing
from planner.core.summary import Texts, call_texts, task_texts
from planner.core.text import clean, cut, one_line
from planner.core.times import iso, milliseconds
from planner.core.validation import Envelope
from schemas.headers import Reason
from schemas.records import (
    ActivityParties,
    CallOutcome,
    Disposition,
    Operation,
    OwnerCandidate,
    PlannedStep,
    PlannedWriteback,
    PlanPolicy,
    PrecedingPlan,
    Precondition,
    ResolvedBaseline,
    Source,
    Value,
)
from schemas.records import Warning as Notice

Columns = dict[str, Value]

TOO_MANY_PRECEDING = Reason(
    "too_many_preceding",
    "baseline.last_session_id",
    f"a baseline that includes all but the last {MOST_PRECEDING} of our sessions of the queue item: read the row again",
)

LONGEST_SUBJECT = 200
"""Characters of an activity's subject, however many more a tenant has made room for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the installation has chosen; with the mapping, all that plans depend on beside the outcome."""

    redaction: Literal["redact", "none"] = "redact"
    regions: tuple[str, ...] = ("US",)
    transcript: Literal["summary-only", "full"] = "summary-only"
    delays: Delays = field(default_factory=dict)
    planned_by: str = "unknown"

    def redacted(self, text: str) -> str:
        return text if self.redaction == "none" else redact(text, regions=self.regions)


@dataclass(frozen=True, slots=True)
class Rejected:
    """Nothing was planned, and why."""

    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class _Case:
    """One outcome with all that was decided about it."""

    outcome: CallOutcome
    disposition: Disposition
    effect: Effect
    warnings: tuple[Notice, ...]
    mapping: ResolvedMapping
    policy: Policy

    def id_of(self, operation: Operation) -> str:
        return record_id(self.outcome.session_id, operation)


def plan(
    outcome: CallOutcome,
    source: Source,
    mapping: ResolvedMapping,
    policy: Policy,
    history: History = NO_HISTORY,
    envelope: Envelope | None = None,
) -> PlannedWriteback | Rejected:
    """The plan, or every reason why there is none. `history` is what our earlier plans of the same queue item say.

    The outcome is normalised, then judged, then redacted; its digest is that of what was given.
    """
    given, outcome = outcome, normalised(outcome)
    reasons = validation.reasons(outcome, envelope)
    if history.too_many:
        reasons = (*reasons, TOO_MANY_PRECEDING)
    if reasons:
        return Rejected(reasons)
    case = _case(outcome, mapping, policy, history, skew=skewed(given))
    known = dict(outcome.baseline.preserved) | _mapped_baseline(outcome, mapping)
    preceding = history.listed()
    update = _queue_item_update(case)
    steps = _steps(case, update)
    concerned = (
        update.attributes.keys() | update.increments.keys() | mapping.preserved | {mapping.queue_item.do_not_call}
    )
    baseline = ResolvedBaseline(
        captured_at=outcome.baseline.captured_at,
        etag=outcome.baseline.etag,
        columns={name: known[name] for name in sorted(known.keys() & concerned)},
    )
    return PlannedWriteback(
        session_id=outcome.session_id,
        queue_item_id=outcome.queue_item_id,
        campaign_id=outcome.campaign_id,
        provider_call_id=outcome.provider_call_id,
        persona_version=outcome.persona_version,
        disposition=case.disposition,
        opt_out=outcome.opt_out,
        policy=PlanPolicy(redaction=policy.redaction, transcript=policy.transcript),
        digest=_digest(outcome, case.disposition, baseline, preceding, steps),
        outcome_digest=digest(given),
        mapping_fingerprint=mapping.fingerprint,
        planned_by=policy.planned_by,
        source=source,
        started_at=outcome.started_at,
        outcome_at=outcome.ended_at,
        baseline=baseline,
        preceding=preceding,
        steps=steps,
        warnings=case.warnings,
    )


def _digest(
    outcome: CallOutcome,
    disposition: Disposition,
    baseline: ResolvedBaseline,
    preceding: tuple[PrecedingPlan, ...],
    steps: tuple[PlannedStep, ...],
) -> str:
    """Of everything that decides the writes; written out, since to go through the records takes three times as long."""
    return digest(
        [
            (outcome.session_id, outcome.queue_item_id, disposition),
            (baseline.etag, baseline.columns),
            [(each.session_id, each.columns) for each in preceding],
            [
                (
                    (each.operation, each.precondition, each.entity_set, each.record_id, each.session_column),
                    (each.attributes, each.increments),
                    [(owner.column, owner.value) for owner in each.owner_candidates],
                    *_people(each),
                )
                for each in steps
            ],
        ]
    )


def _people(step: PlannedStep) -> tuple[tuple[object, ...], ...]:
    """Nothing for a step without parties and caller: its digest is what it was before there were any."""
    parties, caller = step.activity_parties, step.caller
    named: tuple[tuple[object, ...], ...] = ()
    if parties:
        members = [(each.participation, each.column, each.value) for each in parties.members]
        named = (("parties", parties.collection, members),)
    return (*named, ("caller", caller.object_id)) if caller else named


def own_columns(planned: PlannedWriteback) -> Mapping[str, Value]:
    """The queue item's columns that the plan writes, what it adds to aside; none for a retired session."""
    updates = (step.attributes for step in planned.steps if step.operation is Operation.UPDATE_QUEUE_ITEM)
    return next(updates, {})


def earlier_plan(planned: PlannedWriteback) -> EarlierPlan:
    """What later plans of the same queue item need to know of this one."""
    return EarlierPlan(
        session_id=planned.session_id,
        order=order_of(planned.source),
        started_ms=milliseconds(planned.started_at),
        ended_ms=milliseconds(planned.outcome_at),
        opt_out=planned.disposition is Disposition.DO_NOT_CALL,
        retired=planned.retired_at is not None,
        columns=own_columns(planned),
        digest=bytes.fromhex(planned.digest)[:DIGEST_BYTES],
    )


def _case(outcome: CallOutcome, mapping: ResolvedMapping, policy: Policy, history: History, *, skew: bool) -> _Case:
    disposition, wanted = decide(outcome)
    current = standing(outcome.baseline, history, mapping.queue_item.status, mapping.queue_item.statuses)
    kept = current.keeps(outcome, wanted)
    effect = restrained(wanted, kept)
    noticed = notices(outcome, effect, policy.redacted, overrides_mapped=mapping.owner_overrides)
    own = [*([CLOCK_SKEW] if skew else ()), *([status_kept(kept)] if kept else ())]
    return _Case(
        outcome=outcome,
        disposition=disposition,
        effect=effect,
        warnings=(*noticed, *own),
        mapping=mapping,
        policy=policy,
    )


def _mapped_baseline(outcome: CallOutcome, mapping: ResolvedMapping) -> Columns:
    """What the fields say of the row, in the CRM's own words. One that is null says that the column was empty."""
    columns, baseline = mapping.queue_item, outcome.baseline
    return {
        columns.status: columns.statuses[baseline.status] if baseline.status else None,
        columns.last_session_id: baseline.last_session_id,
        columns.attempt_count: baseline.attempt_count,
        columns.do_not_call: baseline.do_not_call,
    }


def _steps(case: _Case, update: PlannedStep) -> tuple[PlannedStep, ...]:
    """In the order in which they are emitted, numbered."""
    calls = _phone_call(case) if case.effect.call_placed else ()
    tasks = (_task(case, case.effect.task),) if case.effect.task else ()
    return (*calls, update, *tasks)


def _phone_call(case: _Case) -> tuple[PlannedStep, PlannedStep]:
    outcome, columns = case.outcome, case.mapping.phone_call
    identity: Columns = {columns.session_id: outcome.session_id}
    if outcome.account:
        identity[columns.regarding.column] = columns.regarding.to(outcome.account.id)
    if outcome.phone_number:
        identity[columns.phone_number.name] = columns.phone_number.fit(_phone(outcome.phone_number, case.policy))
    texts = _call_texts(case)
    attributes = {
        **columns.fixed,
        **identity,
        columns.subject.name: _subject(columns.subject, texts),
        columns.description.name: columns.description.fit(texts.description),
        columns.direction: columns.outgoing,
        columns.started_at: iso(outcome.started_at),
        columns.ended_at: iso(outcome.ended_at),
        columns.duration_minutes: _minutes(outcome),
        columns.left_voicemail: outcome.voicemail_left,
    }
    if columns.disposition:
        attributes[columns.disposition] = str(case.disposition)
    created = PlannedStep(
        step_index=0,
        operation=Operation.CREATE_PHONE_CALL,
        entity_set=columns.entity_set,
        record_id=case.id_of(Operation.CREATE_PHONE_CALL),
        attributes=_sorted(attributes),
        session_column=columns.session_id,
        activity_parties=_parties(case),
        caller=columns.caller,
        precondition=Precondition.MUST_NOT_EXIST,
    )
    completed = PlannedStep(
        step_index=1,
        operation=Operation.COMPLETE_PHONE_CALL,
        entity_set=columns.entity_set,
        record_id=created.record_id,
        attributes=_sorted(columns.completed),
        caller=columns.caller,
        precondition=Precondition.MUST_EXIST,
    )
    return created, completed


def _parties(case: _Case) -> ActivityParties | None:
    columns, account = case.mapping.phone_call.parties, case.outcome.account
    if columns is None or not (members := columns.members(account.id if account else None)):
        return None
    return ActivityParties(
        collection=columns.collection, entity_set=columns.entity_set, id_column=columns.id_column, members=members
    )


def _call_texts(case: _Case) -> Texts:
    full = case.policy.transcript == "full"
    return call_texts(case.outcome, case.disposition, case.policy.redacted, full_transcript=full)


def _subject(column: TextColumn, texts: Texts) -> str:
    return cut(column.fit(texts.subject), LONGEST_SUBJECT)


def _phone(number: str, policy: Policy) -> str:
    """The number that was called, in whatever grouping; anything else that a call system put there is free text."""
    return number if is_phone_number(number) else policy.redacted(one_line(clean(number)))


def _minutes(outcome: CallOutcome) -> int:
    """Rounded to the nearest, half a minute up."""
    return (int((outcome.ended_at - outcome.started_at).total_seconds()) + 30) // 60


def _queue_item_update(case: _Case) -> PlannedStep:
    outcome, effect, columns = case.outcome, case.effect, case.mapping.queue_item
    attributes: Columns = {
        columns.last_disposition.name: columns.last_disposition.fit(_transition(case)),
        columns.last_session_id: outcome.session_id,
        columns.last_error.name: _fit_or_none(case),
    }
    if effect.status:
        attributes[columns.status] = columns.statuses[effect.status]
    if effect.do_not_call:
        attributes[columns.do_not_call] = True
    if columns.next_attempt_at and (due := next_attempt(outcome, case.disposition, effect, case.policy.delays)):
        attributes[columns.next_attempt_at] = iso(due)
    return PlannedStep(
        step_index=2 if effect.call_placed else 0,
        operation=Operation.UPDATE_QUEUE_ITEM,
        entity_set=columns.entity_set,
        record_id=outcome.queue_item_id,
        attributes=_sorted(attributes),
        increments={columns.attempt_count: 1} if effect.call_placed else {},
        session_column=columns.last_session_id,
        do_not_call_column=columns.do_not_call,
        precondition=Precondition.MUST_MATCH_BASELINE,
    )


def _transition(case: _Case) -> str:
    if case.disposition is Disposition.BLOCKED:
        return "blocked_by_eligibility: " + ",".join(sorted(case.outcome.failing_rules))
    return str(case.disposition)


def _fit_or_none(case: _Case) -> str | None:
    text = last_error(case.warnings)
    return case.mapping.queue_item.last_error.fit(text) if text else None


def _task(case: _Case, kind: TaskKind) -> PlannedStep:
    outcome, columns = case.outcome, case.mapping.task
    identity: Columns = {columns.session_id: outcome.session_id}
    if outcome.account:
        identity[columns.regarding.column] = columns.regarding.to(outcome.account.id)
    texts = task_texts(outcome, kind, case.policy.redacted)
    attributes = {
        **columns.fixed,
        **identity,
        columns.subject.name: _subject(columns.subject, texts),
        columns.description.name: columns.description.fit(texts.description),
    }
    if outcome.callback_at:
        attributes[columns.due_at] = iso(outcome.callback_at)
    return PlannedStep(
        step_index=3,
        operation=Operation.CREATE_TASK,
        entity_set=columns.entity_set,
        record_id=case.id_of(Operation.CREATE_TASK),
        attributes=_sorted(attributes),
        session_column=columns.session_id,
        owner_candidates=_owners(case, kind),
        precondition=Precondition.MUST_NOT_EXIST,
    )


def _owners(case: _Case, kind: TaskKind) -> tuple[OwnerCandidate, ...]:
    override = case.outcome.owner_override
    default = case.mapping.default_owner(kind)
    if override and case.mapping.owner_overrides and validation.is_canonical_uuid(override):
        return case.mapping.override_owner(override), default
    return (default,)


def _sorted(columns: Mapping[str, Value]) -> Columns:
    """In one order, so that the same plan has the same bytes (P2)."""
    return dict(sorted(columns.items()))
