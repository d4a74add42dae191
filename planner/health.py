"""Live: the loop turned lately. Ready: assigned, recovered, and waiting for nothing.

The mapping was loaded before there was a loop, so it is always there. A rebalance does not change liveness.
"""

from __future__ import annotations

import time
from typing import Any

import structlog
from confluent_kafka import KafkaException

from planner.core.fence import Fence
from planner.core.standstill import Standstill
from planner.errors import Stuck
from planner.metrics import Metrics
from planner.pins.bulk import BulkReader
from planner.pins.recovery import PinRecovery
from planner.service import hard_exit
from planner.stream.stream import OutcomeStream
from planner.waiting import Waits
from runtime.endpoint import Verdict
from runtime.topic_watch import TopicWatch

log: Any = structlog.get_logger("planner")

LONGEST_SILENCE_S = 30.0
"""A loop that has not turned for this long counts as dead; nothing that it does should take a second."""

LONGEST_STANDSTILL_S = 120.0
"""A planner that is without partitions, or recovers nothing, for this long starts again from nothing."""


class Health:
    """`live` and `ready` are asked from the endpoint's thread; the tasks run on the loop."""

    def __init__(
        self,
        stream: OutcomeStream,
        metrics: Metrics,
        recovery: PinRecovery,
        reader: BulkReader,
        waits: Waits,
        fence: Fence,
        topics: TopicWatch | None = None,
    ) -> None:
        self._topics = topics
        self._stream = stream
        self._metrics = metrics
        self._recovery = recovery
        self._reader = reader
        self._waits = waits
        self._fence = fence
        self._loop_turned_at = time.monotonic()
        self._standstill = Standstill(time.monotonic(), LONGEST_STANDSTILL_S)
        self._was_ready = False
        self._rebalances = self._abandoned = 0

    def live(self) -> Verdict:
        silence = time.monotonic() - self._loop_turned_at
        return Verdict(silence < LONGEST_SILENCE_S, {"loop_silent_s": round(silence, 1)})

    def ready(self) -> Verdict:
        recovered, waiting_for = self._stream.recovered, self._waits.causes
        misfits = list(self._topics.problems) if self._topics else []
        return Verdict(
            recovered and not waiting_for and not misfits,
            {
                "mapping": True,
                "recovered": recovered,
                "recovery_remaining": self._remaining(),
                "partitions": len(self._stream.assigned()),
                "waiting_for": waiting_for,
                **({"topics": misfits} if misfits else {}),
            },
        )

    async def watch(self) -> None:
        """A task: once a second, says what has changed, and ends the process if it is stuck."""
        while not self._stream.stopping:
            self._loop_turned_at = time.monotonic()
            self._report()
            await self._stream.sleep(1.0)
        self._reader.stopped.set()

    async def follow(self, every_s: float) -> None:
        """A task: keeps the pins up with the planned topic, once recovery is over. A broker that goes away meanwhile is
        no reason to end: it is tried again."""
        while not self._stream.stopping:
            await self._stream.sleep(every_s)
            if self.ready().ok:
                try:
                    await self._reader.follow()
                except KafkaException as error:
                    log.warning("pins.not_followed", error=error.args[0].name())

    def _remaining(self) -> int:
        return max(self._stream.recovery_remaining, self._reader.remaining)

    def _report(self) -> None:
        remaining, ready, read = self._remaining(), self.ready().ok, self._recovery.records_read
        assigned = len(self._stream.assigned())
        self._metrics.recovery_remaining.set(remaining)
        self._metrics.assigned.set(assigned)
        self._metrics.rebalances.inc(self._fence.rebalances - self._rebalances)
        self._metrics.abandoned.inc(self._fence.abandoned - self._abandoned)
        self._rebalances, self._abandoned = self._fence.rebalances, self._fence.abandoned
        if remaining:
            log.info("recovery.progress", remaining=remaining, read=read)
        if ready and not self._was_ready:
            log.info("planner.ready", partitions=assigned, recovered=read)
        self._was_ready = ready
        causes = self._waits.causes
        has_work = "broker" in causes or ((ready or bool(causes)) and not self._fence.waits_for_rebalance)
        if self._standstill.is_over_limit(time.monotonic(), records_read=read, has_work=has_work):
            hard_exit(Stuck(f"neither assigned nor recovering nor planning for {LONGEST_STANDSTILL_S:.0f} s"))
