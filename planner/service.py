"""One batch after the other: decide, publish, pin, say what happened. And when the process must end at once."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NoReturn

import structlog

from planner.batch import BatchDecider
from planner.core.deciding import AlreadyPlanned, Decision, Incoming, Planned, Refused, too_large
from planner.core.fence import Membership
from planner.core.pin import Pin
from planner.errors import Abandoned, BrokerAway
from planner.kafka.publisher import OutgoingRecord, PlanPublisher, Progress
from planner.kafka.rejections import rejection
from planner.kafka.traces import Traces
from planner.metrics import Metrics
from planner.pins.index import PinIndex
from planner.waiting import Waits
from runtime.environment import Misconfigured
from runtime.exit_codes import Exit
from runtime.registry import RegistryUnavailable
from schemas.topics import Topics

log: Any = structlog.get_logger("planner")

_REGISTRY_PAUSE_S = 1.0
_BROKER_PAUSE_S = 0.5


class PlannerService:
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
        self._told_misplaced = False

    async def handle(self, batch: Sequence[Incoming], membership: Membership) -> None:
        """Returns when every plan and rejection of the batch is acknowledged and pinned; raises if one is not (P5):
        Abandoned if nothing is wrong with it but it is not for this planner to see it through."""
        left = batch
        while left:
            began = time.monotonic()
            decisions = await self._acknowledged(await self._decisions(left), membership)
            self._pin(decisions)
            self._tell(decisions, time.monotonic() - began)
            left = left[len(decisions) :]
        self._pins.batch_done({incoming.partition for incoming in batch})

    async def _acknowledged(self, decisions: list[Decision], membership: Membership) -> list[Decision]:
        """The decisions as they stand on the topics: a plan that its topic does not take is a rejection (P6)."""
        records = {place: record for place, decision in enumerate(decisions) if (record := self._record(decision))}
        progress = Progress(
            self._topics.call_outcomes.name,
            {decision.incoming.partition: decision.incoming.offset + 1 for decision in decisions},
            membership,
        )
        replaced = {id(record) for record in await self._published(list(records.values()), progress)}
        return [
            too_large(decision) if isinstance(decision, Planned) and id(records[place]) in replaced else decision
            for place, decision in enumerate(decisions)
        ]

    async def _published(self, records: Sequence[OutgoingRecord], progress: Progress) -> list[OutgoingRecord]:
        """Waits for a broker that takes nothing, however long: a new process would wait for the same, and could not be
        asked meanwhile how old the oldest outcome is. Raises Abandoned if the planner stops meanwhile."""
        with self._waits.until_over("publish"):
            while True:
                try:
                    return await self._publisher.publish(records, progress)
                except BrokerAway as error:
                    self._waits.begin("publish", f"the broker does not acknowledge plans: {error}")
                if self._stopping():
                    raise Abandoned("told to stop while the broker does not acknowledge plans")
                await asyncio.sleep(_BROKER_PAUSE_S)

    async def _decisions(self, batch: Sequence[Incoming]) -> list[Decision]:
        """Of the first records. Waits for a schema registry that does not answer, however long: no outcome is at fault,
        and what it would be rejected for may be over in an hour. Raises Abandoned if the planner stops meanwhile."""
        with self._waits.until_over("registry"):
            while True:
                try:
                    return await self._decider.first_decisions(batch)
                except RegistryUnavailable as error:
                    self._waits.begin("registry", str(error))
                if self._stopping():
                    raise Abandoned("told to stop while the schema registry does not answer")
                await asyncio.sleep(_REGISTRY_PAUSE_S)

    def _record(self, decision: Decision) -> OutgoingRecord | None:
        match decision:
            case Planned(incoming, plan, _, value) as planned:
                return OutgoingRecord(
                    topic=self._topics.planned_writebacks.name,
                    partition=incoming.partition,
                    key=plan.session_id.encode(),
                    value=value,
                    headers=self._traces.of_plan(
                        incoming.headers, partition=incoming.partition, offset=incoming.offset
                    ),
                    smaller=partial(self._rejection, too_large(planned)),
                )
            case Refused():
                return self._rejection(decision)
            case AlreadyPlanned():
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

    def _tell(self, decisions: Sequence[Decision], seconds: float) -> None:
        planned = [decision for decision in decisions if isinstance(decision, Planned)]
        refused = [decision for decision in decisions if isinstance(decision, Refused)]
        reasons = Counter(reason.code for decision in refused for reason in decision.reasons)
        duplicates = len(decisions) - len(planned) - len(refused)
        for name, count in (("planned", len(planned)), ("duplicate", duplicates), ("rejected", len(refused))):
            self._metrics.outcomes.labels(name).inc(count)
        for code, count in reasons.items():
            self._metrics.rejections.labels(code).inc(count)
        self._tell_misplaced(sum(decision.misplaced for decision in planned))
        for decision in refused:
            if decision.opt_out:
                self._tell_lost_opt_out(decision)
        self._metrics.batch_seconds.observe(seconds)
        self._metrics.batch_size.observe(len(decisions))
        log.info(
            "batch.planned",
            planned=len(planned),
            duplicates=duplicates,
            rejected=len(refused),
            reasons=dict(reasons),
            ms=round(seconds * 1000),
        )

    def _tell_misplaced(self, count: int) -> None:
        """Once in the log; how many it are is what the counter is for."""
        self._metrics.misplaced.inc(count)
        if count and not self._told_misplaced:
            self._told_misplaced = True
            log.warning("outcome.misplaced", count=count, remedy="let every producer place by murmur2 of the key")

    def _tell_lost_opt_out(self, refused: Refused) -> None:
        self._metrics.rejected_opt_outs.inc()
        log.error(
            "outcome.opt_out_rejected",
            partition=refused.incoming.partition,
            offset=refused.incoming.offset,
            reasons=[reason.code for reason in refused.reasons],
            remedy="set do-not-call on the queue item, or publish the opt-out as a session of its own",
        )


def hard_exit(error: BaseException) -> NoReturn:
    """End the process at once: nothing more is committed, and everything that was not is delivered again."""
    code = Exit.MISCONFIGURED if isinstance(error, Misconfigured) else Exit.SOFTWARE
    if isinstance(error, Misconfigured):
        for problem in error.problems:
            log.error("planner.misconfigured", problem=problem)
    log.critical("planner.hard_exit", message=_safe_text(error), exc_info=error, exit_code=int(code))
    sys.stdout.flush()
    os._exit(code)


def _safe_text(error: BaseException) -> str:
    """Texts of our own errors name codes and places; a library's may quote the record it failed on (B1)."""
    return (
        str(error) if type(error).__module__.startswith(("planner.", "runtime.", "schemas.")) else type(error).__name__
    )
