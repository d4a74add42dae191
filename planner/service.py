"""One batch after the other: decide, publish, pin, report. And how the process ends at once."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, NoReturn, TypeVar

import structlog
from opentelemetry.trace import Span

from planner.batch import BatchDecider
from planner.core.deciding import AlreadyPlanned, Decision, Incoming, Planned, Refused, Tombstone, too_large
from planner.core.fence import Membership
from planner.core.outgoing import OutgoingRecord, Progress
from planner.core.pin import Pin
from planner.errors import Abandoned, BrokerAway
from planner.kafka.publisher import PlanPublisher
from planner.kafka.rejections import rejection
from planner.kafka.traces import Traces
from planner.metrics import Cause, Metrics
from planner.pins.index import PinIndex
from planner.waiting import Waits
from runtime.errors import Misconfigured, RegistryUnavailable
from runtime.exit_codes import exit_code
from runtime.tracing import which_traces
from schemas.headers import REPLAN
from schemas.topics import Topics

log: Any = structlog.get_logger("planner")

PAUSE_S = 0.5
_MOST_NAMED = 15
"""Of a batch, in its line of the log."""
T = TypeVar("T")


class PlannerService:
    """Takes each batch from decision to pin. Holds no outcome longer than its batch."""

    def __init__(
        self,
        *,
        decider: BatchDecider,
        pins: PinIndex,
        publisher: PlanPublisher,
        topics: Topics,
        metrics: Metrics,
        planned_by: str,
        traces: Traces,
        waits: Waits,
        stopping: Callable[[], bool],
    ) -> None:
        self._decider = decider
        self._pins = pins
        self._publisher = publisher
        self._topics = topics
        self._metrics = metrics
        self._planned_by = planned_by
        self._traces = traces
        self._waits = waits
        self._stopping = stopping
        self._reported_misplaced = False

    async def handle(self, batch: Sequence[Incoming], membership: Membership) -> None:
        """Returns when every plan and rejection of the batch is acknowledged and pinned. Raises if one is not (P5):
        Abandoned if the batch is sound but another planner has to publish it."""
        left = batch
        while left:
            began, began_ns = time.monotonic(), time.time_ns()
            decided = await self._patiently("registry", partial(self._decider.first_decisions, left))
            with self._traces.of_batch(decided, began_ns=began_ns) as spans:
                decisions = await self._acknowledged(decided, spans, membership)
                self._traces.decided(spans, decisions)
            self._pin(decisions)
            self._report(decisions, spans, time.monotonic() - began)
            left = left[len(decisions) :]
        self._pins.batch_done({incoming.partition for incoming in batch})

    async def _acknowledged(
        self, decisions: list[Decision], spans: Sequence[Span], membership: Membership
    ) -> list[Decision]:
        """The decisions as published: what a topic does not take for its size has become something smaller (P6)."""
        records = {
            place: record
            for place, (decision, span) in enumerate(zip(decisions, spans, strict=True))
            if (record := self._record(decision, span))
        }
        progress = Progress.past(decisions, self._topics.call_outcomes.name, membership)
        publish = partial(self._publisher.publish, list(records.values()), progress)
        replaced = {id(record) for record in await self._patiently("publish", publish)}
        return [
            too_large(decision)
            if isinstance(decision, Planned | Refused) and id(records[place]) in replaced
            else decision
            for place, decision in enumerate(decisions)
        ]

    async def _patiently(self, cause: Cause, attempt: Callable[[], Awaitable[T]]) -> T:
        """Waits without a time limit for a registry that does not answer, or a broker that acknowledges nothing: no
        outcome is at fault, a new process would wait for the same, and its metrics would be gone meanwhile. Raises
        Abandoned if the planner stops meanwhile."""
        with self._waits.until_over(cause):
            while True:
                try:
                    return await attempt()
                except RegistryUnavailable as error:
                    self._waits.begin(cause, str(error))
                except BrokerAway as error:
                    self._waits.begin(cause, f"the broker does not acknowledge plans: {error}")
                if self._stopping():
                    raise Abandoned(f"the planner stops while it waits ({cause})")
                await asyncio.sleep(PAUSE_S)

    def _record(self, decision: Decision, span: Span) -> OutgoingRecord | None:
        match decision:
            case Planned(incoming, plan, _, value) as planned:
                return OutgoingRecord(
                    topic=self._topics.planned_writebacks.name,
                    partition=incoming.partition,
                    key=plan.session_id.encode(),
                    value=value,
                    headers=[
                        *self._traces.headers(span),
                        *([(REPLAN, planned.replaces.encode())] if planned.replaces else ()),
                    ],
                    smaller=partial(self._rejection, too_large(planned)),
                )
            case Refused():
                return self._rejection(decision)
            case _:
                return None

    def _rejection(self, refused: Refused) -> OutgoingRecord:
        return rejection(refused, topic=self._topics.call_outcomes_rejected.name, by=self._planned_by)

    def _pin(self, decisions: Sequence[Decision]) -> None:
        pins: dict[int, list[Pin]] = {}
        for decision in decisions:
            if isinstance(decision, Planned):
                pins.setdefault(decision.incoming.partition, []).append(decision.pin)
        for partition, of_partition in pins.items():
            self._pins.pin(partition, of_partition)

    def _report(self, decisions: Sequence[Decision], spans: Sequence[Span], seconds: float) -> None:
        planned = [decision for decision in decisions if isinstance(decision, Planned)]
        refused = [decision for decision in decisions if isinstance(decision, Refused)]
        reasons = Counter(reason.code for decision in refused for reason in decision.reasons)
        tombstones = sum(isinstance(decision, Tombstone) for decision in decisions)
        counts = {"planned": len(planned), "rejected": len(refused), "tombstone": tombstones}
        counts["duplicate"] = len(decisions) - sum(counts.values())
        for name, count in counts.items():
            self._metrics.outcomes.labels(name).inc(count)
        for code, count in reasons.items():
            self._metrics.rejections.labels(code).inc(count)
        self._report_misplaced(sum(decision.misplaced for decision in planned))
        for decision, span in zip(decisions, spans, strict=True):
            which = _which([decision], [span])
            if isinstance(decision, Planned):
                log.debug("outcome.planned", **which)
            elif isinstance(decision, Refused) and decision.opt_out:
                self._report_lost_opt_out(decision, which)
            elif isinstance(decision, AlreadyPlanned) and decision.not_replaced:
                log.warning("outcome.not_replanned", **which, why=decision.not_replaced)
        self._metrics.batch_seconds.observe(seconds)
        self._metrics.batch_size.observe(len(decisions))
        log.info(
            "batch.planned",
            planned=len(planned),
            duplicates=counts["duplicate"],
            rejected=len(refused),
            replanned=sum(decision.replaces is not None for decision in planned),
            reasons=dict(reasons),
            ms=round(seconds * 1000),
            **_which(decisions, spans),
        )

    def _report_misplaced(self, count: int) -> None:
        """Logs once. The counter says how many."""
        self._metrics.misplaced.inc(count)
        if count and not self._reported_misplaced:
            self._reported_misplaced = True
            log.warning("outcome.misplaced", count=count, remedy="make every producer place by murmur2 of the key")

    def _report_lost_opt_out(self, refused: Refused, which: Mapping[str, object]) -> None:
        self._metrics.rejected_opt_outs.inc()
        log.error(
            "outcome.opt_out_rejected",
            **which,
            reasons=[reason.code for reason in refused.reasons],
            remedy="set do-not-call on the queue item, or publish the opt-out as a session of its own",
        )


def _which(decisions: Sequence[Decision], spans: Sequence[Span]) -> dict[str, object]:
    """What a line is about, to find it on the topics and in the traces: place and trace of one outcome, or of each of a
    few. Of a large batch, where it began and ended in each partition; `outcome.planned`, at the level debug, names each
    of its plans. No session: its id is the text of its sender, and may hold anything (B1)."""
    if len(decisions) == 1:
        incoming = decisions[0].incoming
        return {"partition": incoming.partition, "offset": incoming.offset, **which_traces(spans)}
    offsets: dict[str, list[int]] = {}
    for decision in decisions:
        at = decision.incoming
        offsets.setdefault(str(at.partition), [at.offset, at.offset])[1] = at.offset
    return {"offsets": offsets, **(which_traces(spans) if len(decisions) <= _MOST_NAMED else {})}


def hard_exit(error: BaseException) -> NoReturn:
    """End the process at once. Nothing more is committed; the broker delivers again what was not committed."""
    code = exit_code(error)
    if isinstance(error, Misconfigured):
        for problem in error.problems:
            log.error("planner.misconfigured", problem=problem)
    log.critical("planner.hard_exit", message=_safe_text(error), exc_info=error, exit_code=int(code))
    sys.stdout.flush()
    os._exit(code)


def _safe_text(error: BaseException) -> str:
    """Our own errors name codes and places. A library's text may quote the record it failed on (B1)."""
    return (
        str(error) if type(error).__module__.startswith(("planner.", "runtime.", "schemas.")) else type(error).__name__
    )
