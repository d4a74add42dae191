"""The writer at work: the shell around the engine, and how it stops.

The engine (`core/engine`) owns every decision and all state of plans. The consumer's thread and the producer's thread
post what happened; one loop hands it to the engine, in order, and performs what the engine asks for. What takes time is
a task with a name. Tasks are children of one task group: if one fails in a way nobody foresaw, all end, the process
ends non-zero, and nothing unsettled was committed.

Stopping, in this order: (1) partitions pause and no plan begins; (2) what is in flight may settle, within
`stop_within_s`; (3) the consumer gives its partitions up, once what is settled is committed, and leaves its group; (4)
tasks are cancelled; (5) the producer closes; (6) connections and endpoint close. SIGKILL anywhere leaves the same
state, with more to look at again.

Paused past its session (SIGSTOP), the process wakes up to lost partitions: all it holds is forgotten. What it was about
to send, or had sent, is refused by create-only preconditions and etags if another writer was faster.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Collection, Coroutine, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import structlog

from runtime.rotation import RotationWatch
from runtime.topic_watch import TopicWatch
from schemas.codec import Codec
from schemas.records import PlannedWriteback, WritebackResult
from writer.core import messages, results
from writer.core.assignment import ConsumerRecord
from writer.core.engine import Engine, Options
from writer.core.flow import Signature
from writer.core.messages import Effect, Input, Now
from writer.core.replies import Kind
from writer.dataverse.metadata_cache import MetadataCache
from writer.dataverse.pool import Pool
from writer.dataverse.spans import RequestSpans
from writer.errors import MetadataUnavailable, RecordTooLarge
from writer.kafka import records
from writer.kafka.consumer import ConsumerThread
from writer.kafka.producer import PublisherThread
from writer.kafka.results_index import ReadToEnd, ResultsIndex
from writer.kafka.spans import PlanSpans
from writer.kafka.topics import WriterTopics
from writer.metrics import Metrics
from writer.reporting import Reporter

_TICK_S = 0.5
_GREET_AGAIN_S = 2.0
_AT_A_STRETCH_S = 0.05
"""How long inputs are handled, of which each may be a plan to decode, before replies are heard and partitions paused
(B3)."""
BROKER_SILENT_S = 30.0
"""A broker that was silent for this long is out of reach: it is asked every second."""


@dataclass(frozen=True)
class Parts:
    """What the service is made of; wiring builds it."""

    pool: Pool
    facts: MetadataCache
    publisher: PublisherThread
    topics: WriterTopics
    codec: Codec[PlannedWriteback]
    topic: str
    """Where plans come from."""
    read_results: ReadToEnd
    result_codec: Codec[WritebackResult]
    metrics: Metrics
    spans: PlanSpans
    requests: RequestSpans = field(default_factory=RequestSpans)


class Service:
    """`post` hears what happened; `run` does the rest. `consumer` is set before `run`."""

    consumer: ConsumerThread

    def __init__(
        self,
        parts: Parts,
        signature: Signature,
        options: Options,
        *,
        watch: TopicWatch | None = None,
        rotation: RotationWatch | None = None,
    ) -> None:
        self.parts = parts
        self._rotation = rotation
        self._watch = watch
        self._index = ResultsIndex(parts.read_results, parts.result_codec, loaded=self._results_were_read)
        self.engine = Engine(parts.pool.identities, parts.facts, self._index, signature, options)
        self._reporter = Reporter(parts.metrics)
        self._inbox: deque[Input] = deque()
        self._wake = asyncio.Event()
        self._wake_at = 0.0
        parts.pool.on_free = self._wake.set
        self._reading: dict[int, int] = {}
        """The epoch of the assignment for which a partition's results were last asked for."""
        self._stop = asyncio.Event()
        self._engine_stopped = asyncio.Event()
        self._tasks: asyncio.TaskGroup | None = None
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
                self._tasks = tasks
                self._spawn("engine", self._run_engine())
                self._spawn("results", self._index.run())
                self._spawn("tick", self._tick())
                self._spawn("greet", self._greet())
                self._spawn("watch consumer", self._watch_consumer())
                if self._watch:
                    self._spawn("watch topics", self._watch.run())
                if self._rotation:
                    self._spawn("watch secrets", self._rotation.run())
                self.consumer.start()
                await self._stop.wait()
                await self._wind_down()
                for task in self._running:
                    task.cancel()
        except BaseExceptionGroup:
            self.consumer.give_up()
            with suppress(Exception):
                await self.consumer.close()
            raise

    async def _wind_down(self) -> None:
        self._log.info("service.stopping", in_flight=self.engine.gauges(_now()).in_flight)
        self.post(messages.Stop())
        await self._engine_stopped.wait()
        await self.consumer.close()

    async def _watch_consumer(self) -> None:
        await asyncio.shield(self.consumer.failed)

    def _spawn(self, name: str, duty: Coroutine[Any, Any, None]) -> None:
        assert self._tasks is not None  # noqa: S101  set by run, before anything can arrive
        task = self._tasks.create_task(duty, name=name)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    # The engine's loop.

    def post(self, happened: Input) -> None:
        self._inbox.append(happened)
        self._wake.set()

    async def _run_engine(self) -> None:
        """Raises RecordTooLarge."""
        while True:
            self._wake.clear()
            until = time.monotonic() + _AT_A_STRETCH_S
            while self._inbox:
                self._perform(self.engine.handle(self._inbox.popleft(), _now()))
                if time.monotonic() >= until:
                    break
            self._perform(self.engine.turn(_now(), self.consumer.fence()))
            self.turned_at = time.monotonic()
            self.parts.pool.freed()
            if self._inbox:
                await asyncio.sleep(0)
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, self._wake_at - time.monotonic())):
                    await self._wake.wait()

    def _perform(self, effects: Iterable[Effect]) -> None:  # noqa: C901  one line for each effect
        for effect in effects:
            match effect:
                case messages.Decode(record):
                    self._decode(record)
                case messages.ReadResults(epochs):
                    self._reading |= epochs
                    self._index.assigned(epochs)
                case messages.ForgetResults(partitions):
                    self._index.dropped(partitions)
                case messages.Verify():
                    self._spawn("verify", self._verify(effect))
                case messages.Send(number):
                    self._spawn(f"request {number}", self._send(effect))
                case messages.Publish():
                    self._spawn("publish", self._publish(effect))
                case messages.Pause(partitions):
                    self.consumer.pause_only(partitions)
                case messages.Released(partitions):
                    self._release(partitions)
                case messages.Ended():
                    self.parts.spans.end(effect)
                case messages.Fail(why):
                    raise RecordTooLarge(why)
                case messages.Stopped():
                    self._engine_stopped.set()
                case messages.WakeAt(at):
                    self._wake_at = at
                case _:
                    self._reporter.report([effect])

    def _decode(self, record: ConsumerRecord) -> None:
        if self.parts.codec.asks_nobody(record.value or b""):
            self.post(records.decoded(record, self.parts.codec, self.parts.spans))
        else:
            self._spawn("decode", self._decode_elsewhere(record))

    async def _decode_elsewhere(self, record: ConsumerRecord) -> None:
        """A new schema is asked for over HTTP."""
        self.post(await asyncio.to_thread(records.decoded, record, self.parts.codec, self.parts.spans))

    async def _verify(self, effect: messages.Verify) -> None:
        try:
            with self.parts.requests.verifying(effect.plan.trace):
                verdict = await self.parts.facts.verdict(effect.plan.plan, suspect=effect.anew)
        except MetadataUnavailable as failure:
            self.post(messages.Verified(effect.plan, failure.judgement))
        else:
            self.post(messages.Verified(effect.plan, verdict))

    async def _send(self, effect: messages.Send) -> None:
        spans, identity = self.parts.requests, effect.place.identity.name
        with spans.request(effect.operation, effect.traces, identity=identity) as span:
            exchange = await self.parts.pool.send(effect.place, effect.parts)
            spans.replied(span, exchange)
        self.post(messages.Replied(effect.number, exchange))

    async def _publish(self, effect: messages.Publish) -> None:
        """Raises MustRestart, Misconfigured."""
        outgoing = [self.parts.topics.outgoing(one) for one in effect.publications]
        self.post(await self.parts.publisher.publish(outgoing, effect.positions, effect.group))

    def _release(self, partitions: Collection[int]) -> None:
        if partitions:
            self._log.info("partitions.released", partitions=sorted(partitions))
        self.consumer.released()

    def _results_were_read(self, partition: int) -> None:
        self.post(messages.ResultsRead(partition, self._reading[partition]))

    # In the background.

    async def _greet(self) -> None:
        """Readiness: every identity signs in, and metadata can be read."""
        pool, facts = self.parts.pool, self.parts.facts
        while not (facts.reachable and all(channel.signed_in for channel in pool.channels)):
            for channel in pool.channels:
                if channel.signed_in or channel.pacer.held_until > time.monotonic():
                    continue  # an identity that has to wait is not even asked who it is
                if (judgement := await pool.who_am_i(channel)).kind is not Kind.DONE:
                    why = results.why_it_waits(judgement)
                    self._log.warning("identity.not_ready", identity=channel.dataverse.name, why=why)
            if not facts.reachable:
                try:
                    await facts.reach()
                except MetadataUnavailable as failure:
                    self._log.warning("metadata.not_ready", why=results.why_it_waits(failure.judgement))
            await asyncio.sleep(_GREET_AGAIN_S)
        self._log.info("service.ready")

    async def _tick(self) -> None:
        while True:
            self._measure()
            self._wake.set()
            await asyncio.sleep(_TICK_S)

    def _oldest_age(self, oldest_ms: int | None, partitions: int) -> float:
        """Of what was taken; and as long as the broker is silent, something may wait that was appended since."""
        silent = time.time() - self.consumer.heard_at if partitions and self.consumer.heard_at else 0.0
        return max(_age(oldest_ms), silent if silent > BROKER_SILENT_S else 0.0)

    def _measure(self) -> None:
        metrics, gauges = self.parts.metrics, self.engine.gauges(_now())
        metrics.broker_heard.set(self.consumer.heard_at)
        metrics.oldest_unsettled_age.set(self._oldest_age(gauges.oldest_ms, gauges.partitions))
        metrics.oldest_opt_out_age.set(_age(gauges.oldest_opt_out_ms))
        metrics.in_flight.set(gauges.in_flight)
        metrics.frontier_gap.set(gauges.gap)
        metrics.waiting.set(gauges.outage)
        metrics.tell_held(gauges.held)
        metrics.caught_up.set(gauges.caught_up_ms / 1000)
        metrics.first_blocked.set(gauges.first_blocked_at)
        metrics.unreadable_partitions.set(gauges.unreadable)
        for channel in self.parts.pool.channels:
            name, tokens = channel.dataverse.name, channel.dataverse.tokens
            metrics.token_expiry.labels(name).set(tokens.expires_at or 0)
            if (expires_at := tokens.credential_expires_at) is not None:
                metrics.credential_expiry.labels(name).set(expires_at)


def _age(appended_ms: int | None) -> float:
    """Seconds; 0 if there is nothing."""
    return 0.0 if appended_ms is None else max(0.0, time.time() - appended_ms / 1000)


def _now() -> Now:
    return Now(time.monotonic(), datetime.now(UTC))
