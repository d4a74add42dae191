"""What becomes of each record: planned, known already, rejected, or nothing. No I/O: reads the pins, changes nothing.

P1 One session, one plan: the first is pinned; the same outcome again changes nothing; another one is rejected. The one
   exception is asked for by a person: an outcome that names the digest of the pinned plan in the header `replan` is
   planned anew, with today's mapping and in the old plan's place. If another plan is pinned, it changes nothing.
P6 Every record gets a decision, with all reasons at once.

A decision counts for later records of the same batch as if it had been pinned already.
"""

from __future__ import annotations

from bisect import insort
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from heapq import merge

from planner.core.digests import digest
from planner.core.dispositions import opts_out
from planner.core.normalisation import crm_id, identifier, normalised
from planner.core.pin import KnownPlans, Pin, pin_of, replaced_by
from planner.core.planning import Policy, Rejected, plan
from planner.core.preceding import NO_HISTORY, EarlierPlan, History, history
from planner.core.resolution import ResolvedMapping
from planner.core.validation import Envelope, key_reasons, reasons
from schemas.headers import Headers, Reason, plan_to_replace
from schemas.placement import partition_of
from schemas.records import CallOutcome, Disposition, PlannedWriteback, Source


@dataclass(frozen=True, slots=True)
class Incoming:
    """A record of the outcomes topic.

    `appended_at` is the broker's own time for it (LogAppendTime), None on a topic that keeps the senders' stamps.
    `received_at` is a time at which it was certainly on the topic, if any is known.
    """

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    received_at: datetime | None = None
    appended_at: datetime | None = None

    def source(self) -> Source:
        return Source(topic=self.topic, partition=self.partition, offset=self.offset, timestamp=self.appended_at)


@dataclass(frozen=True, slots=True)
class Planned:
    """Publish `value` under the session's id to the planned topic, then pin. `misplaced`: the outcome is in another
    partition than its key belongs to, and the settings allow that. `replaces`: the digest of the pinned plan in whose
    place it comes."""

    incoming: Incoming
    plan: PlannedWriteback
    pin: Pin
    value: bytes
    misplaced: bool = False
    replaces: str | None = None


@dataclass(frozen=True, slots=True)
class AlreadyPlanned:
    """The same outcome was planned before. Nothing to do. `not_replaced`: a person asked for a new plan in the place of
    another one, and this is why there is none."""

    incoming: Incoming
    not_replaced: str | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """Publish the original bytes to the rejected topic. `opt_out`: the contact asked not to be called, and the CRM does
    not learn of it unless a person acts."""

    incoming: Incoming
    reasons: tuple[Reason, ...]
    opt_out: bool = False


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A record without a value: somebody erases a queue item. Nothing to plan, and nothing to copy: a copy would be a
    new trace of whom it erases."""

    incoming: Incoming


Decision = Planned | AlreadyPlanned | Refused | Tombstone

MISMATCH = Reason("mismatch", "session_id", "the outcome that this session was planned with; a session has one plan")
MISMATCH_THAT_OPTS_OUT = Reason(
    MISMATCH.code,
    MISMATCH.field,
    f"{MISMATCH.expected}. Publish the opt-out as a session of its own: disposition blocked, failing rule d, opt_out",
)
KNOWN_SCHEMA = "a call outcome with a schema that this planner can find; once it can, publish the outcome again"
NOT_PLANNABLE = Reason(
    "cannot_be_planned", "value", "an outcome that the planner can decide about; its log has the error"
)
ANOTHER_PLAN = "the plan that it is to replace is not the session's plan: nothing is pinned, or another plan is"
SAME_PLAN = "today's mapping gives the very same plan: a replay is enough"
PLAN_TOO_LARGE = Reason("plan_too_large", "value", "a plan of less than the planned topic's max.message.bytes")
TOO_LARGE_TO_COPY = Reason("too_large_to_copy", "value", "less than the rejected topic's max.message.bytes")


def unknown_schema(incoming: Incoming, problem: str) -> Refused:
    return Refused(incoming, (Reason("unknown_schema", "value", f"{KNOWN_SCHEMA}, but it {problem}"),))


def undecodable(incoming: Incoming, problem: str) -> Refused:
    return Refused(incoming, (Reason("undecodable", "value", f"a call outcome, but it {problem}"),))


def not_plannable(incoming: Incoming, outcome: CallOutcome | None = None) -> Refused:
    """Deciding about the record raised an unforeseen error: one record must not stop its partition (P6)."""
    return Refused(incoming, (NOT_PLANNABLE,), opt_out=outcome is not None and opts_out(outcome))


def too_large(decision: Planned | Refused) -> Refused:
    """Its topic does not take the record: a plan is rejected, and a rejection goes without the original's bytes."""
    if isinstance(decision, Refused):
        return replace(decision, reasons=(*decision.reasons, TOO_LARGE_TO_COPY))
    return Refused(decision.incoming, (PLAN_TOO_LARGE,), opt_out=decision.plan.disposition is Disposition.DO_NOT_CALL)


@dataclass(frozen=True, slots=True)
class Placement:
    """How many partitions there are, and whether an outcome is rejected in another one than murmur2 of its key gives.

    Two producers that place differently put one queue item into two partitions: its order is lost, and a session that
    goes through both is planned twice.
    """

    partitions: int
    strict: bool = True

    def misplaces(self, incoming: Incoming) -> bool:
        key = incoming.key or b""
        return key != b"" and partition_of(key, self.partitions) != incoming.partition


@dataclass(frozen=True, slots=True)
class Known:
    """What earlier plans say about an outcome: the pinned digest of its session, the plan that it is to replace if
    exactly that is pinned, and the history of its queue item (read only if there is something to plan)."""

    digest: bytes | None
    history: History
    replaced: EarlierPlan | None = None

    @property
    def received_at(self) -> datetime | None:
        """When an outcome that is planned anew was first on its topic: by that its times are judged, now as then."""
        return self.replaced.received_at if self.replaced else None


class BatchPins:
    """The pins of the batch that is being decided, which no store has yet."""

    def __init__(self) -> None:
        self._digests: dict[tuple[int, str], bytes] = {}
        self._earlier: dict[tuple[int, str], list[EarlierPlan]] = defaultdict(list)

    def digest(self, partition: int, session_id: str) -> bytes | None:
        return self._digests.get((partition, session_id))

    def earlier(self, partition: int, queue_item_id: str) -> Sequence[EarlierPlan]:
        """Newest first."""
        return self._earlier.get((partition, queue_item_id), ())[::-1]

    def add(self, partition: int, pin: Pin) -> None:
        of_item = self._earlier[partition, pin.queue_item_id]
        if pin.replaces:
            of_item[:] = [each for each in of_item if each.session_id != pin.plan.session_id]
        self._digests[partition, pin.plan.session_id] = pin.digest
        insort(of_item, pin.plan, key=lambda each: each.order)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decider:
    """P1 for one mapping and policy. `encode` gives the bytes of a plan as they will be published."""

    mapping: ResolvedMapping
    policy: Policy
    pins: KnownPlans
    placement: Placement
    encode: Callable[[PlannedWriteback], bytes]

    def known(self, incoming: Incoming, outcome: CallOutcome, batch: BatchPins) -> Known:
        """Raises what the pins raise when they cannot be read: no outcome is at fault then."""
        session_id = identifier(outcome.session_id)
        pinned = batch.digest(incoming.partition, session_id) or self.pins.digest(incoming.partition, session_id)
        if pinned is None:
            return Known(None, self._history(incoming.source(), outcome, batch))
        if (replaced := self._to_replace(incoming, outcome, session_id, batch)) is None:
            return Known(pinned, NO_HISTORY)
        source = replaced.source(incoming.topic, incoming.partition)
        return Known(pinned, self._history(source, outcome, batch), replaced)

    def decide(self, incoming: Incoming, outcome: CallOutcome, known: Known, batch: BatchPins) -> Decision:
        """A plan is added to `batch`."""
        misplaced = self.placement.misplaces(incoming)
        received_at = known.received_at or incoming.received_at
        envelope = Envelope(incoming.key, received_at, misplaced=misplaced and self.placement.strict)
        asked = replaced_by(incoming.headers) is not None
        if known.digest is None and asked:
            return AlreadyPlanned(incoming, ANOTHER_PLAN)
        if known.digest is None:
            decision = self._planned(incoming, outcome, envelope, known, batch)
            return replace(decision, misplaced=True) if misplaced and isinstance(decision, Planned) else decision
        same = known.digest == bytes.fromhex(digest(outcome))[: len(known.digest)]
        if same and not key_reasons(crm_id(outcome.queue_item_id), envelope):
            if known.replaced is not None:
                return self._planned(incoming, outcome, envelope, known, batch)
            return AlreadyPlanned(incoming, ANOTHER_PLAN if asked else None)
        mismatch = MISMATCH_THAT_OPTS_OUT if opts_out(outcome) else MISMATCH
        return Refused(incoming, (mismatch, *reasons(normalised(outcome), envelope)), opt_out=opts_out(outcome))

    def _history(self, source: Source, outcome: CallOutcome, batch: BatchPins) -> History:
        """`source`: the outcome's own place, which stays when it is planned anew."""
        place = source.partition, crm_id(outcome.queue_item_id)

        def read(pinned: Iterable[EarlierPlan]) -> History:
            newest_first = _merged(batch, place, pinned)
            return history(outcome, source, newest_first, status_column=self.mapping.queue_item.status)

        return self.pins.earlier(*place, read)

    def _to_replace(
        self, incoming: Incoming, outcome: CallOutcome, session_id: str, batch: BatchPins
    ) -> EarlierPlan | None:
        """The pinned plan of the session, if the record asks to have exactly that replaced and it is not retired."""
        if (asked := replaced_by(incoming.headers)) is None:
            return None
        place = incoming.partition, crm_id(outcome.queue_item_id)

        def read(pinned: Iterable[EarlierPlan]) -> EarlierPlan | None:
            return next((each for each in _merged(batch, place, pinned) if each.session_id == session_id), None)

        found = self.pins.earlier(*place, read)
        return found if found is not None and not found.retired and found.digest == asked else None

    def _planned(
        self, incoming: Incoming, outcome: CallOutcome, envelope: Envelope, known: Known, batch: BatchPins
    ) -> Decision:
        old = known.replaced
        source = old.source(incoming.topic, incoming.partition) if old else incoming.source()
        planned = plan(outcome, source, self.mapping, self.policy, known.history, envelope)
        if isinstance(planned, Rejected):
            return Refused(incoming, planned.reasons, opt_out=opts_out(outcome))
        pin, value = pin_of(planned, old.digest if old else None), self.encode(planned)
        if old and pin.plan.digest == old.digest:
            return AlreadyPlanned(incoming, SAME_PLAN)
        batch.add(incoming.partition, pin)
        return Planned(incoming, planned, pin, value, replaces=plan_to_replace(incoming.headers) if old else None)


def _merged(batch: BatchPins, place: tuple[int, str], pinned: Iterable[EarlierPlan]) -> Iterator[EarlierPlan]:
    """The plans of a queue item, newest first: those of the batch, and the pinned ones that it does not replace."""
    partition, _ = place
    kept = (each for each in pinned if batch.digest(partition, each.session_id) is None)
    of_batch = batch.earlier(*place)
    return merge(of_batch, kept, key=lambda each: each.order, reverse=True) if of_batch else kept
