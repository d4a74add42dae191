"""One plan's way through the writer, as a table: (state, event) → state. And its exchange with the CRM: what to ask
first, and what follows from what was heard. No I/O.

Every change of a plan's state is a row of `TABLE`; anything else is an error of ours, and raises. The exchange:

    write ──done──> landed                     read ──> landed
      │ precondition failed, or no answer        │──> these steps are missing ──> write
      └─────────────> read                       │──> conflict ──> write the call alone
                                                 └──> somebody else's record

Each plan asks one thing at a time, a read or a change set, until there is a verdict. A change set brings the reads of
the plan behind it in its lane along, so that in a backlog later plans of a queue item cost no more than first ones.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Protocol, assert_never

from schemas import headers
from schemas.records import (
    OwnerCandidate,
    PlannedStep,
    PlannedWriteback,
    PlanPosition,
    ResultStatus,
    Value,
    WritebackResult,
)
from writer.core import results
from writer.core.assignment import Assignment, ConsumerRecord
from writer.core.decisions import Accepted, Left, decision_of
from writer.core.emission import (
    NO_LIMITS,
    Emission,
    Limits,
    Observed,
    Read,
    at_limit,
    baseline_row,
    call_activity,
    evidence,
    full,
    get,
    late,
    of_steps,
    opts_out,
    reads,
    update_step,
)
from writer.core.exchanges import Part, PartReply
from writer.core.gate import Cleared, Gap
from writer.core.history import History, Settled
from writer.core.reconcile import (
    Conflict,
    Finding,
    ForeignRecord,
    Landed,
    Late,
    Missing,
    NoQueueItem,
    Observations,
    reconcile,
    records_call_alone,
)
from writer.core.replies import Judgement, Kind, Meaning
from writer.core.results import Doubt, ResultContext

FRESH_S = 5.0
"""How long prefetched records decide what is not sent under their etag."""
BELIEVED_S = 60.0
"""How long they are written on: if the row has changed since, its etag refuses the write. In a backlog the next plan of
a lane waits behind older ones for some time, and another read would cost a place in a request."""
MOST_FOLLOW_UPS = 8
"""A plan that is still undecided then fights with somebody for the row: it tries again later."""


class State(StrEnum):
    WAITING = "waiting in its lane"
    DELAYED = "delayed"
    AWAITING_RESULTS = "awaiting earlier results"
    READY = "ready"
    VERIFYING = "verifying"
    TO_SEND = "to be sent"
    SENT = "sent"
    TO_READ = "to be read back"
    READING = "reading back"
    VERIFYING_ANEW = "verifying anew"
    PUBLISHING = "publishing its result"
    REQUEUEING = "requeueing"
    SETTLED = "settled"
    DROPPED = "dropped"


class Event(StrEnum):
    STARTS = "may start"
    HELD_BACK = "not before a later time"
    RESULTS_UNREAD = "results still unread"
    RESULTS_READ = "results were read"
    SETTLED_BEFORE = "settled before"
    NOT_VERIFIED = "not verified"
    CLEARED = "cleared"
    WRITES = "has something to write"
    READS = "has something to read"
    GOES_OUT = "goes out"
    NOT_TRIED = "was not tried"
    DOUBTED = "metadata in doubt"
    FAILED = "failed"
    STOPPED = "nothing wrong with it"
    DECIDED = "decided"
    REQUEUED = "requeued"
    NO_COPY = "no copy possible"
    ACKNOWLEDGED = "acknowledged"
    REVOKED = "revoked"


_ANSWERED = (State.VERIFYING, State.SENT, State.READING, State.VERIFYING_ANEW)
"""Something was asked, and the answer says what follows."""
_ASKS = (*_ANSWERED, State.TO_SEND, State.TO_READ)
_WAITS = (State.WAITING, State.DELAYED, State.AWAITING_RESULTS, State.READY)
_ENDED = (State.SETTLED, State.DROPPED)

TABLE: Mapping[tuple[State, Event], State] = {
    # Its lane, its time, and what may have settled it before.
    (State.WAITING, Event.STARTS): State.READY,
    **{(state, Event.HELD_BACK): State.DELAYED for state in (State.WAITING, State.READY, *_ANSWERED)},
    (State.DELAYED, Event.STARTS): State.READY,
    (State.READY, Event.RESULTS_UNREAD): State.AWAITING_RESULTS,
    (State.AWAITING_RESULTS, Event.RESULTS_READ): State.READY,
    (State.READY, Event.SETTLED_BEFORE): State.SETTLED,
    (State.READING, Event.SETTLED_BEFORE): State.SETTLED,
    # The gate (W9).
    (State.READY, Event.NOT_VERIFIED): State.VERIFYING,
    (State.VERIFYING, Event.CLEARED): State.READY,
    (State.SENT, Event.DOUBTED): State.VERIFYING_ANEW,
    (State.READING, Event.DOUBTED): State.VERIFYING_ANEW,
    # The exchange: what it asks waits for a request, and shares it with others.
    **{(state, Event.WRITES): State.TO_SEND for state in (State.READY, State.READING, State.VERIFYING_ANEW)},
    **{
        (state, Event.READS): State.TO_READ
        for state in (State.READY, State.SENT, State.VERIFYING, State.VERIFYING_ANEW)
    },
    (State.TO_SEND, Event.GOES_OUT): State.SENT,
    (State.TO_READ, Event.GOES_OUT): State.READING,
    (State.SENT, Event.NOT_TRIED): State.TO_SEND,
    (State.READING, Event.NOT_TRIED): State.TO_READ,
    # Its verdicts.
    **{(state, Event.DECIDED): State.PUBLISHING for state in (State.READY, *_ANSWERED)},
    **{(state, Event.FAILED): State.DELAYED for state in _ANSWERED},
    **{(state, Event.STOPPED): State.READY for state in (State.READY, *_ASKS)},
    **{(state, Event.REQUEUED): State.REQUEUEING for state in (State.WAITING, State.READY, *_ANSWERED)},
    (State.REQUEUEING, Event.NO_COPY): State.PUBLISHING,
    (State.PUBLISHING, Event.ACKNOWLEDGED): State.SETTLED,
    (State.REQUEUEING, Event.ACKNOWLEDGED): State.SETTLED,
    # Its partition is another writer's now: what becomes of it is no longer ours to say.
    **{(state, Event.REVOKED): State.DROPPED for state in State if state not in _ENDED},
}


@dataclass(frozen=True, slots=True)
class Prefetched:
    """What `emission.reads` of a plan asks for, and when it was so."""

    observed: Observations
    at: float


@dataclass(eq=False, slots=True)
class PlanInFlight:
    """One plan and where it is. Known by identity: the same plan may come twice."""

    plan: PlannedWriteback
    record: ConsumerRecord
    assignment: Assignment
    look_back: bool = False
    """It may have been settled before: it waits until the results of its partition have been read."""
    trace: object = None
    """Handed on with its requests and results."""
    state: State = State.WAITING
    cleared: Cleared | None = None
    """The gate's verdict; each attempt is cleared anew."""
    read_first: bool = False
    """Its records may not be what the plan expects: look before anything is sent."""
    alone: bool = False
    """The request it shared was refused as a whole or too large, or failed again and again: it goes without company."""
    rechecked: bool = False
    """The service refused what the gate had cleared, and everything was verified anew since."""
    prefetched: Prefetched | None = None
    """Its records, as the request that landed the plan before it showed them."""
    doubt: Judgement | None = None
    """The reply that left open what its records hold; None once they were read."""
    refusal: RefusedWrite | None = None
    """Of a write that no read went before, until its records are read: an earlier attempt, of another writer too, may
    have landed (W2)."""
    call_may_exist: bool = field(init=False)
    """A request that may have landed was to record the call alone (R6). Its copies know that too."""
    may_arrive: bool = False
    """A write of it had no answer: it may still reach the CRM after its records were read."""
    decided: Accepted | Left | None = field(init=False)
    """What a person decided about its session."""
    opts_out: bool = field(init=False)
    """It sets do-not-call: how late it is counts more than that of others."""
    ask: Ask | None = None
    """What it asks at present."""
    follow_ups: int = 0
    """Requests of this attempt behind the first one."""
    sent_at: float = 0.0
    """When the request of its last verdict was begun."""
    answered: bool = False
    """Whether the CRM itself answered the last request of this attempt."""
    last: Judgement | None = None
    """What made it wait last."""
    last_reply: Judgement | None = None
    """The last of these that came as a reply."""
    held: WritebackResult | None = None
    """What to publish while the CRM refuses it and all its like."""
    rank: tuple[int, int, int] = field(init=False)
    """Its place among those that are ready: by age, until it has failed."""

    def __post_init__(self) -> None:
        self.rank = self.record.timestamp_ms, 0, self.record.offset
        self.call_may_exist = headers.call_may_exist(self.record.headers)
        self.decided = decision_of(self.record.headers)
        self.opts_out = opts_out(self.plan)
        self.read_first = self.read_first or isinstance(self.decided, Accepted)

    def on(self, event: Event) -> None:
        """Raises KeyError if the table has no such row."""
        self.state = TABLE[self.state, event]

    def note_reply(self, judgement: Judgement) -> None:
        self.last = judgement
        if judgement.status is not None:
            self.last_reply = judgement

    @property
    def dropped(self) -> bool:
        return self.state is State.DROPPED

    @property
    def in_flight(self) -> bool:
        """Something is asked or published about it; otherwise it only waits."""
        return self.state in _ASKS or self.state is State.PUBLISHING

    @property
    def waits(self) -> bool:
        return self.state in _WAITS

    @property
    def lane(self) -> str:
        return self.plan.queue_item_id

    @property
    def session_id(self) -> str:
        return self.plan.session_id

    @property
    def requeues(self) -> int:
        return headers.requeue_count(self.record.headers)

    @property
    def not_before(self) -> datetime | None:
        return headers.not_before(self.record.headers)

    @property
    def position(self) -> PlanPosition:
        return PlanPosition(partition=self.record.partition, offset=self.record.offset, digest=self.plan.digest)

    def needs_nothing(self, known: Settled) -> bool:
        """Whether it is settled by how its session settled before. W2 A plan that took the place of another one is
        carried out only if nothing was written for that.
        """
        in_place_of_another = headers.last(self.record.headers, headers.REPLAN) is not None
        return known.needs_nothing or (in_place_of_another and known is not Settled.NOT_WRITTEN)

    @property
    def doubt_of_refusal(self) -> Doubt:
        """Of a refusal while its records show nothing."""
        return Doubt.MAY_ARRIVE if self.may_arrive else Doubt.NONE

    @property
    def owners(self) -> Mapping[int, OwnerCandidate]:
        return self.cleared.owners if self.cleared else {}

    @property
    def limits(self) -> Limits:
        return self.cleared.limits if self.cleared else NO_LIMITS

    def hear_of_write(self, reply: PartReply, found: Finding | None) -> None:
        """What this reply to a write that was decided on `found` leaves open."""
        if reply.judgement.kind is Kind.AMBIGUOUS:
            self.read_first, self.doubt = True, reply.judgement
        if reply.may_have_landed:
            self.may_arrive = True
            self.call_may_exist = self.call_may_exist or records_call_alone(found)

    def clear(self, verdict: Cleared | None) -> bool:
        """The gate's verdict on the next attempt; the plan takes the form that the CRM keeps. Whether it is cleared."""
        self.cleared = verdict
        if verdict is not None and verdict.plan is not None:
            self.plan = verdict.plan
        return verdict is not None


class Metadata(Protocol):
    """What is kept of the CRM's metadata and owners; `dataverse.metadata_cache` asks for it."""

    def cached_verdict(self, plan: PlannedWriteback) -> Cleared | None:
        """The verdict if kept answers suffice and nothing is wrong; None if Dataverse has to be asked."""
        ...

    def read_property_of(self, entity_set: str) -> Mapping[str, str]:
        """Binding name or lookup column to the property that shows the link."""
        ...

    def observed(self, read: Read, planned: Mapping[str, Value], reply: PartReply) -> Observed | Judgement | None:
        """The record in the plan's own words; None if it is not there; a judgement if it could not be read."""
        ...


@dataclass(frozen=True, slots=True)
class Reading:
    reads: tuple[Read, ...]
    gaps: tuple[Gap, ...] = ()
    """What the CRM lacks of the plan: only whether it has landed before is still to be known."""


@dataclass(frozen=True, slots=True)
class Ahead:
    """The plan behind in the lane: its records are read in the same request, as they stand once this has landed."""

    plan: PlanInFlight
    reads: tuple[Read, ...]


@dataclass(frozen=True, slots=True)
class Writing:
    emission: Emission
    found: Finding | None = None
    """What it was decided on; None for the first attempt, under the baseline's etag."""
    at_limit: tuple[str, ...] = ()
    """Counters that stay at their maximum."""
    ahead: Ahead | None = None


Ask = Reading | Writing


@dataclass(frozen=True, slots=True)
class Decided:
    """Settled once this result is acknowledged. `found`: what it was decided on, if rows were judged."""

    result: WritebackResult
    found: Finding | None = None


@dataclass(frozen=True, slots=True)
class AlreadySettled:
    """An earlier result of this session says that nothing is left to do: nothing is sent, and nothing published."""

    known: Settled


@dataclass(frozen=True, slots=True)
class RetryLater:
    """No verdict. `counted`: this was an attempt of the plan; otherwise nothing is wrong with it."""

    judgement: Judgement
    counted: bool = True


@dataclass(frozen=True, slots=True)
class Recheck:
    """Verify anew what the gate had cleared, then begin again; nobody else waits for that."""


Verdict = Decided | AlreadySettled | RetryLater
Step = Verdict | Ask | Recheck


@dataclass(frozen=True, slots=True)
class RefusedWrite:
    judgement: Judgement
    failing: int | None
    """The index of the step that was refused, if the reply says which."""


@dataclass(frozen=True, slots=True)
class Around:
    """What an exchange needs besides the plan: `following` is the plan behind it in its lane, `history` None while the
    results of its partition are being read.
    """

    metadata: Metadata
    history: History | None
    context: ResultContext
    now: float
    following: PlanInFlight | None = None


def first_step(plan: PlanInFlight, around: Around) -> Step:
    """Sent straight away under the baseline's etag, unless that is known to be over: an earlier plan of ours has
    changed the row since, so the etag would only be refused. The gate has cleared it.
    """
    prefetched, plan.prefetched = plan.prefetched, None
    if prefetched and around.now - prefetched.at < BELIEVED_S and not plan.read_first:
        step = _judged(plan, prefetched.observed, around)
        under_etag = isinstance(step, Writing) and isinstance(step.found, Missing)
        if under_etag or around.now - prefetched.at < FRESH_S:
            return step
    row = baseline_row(plan.plan)
    if plan.read_first or row is None or plan.plan.preceding:
        return Reading(reads(plan.plan))
    full_up = at_limit(update_step(plan.plan), row, plan.limits)
    return _writing(plan, around, full(plan.plan, plan.owners, row, plan.limits), None, full_up)


def parts_of(ask: Ask, metadata: Metadata) -> list[Part]:
    match ask:
        case Reading(wanted):
            return _gets(wanted, metadata)
        case Writing(emission=emission, ahead=ahead):
            return [emission.change_set, *(_gets(ahead.reads, metadata) if ahead else ())]
        case _:
            assert_never(ask)


def part_count(ask: Ask) -> int:
    """How many parts, and so replies, an ask has."""
    match ask:
        case Reading(wanted):
            return len(wanted)
        case Writing(ahead=ahead):
            return 1 + (len(ahead.reads) if ahead else 0)
        case _:
            assert_never(ask)


def _gets(wanted: Sequence[Read], metadata: Metadata) -> list[Part]:
    return [get(read, metadata.read_property_of(read.entity_set)) for read in wanted]


def next_step(plan: PlanInFlight, ask: Ask, replies: Sequence[PartReply], around: Around, *, shared: bool) -> Step:
    """What follows from the replies to this ask. `shared`: others were in the same request."""
    own = replies if isinstance(ask, Reading) else replies[:1]
    if any(reply.not_tried for reply in own):
        return ask
    company = shared or (isinstance(ask, Writing) and ask.ahead is not None)
    if company and (fault := next(filter(_may_be_the_company, own), None)):
        plan.alone = True
        return RetryLater(fault.judgement, counted=False)
    match ask:
        case Reading(gaps=gaps) if gaps:
            return _looked_for(plan, ask, replies[0], around)
        case Reading(wanted):
            observed = _observed(plan, wanted, replies, around.metadata)
            refusal, plan.refusal = plan.refusal, None
            if isinstance(observed, Judgement):
                if refusal and observed.kind is Kind.PERMANENT:  # reading is refused too: nothing more can be learnt
                    return _refused(refusal, around, Doubt.UNREAD)
                return _not_read(plan, observed)
            plan.doubt = None
            step = _judged(plan, observed, around)
            return _refused(refusal, around, plan.doubt_of_refusal) if refusal and _nothing_landed(plan, step) else step
        case Writing():
            _prefetch(ask, replies, around)
            return _written(plan, ask, replies[0], around)
        case _:
            assert_never(ask)


def _may_be_the_company(reply: PartReply) -> bool:
    """Refused as a whole, or too large, of one part too: only what goes alone is known to be at fault itself (W5)."""
    whole = reply.answer is None and reply.judgement.kind is Kind.PERMANENT
    return whole or reply.judgement.meaning is Meaning.TOO_LARGE


def _writing(
    plan: PlanInFlight, around: Around, emission: Emission, found: Finding | None, full_up: tuple[str, ...] = ()
) -> Writing:
    """Landed whole, it lets the plan behind it in its lane go on without another read."""
    whole = found is None or isinstance(found, Missing)
    return Writing(emission, found, full_up, ahead=_ahead(around) if whole and not plan.alone else None)


def _ahead(around: Around) -> Ahead | None:
    """Nothing is asked for a plan that the gate does not clear: it may hold what no request can."""
    ahead = around.following
    if ahead is None or ahead.not_before is not None or ahead.alone:
        return None
    return Ahead(ahead, reads(ahead.plan)) if around.metadata.cached_verdict(ahead.plan) else None


def _observed(
    plan: PlanInFlight, wanted: Sequence[Read], replies: Sequence[PartReply], metadata: Metadata
) -> Observations | Judgement:
    observed: dict[int, Observed | None] = {}
    for read, reply in zip(wanted, replies, strict=True):
        record = metadata.observed(read, _step_of(plan, read.step_index).attributes, reply)
        if isinstance(record, Judgement):
            return record
        observed[read.step_index] = record
    return observed


def _step_of(plan: PlanInFlight, step_index: int) -> PlannedStep:
    return next(step for step in plan.plan.steps if step.step_index == step_index)


def _prefetch(ask: Writing, replies: Sequence[PartReply], around: Around) -> None:
    """Only what was read behind a landing is worth keeping."""
    if ask.ahead and replies[0].judgement.kind is Kind.DONE:
        ahead = ask.ahead.plan
        observed = _observed(ahead, ask.ahead.reads, replies[1:], around.metadata)
        if not isinstance(observed, Judgement):
            ahead.prefetched = Prefetched(observed, around.now)


def _judged(plan: PlanInFlight, observed: Observations, around: Around) -> Step:
    if around.history is None:
        plan.look_back = True
        return RetryLater(RESULTS_UNREAD, counted=False)
    if (settled := around.history.of(plan.session_id)) is not None and plan.needs_nothing(settled):
        return AlreadySettled(settled)
    accepted = plan.decided if isinstance(plan.decided, Accepted) else None
    found = reconcile(plan.plan, observed, around.history, call_may_exist=plan.call_may_exist, accepted=accepted)
    return _for_finding(plan, found, around)


def _for_finding(one: PlanInFlight, found: Finding, around: Around) -> Step:
    """What to send for this finding; its result if nothing is left to send."""
    plan, owners, limits = one.plan, one.owners, one.limits
    match found:
        case Missing(steps, row):
            full_up = at_limit(update_step(plan), row, limits)
            return _writing(one, around, of_steps(plan, steps, owners, row, limits), found, full_up)
        case Late(steps, row, counts, sets_do_not_call) if steps or found.touches_row:
            emission = late(plan, steps, owners, row, limits, counts=counts, sets_do_not_call=sets_do_not_call)
            full_up = at_limit(update_step(plan), row, limits) if counts else ()
            return _writing(one, around, emission, found, full_up)
        case Conflict(_, steps, row) if steps or row:
            return _writing(one, around, call_activity(plan, steps, row), found)
        case NoQueueItem(steps) if steps:
            return _writing(one, around, call_activity(plan, steps), found)
        case _:
            return Decided(_result(around.context, found, ()), found)


def _written(plan: PlanInFlight, ask: Writing, reply: PartReply, around: Around) -> Step:
    judgement = reply.judgement
    sent = [step.step_index for step in ask.emission.steps]
    if judgement.kind is Kind.DONE:
        full_up = tuple(results.at_maximum(column) for column in ask.at_limit)
        context = replace(around.context, warnings=(*around.context.warnings, *full_up))
        return Decided(_result(context, ask.found, sent, judgement), ask.found)
    if judgement.meaning is Meaning.GONE and reply.failing is None and ask.found is not None:
        # The row is there, as a read just before has shown: then a linked record is gone.
        judgement = replace(judgement, kind=Kind.PERMANENT, meaning=Meaning.DRIFT)
    plan.hear_of_write(replace(reply, judgement=judgement), ask.found)
    if judgement.kind is Kind.AMBIGUOUS:
        return Reading(reads(plan.plan))
    return _not_done(plan, ask, RefusedWrite(judgement, None if reply.failing is None else sent[reply.failing]), around)


def _not_read(plan: PlanInFlight, judgement: Judgement) -> Step:
    """A read that fails says nothing about what was written (W2): however it is refused, the plan waits."""
    if judgement.kind is Kind.THROTTLED:
        return RetryLater(judgement, counted=False)
    if judgement.meaning is Meaning.DRIFT and not plan.rechecked:
        return Recheck()
    if judgement.meaning is Meaning.SUSPECT and (plan.doubt or judgement.status is not None):
        judgement = replace(judgement, meaning=Meaning.TROUBLE)
    return RetryLater(judgement)


def _not_done(plan: PlanInFlight, ask: Writing, refusal: RefusedWrite, around: Around) -> Step:
    """Trouble waits, a refusal blocks; but what could come from drifted metadata is verified anew, once."""
    judgement = refusal.judgement
    match judgement.kind:
        case Kind.THROTTLED:
            return RetryLater(judgement, counted=False)
        case Kind.PERMANENT if judgement.meaning is Meaning.DRIFT and not plan.rechecked:
            return Recheck()
        case _ if judgement.kind is not Kind.PERMANENT and judgement.meaning is not Meaning.TOO_LARGE:
            return RetryLater(judgement)
        case _ if ask.found is None and judgement.status is not None:
            plan.refusal = refusal
            return Reading(reads(plan.plan))
        case _:
            return _refused(refusal, around, plan.doubt_of_refusal)


def _nothing_landed(plan: PlanInFlight, step: Step) -> bool:
    """By what a read has shown: everything is still to be sent."""
    found = step.found if isinstance(step, Writing) else None
    return isinstance(found, Missing) and len(found.steps) == len(plan.plan.steps)


def _refused(refusal: RefusedWrite, around: Around, doubt: Doubt) -> Decided:
    return Decided(results.refused(around.context, refusal.judgement, refusal.failing, doubt))


def lacking(plan: PlanInFlight, gaps: Sequence[Gap], around: Around) -> Step:
    """What follows when the CRM does not have what the plan needs. W2 It may have had it, and an earlier writer landed
    the plan then: that is looked for, unless the gap is in the way.
    """
    read = evidence(plan.plan)
    at_it = [gap.column for gap in gaps if gap.step_index == read.step_index]
    hidden = None in at_it or any(column in at_it for column in read.columns)
    unknown = around.context.before in (None, Settled.NOT_WRITTEN)
    if unknown and plan.assignment.had_earlier_writer(plan.record) and not hidden:
        return Reading((read,), tuple(gaps))
    return Decided(results.metadata(around.context, gaps, plan.doubt_of_refusal))


def _looked_for(plan: PlanInFlight, ask: Reading, reply: PartReply, around: Around) -> Step:
    [read] = ask.reads
    observed = around.metadata.observed(read, {}, reply)
    if isinstance(observed, Judgement):
        if observed.kind is not Kind.PERMANENT:
            return unverified(observed)
        doubt = Doubt.UNREAD
    elif observed is not None and all(value == plan.session_id for value in observed.columns.values()):
        doubt = Doubt.THERE
    else:
        doubt = plan.doubt_of_refusal
    return Decided(results.metadata(around.context, ask.gaps, doubt))


def unverified(judgement: Judgement) -> RetryLater:
    """Metadata could not be asked for. A request to wait does not count as an attempt of the plan."""
    return RetryLater(judgement, counted=judgement.kind is not Kind.THROTTLED)


def _result(
    context: ResultContext, found: Finding | None, sent: Collection[int], reply: Judgement | None = None
) -> WritebackResult:
    """What is published once everything that this finding asks for has landed; None is the first attempt."""
    match found:
        case None | Landed() | Missing():
            return results.landed(context, sent, reply)
        case Late():
            return results.late(context, found, sent, reply)
        case Conflict():
            return results.conflict(context, found, sent, reply)
        case NoQueueItem():
            return results.no_queue_item(context, found, sent, reply)
        case ForeignRecord(step_index):
            return results.foreign_record(context, step_index)
        case _:
            assert_never(found)


def in_dry_run(plan: PlanInFlight, step: Step, around: Around) -> Step:
    """W8: the same step where nothing may be written. What would be sent is read first, then said."""
    match step:
        case Writing(found=None):
            return Reading(reads(plan.plan))
        case Writing(found=found) | Decided(found=found) if found is not None:
            return Decided(_dry_run(around.context, found))
        case AlreadySettled(known):
            return Decided(results.dry_run_settled(around.context, known))
        case Decided(result) if result.status is ResultStatus.CLOSED:
            return Decided(results.dry_run_settled(around.context, Settled.CLOSED))
        case _:
            return step


def _dry_run(context: ResultContext, found: Finding) -> WritebackResult:
    match found:
        case Missing(steps):
            return results.dry_run(context, steps)
        case Late():
            return results.dry_run_late(context, found)
        case Landed():
            return results.dry_run(context, ())
        case Conflict(_, steps, row):
            update = () if row is None else (update_step(context.plan).step_index,)
            return results.would_be_blocked(_result(context, found, (*steps, *update)))
        case NoQueueItem(steps):
            return results.would_be_blocked(_result(context, found, steps))
        case ForeignRecord():
            return results.would_be_blocked(_result(context, found, ()))
        case _:
            assert_never(found)


FIGHT = Judgement(
    Kind.TRANSIENT,
    Meaning.SUSPECT,
    412,
    by_the_crm=True,
    advice="The queue item changes each time between the writer's read and its write. Find the plug-in, flow or import "
    "that keeps writing it, and stop that.",
)
"""After it was requeued some times, a person is asked."""
RESULTS_UNREAD = Judgement(Kind.TRANSIENT, Meaning.SUSPECT)
"""The results of this partition are still being read: what was asked is asked again then."""
