"""The one place where the writer's parts are put together."""

from __future__ import annotations

import asyncio
import math
import random
import signal
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import structlog

from runtime.broker import BrokerView
from runtime.connection import BrokerSettings
from runtime.endpoint import Endpoint
from runtime.environment import files_read_once, unreadable_files
from runtime.errors import Misconfigured
from runtime.librdkafka_log import client_log
from runtime.log_reader import read_to_end
from runtime.placement_check import check_placement
from runtime.registry import codec
from runtime.rights import writer_rights
from runtime.rotation import RotationWatch
from runtime.topic_watch import TopicWatch
from runtime.version import VERSION
from schemas.records import PlannedWriteback, WritebackResult
from schemas.topics import TopicSpec
from writer.core.engine import Options
from writer.core.flow import Signature
from writer.core.lanes import WindowLimits
from writer.core.mapping_check import MappingToCheck, is_of
from writer.core.pacing import Pacer, ServiceLimits
from writer.core.retry import RetryLimits
from writer.dataverse.client import DataverseClient
from writer.dataverse.identity import token_source
from writer.dataverse.mapping import read_mapping
from writer.dataverse.mapping_verification import OTHER_ENVIRONMENT, MappingWatch
from writer.dataverse.metadata_cache import MetadataCache
from writer.dataverse.pool import Channel, Pool
from writer.errors import MustRestart
from writer.health import Health
from writer.kafka.consumer import ConsumerOptions, ConsumerThread
from writer.kafka.log_ends import LogEnds
from writer.kafka.producer import BatchProducer, PlainProducer, PublisherThread
from writer.kafka.results_index import ReadToEnd
from writer.kafka.spans import PlanSpans
from writer.kafka.topics import WriterTopics
from writer.kafka.transactions import TransactionalProducer
from writer.metrics import Metrics
from writer.service import Parts, Service
from writer.settings import DataverseSettings, WriterSettings

_SAY_AGAIN_S = 10.0
CHECK_S = 15.0
"""How long the broker may take at a start to say what its topics are."""


def required_topics(broker: BrokerSettings, *, write: bool) -> tuple[TopicSpec, ...]:
    """What must be there in this mode."""
    topics = broker.topics
    if write:
        return topics.planned_writebacks, topics.writeback_results, topics.planned_writebacks_rejected
    return topics.planned_writebacks, topics.writeback_results, topics.writeback_dry_run


def view_of_broker(settings: WriterSettings) -> BrokerView:
    """What the writer needs there in this mode. Raises Misconfigured."""
    if problems := unreadable_files(settings):
        raise Misconfigured(problems)
    broker, write = settings.broker, settings.write
    return BrokerView(
        broker,
        required_topics(broker, write=write),
        writer_rights(broker.topics, settings.group, write=write),
    )


def build_pool(settings: WriterSettings, metrics: Metrics) -> Pool:
    """Raises Misconfigured with every identity that cannot be built."""
    channels, problems = [], []
    for index, identity in enumerate(settings.identities):
        scope = f"{settings.dataverse.url}/.default"
        try:
            tokens = token_source(identity, index, scope=scope, sign_in=settings.sign_in)
        except (ValueError, OSError) as error:
            why = "its file cannot be read" if isinstance(error, OSError) else "its secret or certificate is unusable"
            problems.append(f"WRITER_IDENTITIES__{index}: cannot be used: {why} ({type(error).__name__})")
            continue
        try:
            client = DataverseClient(settings.dataverse, tokens)
        except OSError as error:
            why = f"cannot be read as a PEM file of certificates ({type(error).__name__})"
            raise Misconfigured([*problems, f"WRITER_DATAVERSE__CA_FILE: {why}"]) from None
        channels.append(Channel(client, Pacer(_limits(settings.dataverse), dice=random.random)))
    if problems:
        raise Misconfigured(problems)
    return Pool(channels, metrics, api_path=f"/api/data/{settings.dataverse.api_version}/")


def _limits(dataverse: DataverseSettings) -> ServiceLimits:
    return ServiceLimits(
        requests=dataverse.max_requests,
        execution=dataverse.max_execution_s,
        window=dataverse.limit_window_s,
        concurrent=dataverse.max_connections,
    )


def _mapping(settings: WriterSettings) -> MappingToCheck | None:
    """Raises Misconfigured if the file is not a mapping, or one of another environment."""
    if settings.mapping_file is None:
        return None
    mapping = read_mapping(settings.mapping_file)
    if not is_of(mapping, settings.dataverse.url):
        raise Misconfigured([str(OTHER_ENVIRONMENT)])
    return mapping


def build_facts(settings: WriterSettings, pool: Pool) -> MetadataCache:
    flow = settings.flow
    return MetadataCache(pool, metadata_ttl_s=flow.metadata_ttl_s, owner_ttl_s=flow.owner_ttl_s)


async def run(settings: WriterSettings) -> None:
    """The writer until SIGTERM or SIGINT. Raises Misconfigured, UnfitTopics, BrokerUnavailable, MustRestart."""
    broker = view_of_broker(settings)
    found = await asyncio.to_thread(broker.checked, timeout_s=CHECK_S)
    await asyncio.to_thread(_check_placement, settings, found.partitions)
    watch = TopicWatch(broker, found, service="writer", every_s=settings.broker.check_topics_every_s)
    rotation = RotationWatch(
        files_read_once(settings),
        service="writer",
        unusable=lambda: unreadable_files(settings),
        on_change=lambda: signal.raise_signal(signal.SIGTERM),
        every_s=settings.look_for_new_secrets_every_s,
    )
    async with running(settings, watch, rotation) as service:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, service.stop)
        await service.run()
    if rotation.changed:
        raise MustRestart(f"a new content of {', '.join(rotation.changed)} is used after a new start")


def _check_placement(settings: WriterSettings, partitions: int) -> None:
    plans = codec(PlannedWriteback, settings.broker.topics.planned_writebacks.name, settings.registry)
    check_placement(settings.broker, partitions, plans, group=settings.group, log=client_log("writer"))


@asynccontextmanager
async def running(
    settings: WriterSettings, watch: TopicWatch | None = None, rotation: RotationWatch | None = None
) -> AsyncIterator[Service]:
    """A service that is built but not started; what it was built from is closed afterwards, in the stop order."""
    log = structlog.get_logger("writer")
    mapping = _mapping(settings)
    metrics = Metrics(version=VERSION, mode="write" if settings.write else "dry run")
    topics = settings.broker.topics
    async with AsyncExitStack() as closing:
        pool = build_pool(settings, metrics)
        closing.push_async_callback(pool.close)
        facts = build_facts(settings, pool)
        verifying = MappingWatch(mapping, facts, metrics, url=settings.dataverse.url) if mapping else None
        if verifying:
            closing.callback(asyncio.create_task(verifying.run(), name="mapping").cancel)
        publisher = PublisherThread(_producer(settings, metrics, lambda: service.consumer))
        closing.push_async_callback(publisher.close)
        signature = Signature(f"{VERSION} {settings.instance_id}", settings.write)
        results_topic = topics.writeback_results if settings.write else topics.writeback_dry_run
        plan_codec, result_codec = await asyncio.gather(
            asyncio.to_thread(codec, PlannedWriteback, topics.planned_writebacks.name, settings.registry),
            asyncio.to_thread(codec, WritebackResult, results_topic.name, settings.registry),
        )
        service = Service(
            Parts(
                pool=pool,
                facts=facts,
                publisher=publisher,
                topics=WriterTopics(topics, result_codec, name=signature.name, write=settings.write),
                codec=plan_codec,
                topic=topics.planned_writebacks.name,
                read_results=_read_results(settings),
                result_codec=result_codec,
                metrics=metrics,
                spans=PlanSpans(topic=topics.planned_writebacks.name, group=settings.group),
            ),
            signature,
            _engine_options(settings),
            watch=watch,
            rotation=rotation,
        )
        options = _consumer_options(settings)
        service.consumer = ConsumerThread(options, service.post, LogEnds(options.config, options.topic))
        if watch:
            metrics.topic_misfits.set_function(lambda: len(watch.problems))
        health = Health(service, pool, facts, write=settings.write, topics=watch, mapping=verifying)
        endpoint = Endpoint(
            host=settings.endpoint_host,
            port=settings.endpoint_port,
            registry=metrics.registry,
            live=health.live,
            ready=health.ready,
        )
        endpoint.start()
        closing.callback(endpoint.stop)
        log.info("endpoint.listening", port=endpoint.port)
        log.info(
            "service.starting",
            version=VERSION,
            instance=settings.instance_id,
            mode="write" if settings.write else "dry run",
            group=settings.group,
            dataverse=settings.dataverse.url,
            identities=[channel.dataverse.name for channel in pool.channels],
        )
        yield service
    log.info("service.stopped")


def _engine_options(settings: WriterSettings) -> Options:
    flow = settings.flow
    return Options(
        most_plans_per_request=flow.max_plans_per_request,
        window=WindowLimits(plans=flow.window, plans_per_partition=max(1, flow.window // 2)),
        retry=RetryLimits(
            longest_pause=flow.max_pause_s, back_of_topic=flow.back_of_topic_s, late_request=flow.late_request_s
        ),
        commit_interval_s=settings.consumer.commit_interval_s,
        release_within_s=settings.consumer.release_within_s,
        stop_within_s=flow.stop_within_s,
    )


def _producer(settings: WriterSettings, metrics: Metrics, consumer: Callable[[], ConsumerThread]) -> BatchProducer:
    """`consumer`: by the time that something is published there is one."""
    waits = BrokerWaits(metrics)
    if not settings.transactions:
        return PlainProducer(
            settings.broker.producer_config(), commit=lambda *batch: consumer().commit(*batch), on_wait=waits.waited
        )
    return TransactionalProducer(
        settings.broker.producer_config(),
        f"{settings.group}-{settings.instance_id}-{uuid.uuid4().hex[:8]}",
        settings.broker.topics.planned_writebacks.name,
        writer_rights(settings.broker.topics, settings.group, write=settings.write),
        on_wait=waits.waited,
        notes=lambda partitions: consumer().notes(partitions),
    )


class BrokerWaits:
    """Counts what the broker keeps waiting, and says it now and then. From any thread."""

    def __init__(self, metrics: Metrics, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._metrics = metrics
        self._clock = clock
        self._said_at = -math.inf
        self._log = structlog.get_logger("writer")

    def waited(self, code: str) -> None:
        self._metrics.broker_waits.labels(code).inc()
        if self._clock() - self._said_at >= _SAY_AGAIN_S:
            self._said_at = self._clock()
            self._log.warning("broker.waiting", code=code)


def _read_results(settings: WriterSettings) -> ReadToEnd:
    """In a dry run too: what landed before is known to it."""
    config = settings.broker.consumer_config() | {"group.id": settings.group}  # a group that it may read with
    return partial(read_to_end, config, settings.broker.topics.writeback_results.name, log=client_log("writer"))


def _consumer_options(settings: WriterSettings) -> ConsumerOptions:
    consumer = settings.consumer
    return ConsumerOptions(
        config=settings.broker.consumer_config(),
        group=settings.group,
        topic=settings.broker.topics.planned_writebacks.name,
        protocol=None if consumer.protocol == "auto" else consumer.protocol,
        session_timeout_ms=consumer.session_timeout_ms,
        heartbeat_interval_ms=consumer.heartbeat_interval_ms,
        max_poll_interval_ms=consumer.max_poll_interval_ms,
        release_within_s=max(consumer.release_within_s, settings.flow.stop_within_s),
        rights=writer_rights(settings.broker.topics, settings.group, write=settings.write),
    )
