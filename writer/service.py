"""The writer at work: who owns what, and how it stops.

The event loop owns every decision and all state: `Partitions` (what is ours, and how far it is settled), `Backlog`
(what waits), patience and pacing. The consumer's thread owns the consumer, the producer's thread its delivery reports;
both talk to the loop by `call_soon_threadsafe`. Tasks are children of one task group: if one fails in a way nobody
foresaw, all end, the process ends non-zero, and nothing unsettled was committed.

The way of a plan: `Intake` (record to lane) → `Dispatcher` (gate, slot, request, verdict) → `Settling` (result, ledger)
→ committed here.

Stopping, in this order: (1) partitions pause and no request is begun; (2) what is under way may settle, within
`stop_within_s`; (3) the consumer gives its partitions up, which commits what is settled, and leaves its group; (4)
tasks are cancelled; (5) the producer delivers what is queued and closes; (6) connections and endpoint close. SIGKILL
anywhere leaves the same state, with more to look at again.

Paused past its session (SIGSTOP), the process wakes up to lost partitions: all it holds is forgotten. What it was about
to send, or had sent, is refused by create-only preconditions and etags if another writer was faster.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Coroutine, Mapping, Sequence, Sized
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import structlog

from runtime.topic_watch import TopicWatch
from schemas.codec import Codec
from schemas.records import PlannedWriteback, WritebackResult
from writer.backlog import Backlog
from writer.committing import Committing
from writer.core import results
from writer.core.replies import Kind
from writer.core.retry import Patience, PatienceLimits
from writer.dataverse.metadata_cache import Facts, FactsUnavailable
from writer.dataverse.pool import Pool
from writer.dispatcher import Dispatcher
from writer.intake import Intake
from writer.kafka.consumer import Assigned, ConsumerThread, Gap, Position, Taken
from writer.kafka.results_index import Read, ResultsIndex
from writer.kafka.topics import Outbox
from writer.metrics import Metrics
from writer.partitions import Partitions
from writer.settings import FlowSettings
from writer.settling import Settling
from writer.work import Work

_TICK_S = 0.5
_GREET_AGAIN_S = 2.0
_COMMIT_S = 5.0
"""After this, a commit without an answer is repeated."""
_COMMIT_AGAIN_S = 1.0
BROKER_SILENT_S = 30.0
"""A broker that was not heard of for so long is out of reach: it is asked every second."""


@dataclass(frozen=True)
class Parts:
    """What the service is made of; wiring builds it."""

    pool: Pool
    facts: Facts
    outbox: Outbox
    codec: Codec[PlannedWriteback]
    topic: str
    """Where plans come from."""
    partitions: Partitions
    committing: Committing | None
    """None for a broker without transactions: then results and offsets go each by themselves."""
    read_results: Read
    result_codec: Codec[WritebackResult]
    metrics: Metrics
    name: str


@dataclass(frozen=True)
class Timing:
    commit_interval_s: float
    release_within_s: float
    stop_within_s: float


class Service:
    """Listens to the consumer's thread; `run` does the rest. `consumer` is set before `run`."""

    consumer: ConsumerThread

    def __init__(
        self, parts: Parts, flow: FlowSettings, timing: Timing, *, write: bool, watch: TopicWatch | None = None
    ) -> None:
        self.parts = parts
        self._timing = timing
        self._watch = watch
        self._partitions = parts.partitions
        self._index = ResultsIndex(parts.read_results, parts.result_codec, loaded=self._results_were_read)
        self._backlog = Backlog(lambda work: self._settling.may_start(work))
        self._patience = Patience(PatienceLimits(longest_pause=flow.max_pause_s, back_of_topic=flow.back_of_topic_s))
        self._settling = Settling(
            self._partitions,
            self._backlog,
            self._patience,
            parts.outbox,
            parts.metrics,
            self._index,
            name=parts.name,
            write=write,
        )
        self._dispatcher = Dispatcher(
            parts.pool,
            parts.facts,
            self._backlog,
            self._patience,
            self._settling,
            parts.metrics,
            most=flow.max_plans_per_request,
            write=write,
            spawn=self._spawn,
        )
        self._intake = Intake(
            parts.codec,
            self._partitions,
            parts.outbox,
            parts.metrics,
            queue_up=self._settling.queue_up,
            spawn=self._spawn,
        )
        self._stop = asyncio.Event()
        self._stopping = False
        self._failed = False
        self._tasks: asyncio.TaskGroup | None = None
        self._commit_ended: asyncio.Future[bool] | None = None
        self._running: set[asyncio.Task[None]] = set()
        self.turned_at = time.monotonic()
        self._log = structlog.get_logger("writer")

    def stop(self) -> None:
        """Ask `run` to return; may be called from a signal handler of the loop."""
        self._stop.set()

    async def run(self) -> None:
        """Until `stop`. Raises MustRestart (in an ExceptionGroup) if the broker refuses to go on with us."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks, parts = tasks, self.parts
                for duty in (
                    self._index.run(),
                    self._intake.run(),
                    self._dispatcher.run(),
                    self._settling.run_appends(),
                    self._commit() if parts.committing is None else parts.committing.run(self.consumer.fence),
                    self._tick(),
                    self._tell_overdue(),
                    self._greet(),
                    self._watch_consumer(),
                ):
                    self._spawn(duty)
                if self._watch:
                    self._spawn(self._watch.run())
                self.consumer.start()
                await self._stop.wait()
                await self._wind_down()
                for task in self._running:
                    task.cancel()
        except BaseExceptionGroup:
            self._failed = True
            with suppress(Exception):
                await self.consumer.close()
            raise

    async def _wind_down(self) -> None:
        self._log.info("service.stopping", in_flight=self._partitions.in_work())
        self._stopping = True
        self._dispatcher.stop()
        self._pause()
        await self._backlog.quiet_within(self._partitions.numbers, self._timing.stop_within_s)
        await self.consumer.close()

    async def _watch_consumer(self) -> None:
        await asyncio.shield(self.consumer.failed)

    def _spawn(self, duty: Coroutine[Any, Any, None]) -> None:
        assert self._tasks is not None  # noqa: S101  set by run, before anything can arrive
        task = self._tasks.create_task(duty)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    # What the consumer's thread tells, in order.

    def assigned(self, partitions: Sequence[Assigned]) -> None:
        self._rebalanced("assigned", partitions)
        for one in partitions:
            self._partitions.assign(one)
        self._index.assigned([one.partition for one in partitions])
        self.parts.metrics.partitions.set(len(self._partitions.numbers))
        if partitions:
            numbers = sorted(one.partition for one in partitions)
            self._log.info("partitions.assigned", partitions=numbers, protocol=self.consumer.protocol)

    def _rebalanced(self, what: str, partitions: Sized) -> None:
        if partitions:
            self.parts.metrics.rebalances.labels(what).inc()

    def received(self, records: Sequence[Taken]) -> None:
        self._intake.add(records)
        self._pause()

    def lost(self, partitions: Collection[int]) -> None:
        self._rebalanced("lost", partitions)
        self._log.warning("partitions.lost", partitions=sorted(partitions))
        self._forget(partitions)

    async def release(self, partitions: Collection[int]) -> Mapping[int, Position]:
        """Plans under way may settle within the bound; what only waits is dropped at once."""
        self._partitions.close(partitions)
        self._be_patient_no_more(self._backlog.drop_waiting(partitions))
        if not self._stopping:
            await self._backlog.quiet_within(partitions, self._timing.release_within_s)
        progress = {} if self._failed else await self._last_progress(partitions)
        self._forget(partitions)
        self._rebalanced("released", partitions)
        if partitions:
            self._log.info("partitions.released", partitions=sorted(partitions))
        return progress

    async def _last_progress(self, partitions: Collection[int]) -> Mapping[int, Position]:
        """What is left to commit, if it was not committed with what it is about."""
        if (committing := self.parts.committing) is None:
            return self._partitions.progress(partitions)
        if not await committing.finish(partitions, _COMMIT_S):
            self._log.warning("partitions.released_unfinished", partitions=sorted(partitions))
        return {}

    def committed(self, positions: Mapping[int, int]) -> None:
        self._partitions.committed(positions)
        self._end_commit(well=True)

    def ends(self, offsets: Mapping[int, int], asked_at: float) -> None:
        self._partitions.ends(offsets, asked_at)

    def missed(self, gap: Gap) -> None:
        """Retention, or somebody, took them away: no plan of theirs is ever made true, and nobody else will say so."""
        self.parts.metrics.missed.inc(gap.end - gap.first)
        self._log.error(
            "plans.missed", topic=self.parts.topic, partition=gap.partition, first=gap.first, behind_last=gap.end
        )

    def commit_failed(self, code: str) -> None:
        self._end_commit(well=False)
        self.parts.metrics.commit_failures.labels(code).inc()
        self._log.warning("commit.failed", code=code)

    def _results_were_read(self, partition: int) -> None:
        self._backlog.look_again(partition)

    def _forget(self, partitions: Collection[int]) -> None:
        self._be_patient_no_more(self._backlog.drop(partitions))
        for partition in partitions:
            self._partitions.forget(partition)
        self._index.dropped(partitions)
        self.parts.metrics.partitions.set(len(self._partitions.numbers))
        self._pause()

    def _be_patient_no_more(self, dropped: Sequence[Work]) -> None:
        for work in dropped:
            self._patience.forget(work.session_id)

    def _pause(self) -> None:
        """A full window pauses partitions; so does stopping. Polling goes on."""
        self.consumer.pause_only(self._partitions.numbers if self._stopping else self._partitions.to_pause())

    # In the background.

    async def _greet(self) -> None:
        """Readiness: every identity signs in, and metadata can be read."""
        pool, facts = self.parts.pool, self.parts.facts
        while not (facts.reachable and all(channel.signed_in for channel in pool.channels)):
            for channel in pool.channels:
                if channel.signed_in or channel.pacer.held_until > time.monotonic():
                    continue  # who was told to wait is not even asked who it is
                if (judgement := await pool.greet(channel)).kind is not Kind.DONE:
                    why = results.why_it_waits(judgement)
                    self._log.warning("identity.not_ready", identity=channel.dataverse.name, why=why)
            if not facts.reachable:
                try:
                    await facts.reach()
                except FactsUnavailable as failure:
                    self._log.warning("metadata.not_ready", why=results.why_it_waits(failure.judgement))
            await asyncio.sleep(_GREET_AGAIN_S)
        self._log.info("service.ready")

    async def _commit(self) -> None:
        """Soon, since whatever settled after the last commit is looked at again after a crash; one at a time."""
        while True:
            await asyncio.sleep(self._timing.commit_interval_s)
            if positions := self._partitions.to_commit():
                self._commit_ended = asyncio.get_running_loop().create_future()
                self.consumer.commit(positions)
                if not await self._ended_well(self._commit_ended):
                    await asyncio.sleep(_COMMIT_AGAIN_S)

    @staticmethod
    async def _ended_well(commit: asyncio.Future[bool]) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(_COMMIT_S):
                return await commit
        return False

    def _end_commit(self, *, well: bool) -> None:
        if self._commit_ended and not self._commit_ended.done():
            self._commit_ended.set_result(well)

    async def _tick(self) -> None:
        while True:
            self.turned_at = time.monotonic()
            self._pause()
            self._measure()
            self._backlog.wake.set()
            await asyncio.sleep(_TICK_S)

    async def _tell_overdue(self) -> None:
        """Beside the tick, which waits for nothing out of this process: a broker may take its time."""
        while True:
            await self._settling.tell_overdue()
            await asyncio.sleep(_TICK_S)

    def _oldest_age(self, oldest_ms: int | None) -> float:
        """Of what was taken; and as long as the broker is silent, something may wait that was appended since."""
        now = time.time()
        silent = now - self.consumer.heard_at if self._partitions.numbers and self.consumer.heard_at else 0.0
        known = 0.0 if oldest_ms is None else max(0.0, now - oldest_ms / 1000)
        return max(known, silent if silent > BROKER_SILENT_S else 0.0)

    def _measure(self) -> None:
        metrics, oldest = self.parts.metrics, self._partitions.oldest_ms()
        metrics.heard.set(self.consumer.heard_at)
        metrics.oldest_unsettled_age.set(self._oldest_age(oldest))
        metrics.in_flight.set(self._partitions.in_work())
        metrics.frontier_gap.set(self._partitions.gap())
        metrics.waiting.set(self._patience.outage)
        metrics.tell_held(self._patience.held(time.monotonic()))
        metrics.caught_up.set(self._partitions.caught_up_ms(time.time() * 1000) / 1000)
        metrics.first_blocked.set(metrics.first_blocked_at)
        for channel in self.parts.pool.channels:
            metrics.token_expiry.labels(channel.dataverse.name).set(channel.dataverse.token_expires_at or 0)
            if (expires_at := channel.dataverse.credential_expires_at) is not None:
                metrics.credential_expiry.labels(channel.dataverse.name).set(expires_at)
