"""Builds the planner, in the order in which a misconfigured one has to say so: settings, mapping, topics, registry."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from prometheus_client import CollectorRegistry

from planner.batch import BatchDecider
from planner.core.deciding import Decider, Placement
from planner.core.fence import Fence
from planner.core.resolution import ResolvedMapping
from planner.errors import MappingUnfit, PinsUnusable
from planner.health import LONGEST_SILENCE_S, Health
from planner.kafka.positions import Positions
from planner.kafka.publisher import PlanPublisher
from planner.kafka.traces import Traces
from planner.kafka.undecided import UndecidedOffsets
from planner.mapping import load
from planner.metrics import Metrics
from planner.pins.bulk import BulkReader
from planner.pins.index import PinIndex
from planner.pins.memory import MemoryPins
from planner.pins.recovery import PinRecovery
from planner.service import PlannerService, hard_exit
from planner.settings import PlannerSettings
from planner.stream.app import Handle, make_app
from planner.stream.stream import OutcomeStream
from planner.waiting import Waits
from runtime import environment
from runtime.broker import BrokerView
from runtime.endpoint import Endpoint
from runtime.errors import Misconfigured, Unavailable
from runtime.librdkafka_log import client_log
from runtime.placement_check import check_placement
from runtime.registry import codec
from runtime.rights import planner_rights
from runtime.rotation import RotationWatch
from runtime.topic_watch import TopicWatch
from runtime.version import VERSION
from schemas.codec import Codec
from schemas.records import CallOutcome, PlannedWriteback
from schemas.topics import TopicFacts


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
    unanswered: list[Unavailable] = []
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
    except Unavailable as error:
        unanswered.append(error)
    try:
        codecs = (
            codec(CallOutcome, topics.call_outcomes.name, settings.registry),
            codec(PlannedWriteback, topics.planned_writebacks.name, settings.registry),
        )
    except Misconfigured as error:
        problems += error.problems
    except Unavailable as error:
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
    """What has to be started and stopped."""

    stream: OutcomeStream
    endpoint: Endpoint
    publisher: PlanPublisher
    positions: Positions
    rotation: RotationWatch


@dataclass(frozen=True)
class Overrides:
    """What a test wraps to make the planner fail."""

    pins: Callable[[PinIndex], PinIndex] = lambda pins: pins
    decider: Callable[[BatchDecider], BatchDecider] = lambda decider: decider
    publisher: Callable[[PlanPublisher], PlanPublisher] = lambda publisher: publisher
    handle: Callable[[Handle], Handle] = lambda handle: handle


def build(prepared: Prepared, parts: Overrides = Overrides()) -> Planner:
    """Raises Misconfigured and BrokerUnavailable if the planner may not, or cannot, start publishing. Raises
    Unavailable if pins cannot be kept on disk."""
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
        traces=Traces(topic=settings.broker.topics.call_outcomes.name, group=settings.group_id),
        waits=waits,
        stopping=lambda: stream.stopping,
    )
    recovery = PinRecovery(pins, prepared.plans, metrics)
    reader = BulkReader(settings.broker, recovery, waits, group_id=settings.group_id)
    positions = Positions(
        settings.broker,
        metrics,
        waits,
        group_id=settings.group_id,
        ours=lambda: stream.assigned(),
        every_s=settings.look_every_s,
    )
    app = make_app(
        settings,
        partitions=prepared.partitions,
        pins=recovery,
        reader=reader,
        fence=fence,
        jumped=positions.jumped,
        decided=UndecidedOffsets(
            settings.broker, waits, group_id=settings.group_id, within_s=settings.delivery_timeout_s
        ).wait,
        handle=parts.handle(service.handle),
        hard_exit=hard_exit,
    )
    stream = OutcomeStream(app, settings.broker.topics.call_outcomes.name)
    watch = TopicWatch(
        prepared.broker, prepared.topics, service="planner", every_s=settings.broker.check_topics_every_s
    )
    metrics.topic_misfits.set_function(lambda: len(watch.problems))
    health = Health(stream, metrics, recovery, reader, waits, fence, watch)
    stream.task(health.watch)
    stream.task(ended_by(watch.run))
    stream.task(ended_by(partial(health.follow, settings.follow_every_s)))
    rotation = RotationWatch(
        environment.files_read_once(settings),
        service="planner",
        unusable=lambda: environment.unreadable_files(settings),
        on_change=lambda: signal.raise_signal(signal.SIGTERM),
        every_s=settings.look_for_new_secrets_every_s,
    )
    stream.task(ended_by(rotation.run))
    endpoint = Endpoint(
        host=settings.endpoint_host,
        port=settings.endpoint_port,
        registry=registry,
        live=health.live,
        ready=health.ready,
    )
    return Planner(stream, endpoint, publisher, positions, rotation)


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

    try:
        return DiskPins(Path(settings.pin_store.removeprefix("rocksdb://")) / settings.group_id)
    except PinsUnusable as error:
        raise Unavailable(str(error)) from None
