"""A record of the planned topic on its way through the writer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from opentelemetry.trace import INVALID_SPAN, Span, get_tracer, set_span_in_context

from runtime.tracing import context_of, traceparent_of
from schemas import headers
from schemas.codec import Codec, Undecodable, UnknownSchema
from schemas.records import Operation, PlannedWriteback, PlanPosition, WritebackResult
from writer.core.emission import PRECONDITIONS
from writer.core.gate import Cleared
from writer.core.reconcile import Finding, Observations
from writer.core.replies import Judgement
from writer.kafka.consumer import Taken


@dataclass(frozen=True, slots=True)
class Seen:
    """What `emission.reads` of a plan asks for, and when it was so (monotonic seconds)."""

    observed: Observations
    at: float


@dataclass(eq=False, slots=True)
class Work:
    """One plan and where it stands. `epoch` is the ledger's. Known by identity: the same plan may come twice."""

    plan: PlannedWriteback
    record: Taken
    epoch: int
    cleared: Cleared | None = None
    """The gate's verdict; each attempt is cleared anew."""
    read_first: bool = False
    """An earlier attempt may have landed: look before anything is sent."""
    alone: bool = False
    """The request it shared was refused as a whole or too large, or failed again and again: it goes without company."""
    look_back: bool = False
    """It may have been settled before: it waits until the results of its partition have been read."""
    doubted: bool = False
    """The service refused what the gate had cleared, and everything was verified anew since."""
    under_way: bool = False
    """Some task works on it; otherwise it waits for a time, a slot or its lane."""
    dropped: bool = False
    """Its partition is somebody else's now: what becomes of it is no longer ours to tell."""
    seen: Seen | None = None
    """Its records, as the request that landed the plan before it showed them."""
    unanswered: Finding | None = None
    """What its last request that may have landed, though nothing said so, was decided on."""
    sent_at: float = 0.0
    """When the request of its last verdict was begun (monotonic seconds)."""
    last: Judgement | None = None
    """The last reply that made it wait."""
    held: WritebackResult | None = None
    """What to publish while the CRM refuses it and all its like."""
    timer: asyncio.TimerHandle | None = None
    rank: tuple[int, int, int] | None = None
    """Its place among those that are ready, once it has failed."""
    one_word_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while something is published about it: the broker must hear its last word last."""
    last_word: bool = False
    """Its outcome, or its copy's way to the back, is being told; nothing is told after that."""
    span: Span = field(default=INVALID_SPAN)

    def clear(self, verdict: Cleared | None) -> None:
        """The gate's verdict on the next attempt; the plan takes the form that the CRM keeps."""
        self.cleared = verdict
        if verdict is not None and verdict.plan is not None:
            self.plan = verdict.plan

    @property
    def partition(self) -> int:
        return self.record.partition

    @property
    def offset(self) -> int:
        return self.record.offset

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
    def first_appended_ms(self) -> int:
        """When its first copy was appended."""
        return first_appended_ms(self.record)

    @property
    def not_before(self) -> datetime | None:
        return headers.not_before(self.record.headers)

    @property
    def traceparent(self) -> bytes | None:
        """What hands the trace on, to the CRM and to the result."""
        return traceparent_of(set_span_in_context(self.span))

    @property
    def position(self) -> PlanPosition:
        return PlanPosition(partition=self.partition, offset=self.offset, digest=self.plan.digest)


def begin(plan: PlannedWriteback, record: Taken, epoch: int, *, look_back: bool = False) -> Work:
    """A plan whose way starts here, as a span of the trace that its record carries; free if tracing is off."""
    parent = context_of(headers.last(record.headers, headers.TRACEPARENT))
    span = get_tracer("writer").start_span("write back", parent, attributes={"session_id": plan.session_id})
    return Work(plan, record, epoch, look_back=look_back, span=span)


def first_appended_ms(record: Taken) -> int:
    """When the first copy of this plan was appended: with this record, if it never was requeued."""
    first = headers.first_appended_ms(record.headers)
    return record.timestamp_ms if first is None else min(first, record.timestamp_ms)


def size_of(record: Taken) -> int:
    """Bytes that count against the window."""
    return len(record.value or b"") + len(record.key or b"")


def is_mark(plan: PlannedWriteback) -> bool:
    """What is left under the key of a session that settled long ago and was retired: nothing to do, nothing to tell."""
    return plan.retired_at is not None and not plan.steps


def plan_of(record: Taken, codec: Codec[PlannedWriteback]) -> PlannedWriteback | Sequence[headers.Reason]:
    """The plan, or every reason why the record is none. Raises RegistryUnavailable or UnknownSchema if nobody knows."""
    try:
        plan = codec.decode(record.value or b"")
    except UnknownSchema:
        raise
    except Undecodable as error:
        return [headers.Reason("undecodable", None, str(error))]
    reasons = []
    if record.key != plan.session_id.encode():
        reasons.append(headers.Reason("key_mismatch", "session_id", "the record's key is the plan's session id"))
    if not is_mark(plan) and [step.operation for step in plan.steps].count(Operation.UPDATE_QUEUE_ITEM) != 1:
        reasons.append(headers.Reason("no_queue_item_update", "steps", "exactly one step that updates the queue item"))
    if len({step.step_index for step in plan.steps}) != len(plan.steps):
        reasons.append(headers.Reason("step_index_repeated", "steps", "every step has an index of its own"))
    if any(step.precondition is not PRECONDITIONS[step.operation] for step in plan.steps):
        reasons.append(headers.Reason("precondition_mismatch", "steps", "the precondition that its operation demands"))
    return reasons or plan
