"""Builds the planner, in the order in which a misconfigured one has to say so: settings, mapping, topics, registry."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import faust
import structlog
from confluent_kafka import KafkaException
from prometheus_client import CollectorRegistry

from planner.batch import BatchDecider
from planner.core.deciding import Decider, Placement
from planner.core.fence import Fence
from planner.core.resolution import ResolvedMapping
from planner.errors import Stuck
from planner.kafka.positions import Positions
from planner.kafka.publisher import PlanPublisher
from planner.kafka.traces import Traces
from planner.mapping import MappingUnfit, load
from planner.metrics import Metrics
from planner.pins.index import PinIndex
from planner.pins.memory import MemoryPins
from planner.pins.recovery import PinStore
from planner.service import PlannerService, hard_exit
from planner.settings import PlannerSettings
from planner.stream.app import Handle, make_app
from planner.stream.bulk_recovery import BulkReader
from planner.waiting import Waits
from runtime import environment
from runtime.broker import BrokerUnavailable, BrokerView
from runtime.endpoint import Endpoint, Verdict
from runtime.environment import Misconfigured
from runtime.librdkafka_log import client_log
from runtime.placement_check import check_placement
from runtime.registry import RegistryUnavailable, SchemaRefused, codec
from runtime.rights import planner_rights
from runtime.topic_watch import TopicWatch
from runtime.version import VERSION
from schemas.codec import Codec
from schemas.records import CallOutcome, PlannedWriteback
from schemas.topics import TopicFacts

log: Any = structlog.get_logger("planner")

LONGEST_SILENCE_S = 30.0
"""A loop that has not turned for so long is taken for dead; nothing that it does should take a second."""


LONGEST_STANDSTILL_S = 120.0
"""So long a planner may be without partitions, or recover nothing, before it starts again from nothing."""


@dataclass(frozen=True)
class Prepared:
    """Everything that had to be right before a start."""

    settings: PlannerSettings
    mapping: ResolvedMapping
    broker: BrokerView
    topics: TopicFacts
    outcomes: Codec[CallOutcome]
    plans: Codec[PlannedWriteback]

    @property
    def partitions(self) -> int:
        return self.topics.partitions


def prepare(settings: PlannerSettings) -> Prepared:
    """Raises Misconfigured with every problem of mapping, topics and registry at once, those that could not be asked
    included; BrokerUnavailable or RegistryUnavailable if nothing else is wrong."""
    unreadable = environment.unreadable_files(settings)
    problems = list(unreadable)
    unanswered: list[BrokerUnavailable | RegistryUnavailable] = []
    mapping = broker = found = codecs = None
    topics = settings.broker.topics
    try:
        mapping = load(settings.mapping_file, next_attempt=bool(settings.next_attempt_after_s))
    except MappingUnfit as error:
        problems += [f"{settings.mapping_file.name}: {problem}" for problem in error.problems]
    if unreadable:  # neither broker nor registry can be asked
        raise Misconfigured(problems)
    try:
        required = (topics.call_outcomes, topics.planned_writebacks, topics.call_outcomes_rejected)
        broker = BrokerView(settings.broker, required, planner_rights(topics, settings.group_id))
        found = broker.checked(timeout_s=LONGEST_SILENCE_S / 2)
    except Misconfigured as error:
        problems += error.problems
    except BrokerUnavailable as error:
        unanswered.append(error)
    try:
        codecs = (
            codec(CallOutcome, topics.call_outcomes.name, settings.registry),
            codec(PlannedWriteback, topics.planned_writebacks.name, settings.registry),
        )
    except SchemaRefused as error:
        problems.append(str(error))
    except RegistryUnavailable as error:
        unanswered.append(error)
    if unanswered and not problems:
        raise unanswered[0]
    problems += [f"not checked: {error}" for error in unanswered]
    if problems or mapping is None or broker is None or found is None or codecs is None:
        raise Misconfigured(problems)
    check_placement(settings.broker, found.partitions, codecs[1], group=settings.group_id, log=client_log("planner"))
    return Prepared(settings, mapping, broker, found, *codecs)


@dataclass(frozen=True)
class Planner:
    app: faust.App
    endpoint: Endpoint
    publisher: PlanPublisher
    positions: Positions


@dataclass(frozen=True)
class Overrides:
    """What a test replaces to see the planner fail."""

    pins: Callable[[PinIndex], PinIndex] = lambda pins: pins
    decider: Callable[[BatchDecider], BatchDecider] = lambda decider: decider
    publisher: Callable[[PlanPublisher], PlanPublisher] = lambda publisher: publisher
    handle: Callable[[Handle], Handle] = lambda handle: handle


def build(prepared: Prepared, parts: Overrides = Overrides(), *, tracing: bool = False) -> Planner:
    """Raises Misconfigured and BrokerUnavailable if the planner may not, or cannot, begin to publish."""
    settings = prepared.settings
    planned_by = VERSION
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    waits, fence = Waits(metrics), Fence()
    metrics.build.info(
        {
            "version": planned_by,
            "mapping": prepared.mapping.fingerprint,
            "mode": f"redaction {settings.redaction}, transcript {settings.transcript}",
        }
    )
    pins = parts.pins(_pins(settings))
    metrics.pins.set_function(lambda: len(pins))
    opened = PlanPublisher(
        settings.broker,
        transactional_id=f"{settings.group_id}-{settings.instance_id}",
        rights=planner_rights(settings.broker.topics, settings.group_id),
        delivery_timeout_s=settings.delivery_timeout_s,
        max_message_bytes=settings.max_message_bytes,
    )
    opened.open()
    publisher = parts.publisher(opened)
    decider = parts.decider(
        BatchDecider(
            prepared.outcomes,
            Decider(
                mapping=prepared.mapping,
                policy=settings.policy(version=planned_by),
                pins=pins,
                placement=Placement(prepared.partitions, strict=settings.misplaced == "reject"),
                encode=prepared.plans.encode,
            ),
        )
    )
    service = PlannerService(
        decider=decider,
        pins=pins,
        publisher=publisher,
        topics=settings.broker.topics,
        metrics=metrics,
        planned_by=planned_by,
        traces=Traces(on=tracing),
        waits=waits,
        stopping=lambda: bool(app.should_stop),
    )

    def unreadable(partition: int, offset: int) -> None:
        metrics.unreadable_plans.inc()
        log.warning("recovery.unreadable_plan", partition=partition, offset=offset)

    store = PinStore(pins, prepared.plans, unreadable)
    reader = BulkReader(settings.broker, store, waits, group_id=settings.group_id)
    positions = Positions(
        settings.broker,
        metrics,
        waits,
        group_id=settings.group_id,
        ours=lambda: assigned_to(app, settings.broker.topics.call_outcomes.name),
        every_s=settings.look_every_s,
    )
    app = make_app(
        settings,
        partitions=prepared.partitions,
        pins=store,
        reader=reader,
        fence=fence,
        jumped=positions.jumped,
        handle=parts.handle(service.handle),
        hard_exit=hard_exit,
    )
    watch = TopicWatch(
        prepared.broker, prepared.topics, service="planner", every_s=settings.broker.check_topics_every_s
    )
    metrics.topic_misfits.set_function(lambda: len(watch.problems))
    health = Health(app, metrics, store, reader, waits, fence, watch)
    app.task(health.watch)
    app.task(ended_by(watch.run))
    app.task(health.follow(reader, settings.follow_every_s))
    endpoint = Endpoint(
        host=settings.endpoint_host,
        port=settings.endpoint_port,
        registry=registry,
        live=health.live,
        ready=health.ready,
    )
    return Planner(app, endpoint, publisher, positions)


def assigned_to(app: faust.App, topic: str) -> list[int]:
    return [tp.partition for tp in app.assignor.assigned_actives() if tp.topic == topic]


def ended_by(duty: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
    """A task whose error ends the process: Faust would end with a code that says nothing."""

    async def run() -> None:
        try:
            await duty()
        except Exception as error:  # noqa: BLE001  whatever it is
            hard_exit(error)

    return run


def _pins(settings: PlannerSettings) -> PinIndex:
    if settings.pin_store == "memory://":
        return MemoryPins()
    from planner.pins.disk import DiskPins  # RocksDB's library takes 10 MB, and most do without

    return DiskPins(Path(settings.pin_store.removeprefix("rocksdb://")) / settings.group_id)


class Health:
    """Live: the loop turned lately. Ready: assigned, recovered, and waiting for nobody. The mapping was loaded before
    there was a loop."""

    def __init__(
        self,
        app: faust.App,
        metrics: Metrics,
        store: PinStore,
        reader: BulkReader,
        waits: Waits,
        fence: Fence,
        topics: TopicWatch | None = None,
    ) -> None:
        self._topics = topics
        self._app = app
        self._metrics = metrics
        self._store = store
        self._reader = reader
        self._waits = waits
        self._fence = fence
        self._progressed_at = time.monotonic()
        self._read_then = 0
        self._turned_at = time.monotonic()
        self._was_ready = False
        self._generation = self._abandoned = 0

    async def watch(self) -> None:
        while not self._app.should_stop:
            self._turned_at = time.monotonic()
            self._say()
            await self._app.sleep(1.0)
        self._reader.stopped.set()

    def follow(self, reader: BulkReader, every_s: float) -> Callable[[], Awaitable[None]]:
        """A task that keeps the pins up with the planned topic, once recovery is over."""

        async def follow() -> None:
            while not self._app.should_stop:
                await self._app.sleep(every_s)
                if self.ready().ok:
                    await self._follow_once(reader)

        return follow

    async def _follow_once(self, reader: BulkReader) -> None:
        """A broker that goes away meanwhile is no reason to end: there is another time."""
        try:
            await reader.follow()
        except KafkaException as error:
            log.warning("pins.not_followed", error=error.args[0].name())

    def live(self) -> Verdict:
        silence = time.monotonic() - self._turned_at
        return Verdict(silence < LONGEST_SILENCE_S, {"loop_silent_s": round(silence, 1)})

    def ready(self) -> Verdict:
        remaining = self._remaining()
        recovered = bool(self._app.tables.actives_ready)
        assigned = self._assigned()
        waiting_for = self._waits.causes
        misfits = list(self._topics.problems) if self._topics else []
        return Verdict(
            recovered and not waiting_for and not misfits,
            {
                "mapping": True,
                "recovered": recovered,
                "recovery_remaining": remaining,
                "partitions": assigned,
                "waiting_for": waiting_for,
                **({"topics": misfits} if misfits else {}),
            },
        )

    def _assigned(self) -> int:
        changelogs = self._app.tables.changelog_topics
        return sum(tp.topic not in changelogs for tp in self._app.assignor.assigned_actives())

    def _remaining(self) -> int:
        recovery = cast("Any", self._app.tables).recovery
        rest = max(0, sum(recovery.active_remaining().values())) if recovery.in_recovery else 0
        return max(rest, self._reader.remaining)

    def _say(self) -> None:
        remaining, ready = self._remaining(), self.ready().ok
        self._metrics.recovery_remaining.set(remaining)
        if remaining:
            log.info("recovery.progress", remaining=remaining, read=self._store.records_read)
        if ready and not self._was_ready:
            log.info("planner.ready", partitions=self._assigned(), recovered=self._store.records_read)
        self._was_ready = ready
        self._count()
        self._end_if_stuck(ready=ready)

    def _count(self) -> None:
        self._metrics.assigned.set(self._assigned())
        self._metrics.rebalances.inc(max(0, self._fence.generation - self._generation))
        self._metrics.abandoned.inc(self._fence.abandoned - self._abandoned)
        self._generation, self._abandoned = self._fence.generation, self._fence.abandoned

    def _end_if_stuck(self, *, ready: bool) -> None:
        """Faust's consumer can end up without partitions and without an error; only a new process gets out of that."""
        now, read = time.monotonic(), self._store.records_read
        causes = self._waits.causes
        on_its_way = "broker" in causes or ((ready or bool(causes)) and not self._fence.waits_for_rebalance)
        if on_its_way or read > self._read_then:
            self._progressed_at, self._read_then = now, read
        elif now - self._progressed_at > LONGEST_STANDSTILL_S:
            hard_exit(Stuck(f"neither assigned nor recovering nor planning for {LONGEST_STANDSTILL_S:.0f} s"))


STARTUP_ERRORS = (BrokerUnavailable, RegistryUnavailable)
