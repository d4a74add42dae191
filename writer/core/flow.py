"""What happens to a plan between its lane and its end: who may start, what follows from each step, and what is said. No
I/O.

- W1 A plan is settled when its result is acknowledged, and not before.
- W4 The next plan of a lane starts when the one before is settled, or requeued with those behind it.
- W6 A plan without a verdict waits, or is requeued.
- W8 A dry run is decided here, where each step takes effect: nothing is sent that writes, and nothing is requeued.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from typing import Protocol

from schemas.records import BlockReason, ResultStatus, WritebackResult
from writer.core import results
from writer.core.attempt import (
    FIGHT,
    MOST_FOLLOW_UPS,
    AlreadySettled,
    Around,
    Decided,
    Event,
    Metadata,
    PlanInFlight,
    Reading,
    Recheck,
    RetryLater,
    State,
    Step,
    Writing,
    first_step,
    in_dry_run,
)
from writer.core.decisions import Left
from writer.core.history import History, Settled, settled_as
from writer.core.messages import Effect, Ended, Fail, Now, Verify
from writer.core.publishing import CopyOf, Publication, Publishing, RejectionOf, ResultOf
from writer.core.refusals import UNVERIFIABLE, Names, has_landed, held, named_by, of_whole, refusal_of, taken
from writer.core.replies import Kind, Meaning, lost
from writer.core.reports import Count, Level, Log, Observe
from writer.core.results import ResultContext
from writer.core.retry import AskAPerson, Landing, Requeue, ResumeNeeded, Retry, RetryLimits, RetryPolicy
from writer.core.scheduling import Scheduler

_LONGEST_ABSENCE_S = RetryLimits().longest_absence
"""A record's header may ask for no more: a damaged one must not keep its lane waiting for years."""
_NO_ANSWER = lost()
_NO_COPY = (
    "Requeueing failed: the copy of this plan, which is a few bytes larger, exceeds max.message.bytes of the topic. "
    "The plan may have landed. Raise max.message.bytes, then call writeback replay for this session."
)
_MOST_NAMED = 10
"""Sessions that a line names beside its own."""
_EPOCH = datetime.fromtimestamp(0, UTC)
DROPPED, SETTLED_BEFORE, REQUEUED = "dropped", "settled before", "requeued"
"""How a plan's way ends, beside the status of its result."""


class SettledSessions(Protocol):
    """What is known of sessions that settled before: `kafka.results_index`."""

    def of(self, partition: int) -> History | None:
        """None as long as the results of the partition are being read."""
        ...

    def first_settled_at(self, partition: int, session_id: str) -> datetime | None:
        """When its first final result was reached; None if it has none, or as long as they are being read."""
        ...

    def published(self, partition: int, session_id: str, settled: Settled | None, first_at: datetime | None) -> None:
        """A result of ours is acknowledged."""
        ...


@dataclass(frozen=True, slots=True)
class Signature:
    """`name` is what results are signed with. `write` off is a dry run."""

    name: str
    write: bool


class Flow:
    def __init__(
        self,
        signature: Signature,
        metadata: Metadata,
        index: SettledSessions,
        retry: RetryPolicy,
        publishing: Publishing,
    ) -> None:
        self._signature = signature
        self._metadata = metadata
        self._index = index
        self.retry = retry
        self._publishing = publishing
        self.scheduler: Scheduler
        self.effects: list[Effect] = []
        self.now = Now(0.0, _EPOCH)
        self.first_blocked_at = 0.0
        """Unix time; 0 as long as no plan was blocked."""
        self._starting: deque[PlanInFlight] = deque()
        self._delayed: list[tuple[float, int, PlanInFlight]] = []
        self._ties = itertools.count()
        self._abroad: dict[str, PlanInFlight | None] = {}
        """Lanes with a request in flight of an assignment that is over: nothing works beside it. And who waits."""
        self._reported: deque[tuple[Names, ...]] = deque(maxlen=100)
        """What held plans were refused for, since a plan last landed."""

    # Into the lanes.

    def queue_up(self, plan: PlanInFlight) -> None:
        """Into its lane; or behind the plans of its lane that are being requeued."""
        if plan.assignment.requeues.must_follow(plan.lane, plan.record.offset, plan.session_id, plan.requeues):
            self._copy(plan, timedelta(0))
        elif plan.assignment.lanes.offer(plan.lane, plan):
            self._starting.append(plan)

    def start_waiting(self) -> None:
        """Not where they become free: a lane may be long."""
        while self._starting:
            plan = self._starting.popleft()
            if plan.lane in self._abroad:
                self._abroad[plan.lane] = plan
            elif not plan.dropped:
                self._start(plan)

    def _start(self, plan: PlanInFlight) -> None:
        at = plan.not_before
        wait = min((at - self.now.utc).total_seconds() if at else 0.0, _LONGEST_ABSENCE_S)
        if wait > 0:
            plan.on(Event.HELD_BACK)
            self._delay(plan, self.now.s + wait)
        else:
            plan.on(Event.STARTS)
            self._make_ready(plan)

    def _delay(self, plan: PlanInFlight, until: float) -> None:
        heappush(self._delayed, (until, next(self._ties), plan))

    def wake_delayed(self) -> None:
        while self._delayed and self._delayed[0][0] <= self.now.s:
            plan = heappop(self._delayed)[-1]
            if not plan.dropped:
                plan.on(Event.STARTS)
                self._make_ready(plan)

    @property
    def wake_at(self) -> float:
        return self._delayed[0][0] if self._delayed else math.inf

    def _make_ready(self, plan: PlanInFlight) -> None:
        """A plan whose session has settled is not sent again: neither after offsets were set back, nor as a copy, nor
        when the planner has published it twice. Only one that may have settled before this writer began waits for the
        results to be read.
        """
        history = self._history(plan)
        if history is None:
            if plan.look_back or self._earlier_ones_to_come(plan):
                plan.on(Event.RESULTS_UNREAD)
                plan.assignment.awaiting_results.append(plan)
                return
        elif (known := history.of(plan.session_id)) is not None and plan.needs_nothing(known):
            self.follow(plan, AlreadySettled(known))
            return
        elif isinstance(plan.decided, Left):
            self.follow(plan, Decided(results.closed(self.context(plan), plan.decided)))
            return
        elif earlier := self._earlier_ones_to_come(plan):
            self._log_plan("warning", "plan.goes_behind_earlier_ones", plan, earlier=earlier[:_MOST_NAMED])
            self._requeue_lane(plan, timedelta(0))
            return
        self.scheduler.add_ready(plan)

    def _earlier_ones_to_come(self, plan: PlanInFlight) -> list[str]:
        """W4 Sessions that belong before it, have not settled as far as is known, and may still come behind it."""
        if not self._signature.write or not plan.assignment.was_there_already(plan.record):
            return []
        history = self._history(plan)
        before = (earlier.session_id for earlier in plan.plan.preceding)
        return [session for session in before if history is None or history.of(session) is None]

    def cleared(self, plan: PlanInFlight) -> None:
        """By an answer that is kept from now on."""
        plan.on(Event.CLEARED)
        self._go_on(plan)

    def _go_on(self, plan: PlanInFlight) -> None:
        if plan.assignment.closing:
            self.drop(plan)
        else:
            self._make_ready(plan)

    def results_read(self, plans: Iterable[PlanInFlight]) -> None:
        for plan in plans:
            plan.on(Event.RESULTS_READ)
            self._make_ready(plan)

    def _history(self, plan: PlanInFlight) -> History | None:
        return self._index.of(plan.record.partition)

    def _known(self, plan: PlanInFlight) -> Settled | None:
        """How its session settled before, as far as the results have been read."""
        history = self._history(plan)
        return None if history is None else history.of(plan.session_id)

    def around(self, plan: PlanInFlight) -> Around:
        return Around(
            self._metadata,
            self._history(plan),
            self.context(plan),
            self.now.s,
            plan.assignment.lanes.following(plan.lane),
        )

    def context(self, plan: PlanInFlight) -> ResultContext:
        return ResultContext(
            plan=plan.plan,
            position=plan.position,
            attempts=self.retry.attempts(plan.session_id) + 1,
            settled_at=self.now.utc,
            written_by=self._signature.name,
            warnings=plan.cleared.warnings if plan.cleared else (),
            before=self._known(plan),
            decided=plan.decided,
            first_settled_at=self._index.first_settled_at(plan.record.partition, plan.session_id),
        )

    # What the scheduler asks of each plan whose turn it is.

    @property
    def outage(self) -> bool:
        return self.retry.outage

    def clears(self, plan: PlanInFlight) -> bool:
        """Whether kept metadata clears it; if not, it is being verified from now on."""
        if plan.clear(self._metadata.cached_verdict(plan.plan)):
            return True
        plan.on(Event.NOT_VERIFIED)
        self.effects.append(Verify(plan, anew=False))
        return False

    def begins(self, plan: PlanInFlight) -> bool:
        """Whether a cleared plan has something to ask; if not, it was decided without a request."""
        plan.follow_ups, plan.answered = 0, False
        around = self.around(plan)
        step = first_step(plan, around)
        if not self._signature.write:
            step = in_dry_run(plan, step, around)
        if isinstance(step, Reading | Writing):
            self._ask(plan, step)
            return True
        self._log_verdicts("plans.decided", [(plan, step)])
        self.follow(plan, step)
        return False

    def still_asks(self, plan: PlanInFlight) -> bool:
        """Whether what a follow-up asks may still be asked; if not, the plan begins anew. W9: its place may have come
        hours later, under a Retry-After. What was put together for another owner is over, too.
        """
        if isinstance(plan.ask, Reading) and plan.ask.gaps:  # of a plan that was not cleared, and is not to be sent
            return True
        owners = plan.owners
        if plan.clear(self._metadata.cached_verdict(plan.plan)) and (
            isinstance(plan.ask, Reading) or plan.owners == owners
        ):
            return True
        self._again(plan)
        return False

    # What follows.

    def follow(self, plan: PlanInFlight, step: Step) -> None:
        if not self._signature.write:
            step = in_dry_run(plan, step, self.around(plan))
        match step:
            case Reading() | Writing() if step is plan.ask:
                plan.on(Event.NOT_TRIED)
                self.scheduler.add_follow_up(plan)
            case Reading() if plan.follow_ups >= MOST_FOLLOW_UPS - 1:  # no write may follow it
                fights = plan.doubt is not None and plan.doubt.meaning is Meaning.CHANGED
                self._retry_later(plan, RetryLater(FIGHT if fights else _NO_ANSWER))
            case Reading() | Writing():
                plan.follow_ups += 1
                self._ask(plan, step)
                self.scheduler.add_follow_up(plan)
            case Recheck():
                plan.rechecked = True
                plan.on(Event.DOUBTED)
                self.effects.append(Verify(plan, anew=True))
            case Decided(result):
                self._decided(plan, result)
            case AlreadySettled(known):
                self._settled_before(plan, known)
            case RetryLater(judgement, counted=False):
                if judgement.kind is Kind.THROTTLED:
                    plan.note_reply(judgement)
                self._again(plan)
            case _:
                self._retry_later(plan, step)

    @staticmethod
    def _ask(plan: PlanInFlight, ask: Reading | Writing) -> None:
        plan.ask = ask
        plan.on(Event.READS if isinstance(ask, Reading) else Event.WRITES)

    def _again(self, plan: PlanInFlight) -> None:
        """Nothing was wrong with it: before all that are younger, as soon as there is a place."""
        plan.on(Event.STOPPED)
        self._go_on(plan)

    def _settled_before(self, plan: PlanInFlight, known: Settled) -> None:
        plan.on(Event.SETTLED_BEFORE)
        self.effects.append(Count("settled_before"))
        self.retry.forget(plan.session_id)  # known from results: the CRM was not asked
        self._log_plan("info", "plan.settled_before", plan, settled_as=known)
        self._settled(plan, SETTLED_BEFORE)

    def _decided(self, plan: PlanInFlight, result: WritebackResult) -> None:
        """A refusal blocks the plan only if it is the plan's own trouble (core/refusals)."""
        if self._held_back(plan, result):
            return
        if (refusal := refusal_of(plan.plan, result)) is not None:
            verdict = self.retry.refused(plan.session_id, refusal, self.now.s, requeues=plan.requeues)
            if not isinstance(verdict, AskAPerson):
                self._report_once(refusal.about, refusal.reason, result.message)
                plan.held = held(result)
                plan.read_first = plan.read_first or any(step.http_status for step in result.steps)
                self._act(plan, verdict)
                return
        self._publish_outcome(plan, result)

    def _held_back(self, plan: PlanInFlight, result: WritebackResult) -> bool:
        """W2 What a writer before this one has sent may land yet: nothing may say before that nothing was written."""
        until = plan.assignment.earlier_requests_until(plan.record)
        if not self._signature.write or settled_as(result) is not Settled.NOT_WRITTEN or self.now.s >= until:
            return False
        self._log_plan("info", "plan.waits_for_earlier_requests", plan, seconds=round(until - self.now.s))
        self._fail(plan, until, Event.HELD_BACK)
        return True

    def _report_once(self, about: tuple[Names, ...], reason: str, what_to_do: str | None) -> None:
        """Loudly, and not for each of a backlog."""
        if about not in self._reported:
            self._reported.append(about)
            self.effects.append(Log("error", "plans.held", {"reason": reason, "what_to_do": what_to_do}))

    def _retry_later(self, plan: PlanInFlight, later: RetryLater) -> None:
        judgement = later.judgement
        plan.note_reply(judgement)
        if judgement.kind is not Kind.PERMANENT or plan.doubt:
            plan.held = None
        if judgement.kind is Kind.PERMANENT:  # metadata, an owner or a record must not be read: no outage
            self.retry.hold(plan.session_id, self.retry.held_for(plan.session_id) or UNVERIFIABLE, self.now.s)
            if plan.held is None:
                about = (frozenset({str(judgement.privilege)}),)
                self._report_once(about, UNVERIFIABLE, results.why_it_waits(judgement))
        verdict = self.retry.failed(
            plan.session_id,
            self.now.s,
            suspect=of_whole(plan.plan) if judgement.meaning is Meaning.SUSPECT else (),
            requeues=plan.requeues,
            retry_after_s=judgement.retry_after if judgement.retry_after and judgement.by_the_crm else 0.0,
        )
        if isinstance(verdict, AskAPerson):
            result = results.refused(self.context(plan), judgement, doubt=plan.doubt_of_refusal)
            if not self._held_back(plan, result):
                self._publish_outcome(plan, result)
        else:
            self._act(plan, verdict)

    def _act(self, plan: PlanInFlight, verdict: Retry | ResumeNeeded | Requeue) -> None:
        match verdict:
            case Retry(at):
                # The last attempt before it is requeued is made alone: what fails a request as a whole must not requeue
                # the plans that happened to share it, since they would come back together (W5).
                plan.alone = plan.alone or self.retry.is_last_attempt(plan.session_id)
                self._fail(plan, at)
            case ResumeNeeded(at):
                self.publish_resume_needed(plan)
                self._fail(plan, at)
            case Requeue(seconds) if self._signature.write:
                # Its copy does not know what may arrive: by then it has.
                self._requeue(plan, max(seconds, self.retry.late_request) if plan.may_arrive else seconds)
            case _:
                self._publish_outcome(plan, self._resume_needed(plan))

    def _fail(self, plan: PlanInFlight, until: float, event: Event = Event.FAILED) -> None:
        plan.on(event)
        if plan.assignment.closing:
            self.drop(plan)
            return
        self.scheduler.rank_last(plan)
        self._delay(plan, until)

    # Requeued.

    def _requeue(self, plan: PlanInFlight, seconds: float) -> None:
        """With its lane behind it, in this order, whatever else is appended meanwhile."""
        self.publish_resume_needed(plan)
        self._log_plan("warning", "plan.requeued", plan, seconds=seconds)
        self._requeue_lane(plan, timedelta(seconds=seconds))

    def _requeue_lane(self, plan: PlanInFlight, wait: timedelta) -> None:
        for each in (plan, *plan.assignment.lanes.take_waiting(plan.lane)):
            self._copy(each, wait)
        self._leave_lane(plan)

    def _copy(self, plan: PlanInFlight, wait: timedelta) -> None:
        count = plan.requeues + 1
        self.effects.append(Observe("requeue_count", count))
        earlier = self._earlier_ones_to_come(plan)
        plan.assignment.requeue(plan.lane, plan.record, plan.session_id, count, earlier)
        plan.on(Event.REQUEUED)
        self._publishing.add(CopyOf(plan, count, self.now.utc + wait))

    # What is published.

    def publish_resume_needed(self, plan: PlanInFlight) -> None:
        """No result becomes less true: nothing is said of a session that has a final result."""
        if self._known(plan) is not None:
            self.effects.append(Count("retried_after_result"))
            last = None if plan.last is None else plan.last.meaning
            self._log_plan("warning", "plan.retried_after_result", plan, last=last)
            return
        result = self._resume_needed(plan)
        self._log_plan("warning", "plan.resume_needed", plan, attempts=result.attempts, why=result.message)
        self.effects.append(Count("outcomes", (result.status, "")))
        self._publishing.add(ResultOf(plan, result, None, settles=False))

    def _resume_needed(self, plan: PlanInFlight) -> WritebackResult:
        """Why it waits now, and the last reply that really came."""
        context = self.context(plan)
        if plan.held is not None:
            return replace(plan.held, attempts=context.attempts, settled_at=context.settled_at)
        return results.resume_needed(context, plan.last or _NO_ANSWER, plan.last_reply)

    def publish_overdue(self, heads: Iterable[PlanInFlight]) -> None:
        """In an outage nothing is tried, but the retry budget runs out all the same: each plan is reported once."""
        overdue = set(self.retry.overdue(self.now.s))
        for plan in heads:
            if plan.session_id in overdue and plan.state is not State.PUBLISHING:
                self.publish_resume_needed(plan)

    def _publish_outcome(self, plan: PlanInFlight, result: WritebackResult) -> None:
        plan.on(Event.DECIDED)
        self._publishing.add(ResultOf(plan, result, self._known(plan), settles=True))

    def reject(self, rejection: RejectionOf) -> None:
        """W8: a dry run publishes nothing but its own results."""
        if self._signature.write:
            self._publishing.add(rejection)
        else:
            self._rejected(rejection)

    def acknowledged(self, publication: Publication, offset: int) -> None:
        """Late news of an assignment that is over changes nothing."""
        if publication.assignment.closed:
            return
        match publication:
            case ResultOf(plan, result, settles=True):
                plan.on(Event.ACKNOWLEDGED)
                self._outcome_acknowledged(plan, result)
            case CopyOf(plan):
                plan.on(Event.ACKNOWLEDGED)
                self.effects.append(Count("requeues"))
                plan.assignment.copied(plan.lane, plan.record, offset)
                self.effects.append(Ended(plan.trace, REQUEUED, REQUEUED))
            case RejectionOf():
                self._rejected(publication)

    def too_large(self, publication: Publication) -> None:
        """The broker does not take this record, whatever is done."""
        if publication.assignment.closed:
            return
        match publication:
            case CopyOf(plan):  # a restart would only meet it again; those behind it in its lane go on (W4)
                plan.on(Event.NO_COPY)
                refused = results.refused(self.context(plan), _NO_ANSWER)
                result = replace(refused, message=_NO_COPY, may_have_landed=True)
                self._publishing.add(ResultOf(plan, result, self._known(plan), settles=True))
            case RejectionOf(bare=False):
                self._publishing.add(replace(publication, bare=True))
            case _:
                self.effects.append(Fail("the broker refuses a record for its size"))

    def _rejected(self, rejection: RejectionOf) -> None:
        record = rejection.record
        self.effects.append(Count("rejected"))
        codes = [reason.code for reason in rejection.reasons]
        where = {"partition": record.partition, "offset": record.offset}
        self.effects.append(Log("warning", "record.rejected", {**where, "reasons": codes}, [rejection.trace]))
        self.effects.append(Ended(rejection.trace, "rejected", codes[0]))
        rejection.assignment.settle(record)

    def _outcome_acknowledged(self, plan: PlanInFlight, result: WritebackResult) -> None:
        if self._signature.write:  # a dry run settles nothing for others to know
            settled, first_at = settled_as(result), result.first_settled_at
            self._index.published(plan.record.partition, plan.session_id, settled, first_at)
        self._count(plan, result)
        if has_landed(result):
            named = named_by(plan.plan, taken(result))
            self.retry.landed(plan.session_id, self.now.s, Landing(named, plan.sent_at))
            self._reported.clear()
        elif refusal_of(plan.plan, result):
            self.retry.blocked(plan.session_id, self.now.s)
        elif plan.answered:
            self.retry.answered(plan.session_id, self.now.s)
        else:
            self.retry.forget(plan.session_id)  # decided without the CRM, which may be away
        self._settled(plan, result.status, _error_of(result))

    def _count(self, plan: PlanInFlight, result: WritebackResult) -> None:
        reason = result.block_reason
        self.effects.append(Count("outcomes", (result.status, reason or "")))
        if result.status is not ResultStatus.BLOCKED or reason is BlockReason.ELIGIBILITY:
            return
        self.first_blocked_at = self.first_blocked_at or self.now.utc.timestamp()
        if result.opt_out and settled_as(result) is not Settled.OPT_OUT_ONLY:
            self.effects.append(Count("blocked_opt_outs"))
        self._log_plan(
            "warning",
            "plan.blocked",
            plan,
            queue_item_id=plan.lane,
            reason=reason,
            conflicts=list(result.conflicts),
            request_id=_request_id(plan, result),
            what_to_do=result.message,
        )

    def _settled(self, plan: PlanInFlight, outcome: str, error: str | None = None) -> None:
        assignment = plan.assignment
        assignment.settle(plan.record)
        self.effects.append(Ended(plan.trace, outcome, error))
        if assignment.lanes.head(plan.lane) is plan:
            self._leave_lane(plan)
        else:  # it was to be requeued, and could not be
            assignment.requeues.not_copied(plan.lane, plan.record.offset)
            assignment.settle_originals()

    def _leave_lane(self, plan: PlanInFlight) -> None:
        if (following := plan.assignment.lanes.finished(plan.lane)) is not None:
            self._starting.append(following)

    # Revoked.

    def drop(self, plan: PlanInFlight) -> None:
        """Its partition is another writer's, or about to be: that one says what becomes of it."""
        if plan.state in (State.SENT, State.READING):
            self._abroad[plan.lane] = None
        plan.on(Event.REVOKED)
        self.effects.append(Ended(plan.trace, DROPPED))
        self.retry.forget(plan.session_id)

    def came_back(self, plan: PlanInFlight) -> None:
        """The request of a plan that was dropped meanwhile has ended: its lane is free."""
        waiting = self._abroad.pop(plan.lane, None)
        if waiting is not None:
            self._starting.append(waiting)

    # What is reported.

    def _log_plan(self, level: Level, event: str, plan: PlanInFlight, **fields: object) -> None:
        """With what leads from this line to the record, to its trace and to the CRM's own log."""
        if "request_id" not in fields and plan.last_reply is not None:
            fields["request_id"] = plan.last_reply.request_id
        self.effects.append(Log(level, event, _which([plan]) | fields, [plan.trace]))

    def _log_verdicts(self, event: str, verdicts: Sequence[tuple[PlanInFlight, Step]], **reply: object) -> None:
        plans, steps = [plan for plan, _ in verdicts], [step for _, step in verdicts]
        decided = [step.result for step in steps if isinstance(step, Decided)]
        later = [step.judgement for step in steps if isinstance(step, RetryLater)]
        fields = {
            "plans": len(steps),
            "done": len(decided),
            "blocked": sum(1 for result in decided if result.status is ResultStatus.BLOCKED),
            "later": sorted({f"{judgement.kind}/{judgement.meaning}" for judgement in later}),
            "ask_again": sum(1 for step in steps if isinstance(step, Reading | Writing | Recheck)),
            **_which(plans),
            **reply,
        }
        self.effects.append(Log("warning" if later else "info", event, fields, [plan.trace for plan in plans]))

    def log_reply(self, verdicts: Sequence[tuple[PlanInFlight, Step]], **reply: object) -> None:
        self._log_verdicts("plans.sent", verdicts, **reply)


def _which(plans: Sequence[PlanInFlight]) -> dict[str, object]:
    """What a line is about: session and place of one plan, or of each."""
    if len(plans) == 1:
        [plan] = plans
        return {"session_id": plan.session_id, "partition": plan.record.partition, "offset": plan.record.offset}
    return {
        "sessions": [plan.session_id for plan in plans],
        "places": [f"{plan.record.partition}/{plan.record.offset}" for plan in plans],
    }


def _request_id(plan: PlanInFlight, result: WritebackResult) -> str | None:
    """The CRM's own id of the request that decided it."""
    own = [step.request_id for step in result.steps if step.request_id]
    if own:
        return own[-1]
    return plan.last_reply.request_id if plan.last_reply else None


def _error_of(result: WritebackResult) -> str | None:
    """Why its plan did not land. An item that was not eligible is not an error."""
    return None if result.block_reason is BlockReason.ELIGIBILITY else result.block_reason
