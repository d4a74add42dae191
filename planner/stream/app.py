"""The Faust application: the one way of using Faust that loses nothing. Every line here is there for a reason.

P5 An outcome's offset is committed only after its plan, or its rejection, was acknowledged by all in-sync replicas.
P1 The pins are a table whose changelog is the planned topic itself.

1. One agent, one at a time, in batches. The loop acknowledges a batch when it is done: Faust would do so when
   the loop asks for the next, and at a stop while the batch is still in hand.
2. The plans of a batch are published and acknowledged before the loop goes on, in one transaction with its progress
   (`planner.core.fence`). If they cannot be, the process ends at once: nothing of the batch is committed, all of it is
   delivered again. If the partitions were reassigned, the batch is abandoned. Faust's own commits, for batches without
   records, come between two batches: during one they would set the group back behind its transaction.
3. No exception leaves the loop, for Faust would acknowledge the event that raised it. Being cancelled (SIGTERM) is one:
   the batch in hand is finished first. A batch that is abandoned is not acknowledged.
4. Setting a pin sends nothing, since the plan was just published; recovery reads the planned topic.
5. An error while recovering ends the process too: Faust would log it and repeat it without end, or go on without pins.
6. Nothing that was read is thrown away or jumped over while partitions come and go: `planner.stream.reading`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, NoReturn, cast

import faust
import structlog
from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaConnectionError
from faust.types import TP

from planner.core.deciding import Incoming
from planner.core.fence import Fence, Membership
from planner.errors import Abandoned
from planner.pins.bulk import BulkReader
from planner.pins.recovery import PinRecovery
from planner.settings import PlannerSettings
from planner.stream.reading import Decided, Jumped, install
from planner.stream.recovery import BulkRecovery
from runtime.connection import BrokerSettings
from runtime.errors import Misconfigured, Unavailable
from runtime.threads import in_daemon_thread
from runtime.tokens import BrokerTokens

Handle = Callable[[Sequence[Incoming], Membership], Awaitable[None]]
HardExit = Callable[[BaseException], NoReturn]

log: Any = structlog.get_logger("planner")

_LOG_APPEND_TIME = 1
RAW: Mapping[str, Any] = {"key_type": bytes, "value_type": bytes, "key_serializer": "raw", "value_serializer": "raw"}


class PinTable(faust.Table[bytes, bytes]):
    """Faust's view of the pins: it applies what the planned topic holds, and never sends anything."""

    logger = logging.getLogger("faust.tables")
    store_of_pins: PinRecovery
    hard_exit: HardExit

    def on_key_set(self, key: Any, value: Any) -> None:
        """The agent has just published that very record."""

    def on_key_del(self, key: Any) -> None:
        """Tombstones are sent by `writeback retire`, never from here."""

    def apply_changelog_batch(self, batch: Iterable[Any]) -> None:
        try:
            self.store_of_pins.apply(each.message for each in batch)
        except BaseException as error:  # noqa: BLE001  Faust would log it and repeat it without end
            self.hard_exit(error)

    def persisted_offset(self, tp: TP) -> int | None:
        return self.store_of_pins.read_up_to(tp.partition)

    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0
    ) -> None:
        topic = self.changelog_topic.get_topic_name()
        self.store_of_pins.assigned({tp.partition for tp in assigned if tp.topic == topic})
        await super().on_rebalance(assigned, revoked, newly_assigned, generation_id)


class PlannerApp(faust.App):
    """Faust keeps nothing on disk: `planner.pins` has the pins, and progress is in Kafka."""

    logger = logging.getLogger("faust.app")

    def _create_directories(self) -> None:
        """Faust would make three folders where the process was started, which may be read-only."""


def make_app(
    settings: PlannerSettings,
    *,
    partitions: int,
    pins: PinRecovery,
    reader: BulkReader,
    fence: Fence,
    jumped: Jumped,
    decided: Decided,
    handle: Handle,
    hard_exit: HardExit,
) -> faust.App:
    """Hands batches to `handle`, and ends through `hard_exit` if that raises."""
    broker, topics = settings.broker, settings.broker.topics
    client = broker.aiokafka_consumer()
    app = PlannerApp(
        settings.group_id,
        broker=[f"kafka://{server}" for server in broker.bootstrap_servers.split(",")],
        broker_credentials=_credentials(broker, client),
        broker_session_timeout=settings.session_timeout_s,
        broker_heartbeat_interval=settings.heartbeat_interval_s,
        broker_commit_every=1_000_000,
        broker_commit_interval=1.0,
        broker_client_id=f"{settings.group_id}-{settings.instance_id}",
        consumer_group_instance_id=f"{settings.group_id}-{settings.instance_id}",
        broker_request_timeout=client["request_timeout_ms"] / 1000,
        broker_check_crcs=client["check_crcs"],
        consumer_auto_offset_reset=client["auto_offset_reset"],
        consumer_max_fetch_size=client["max_partition_fetch_bytes"],
        consumer_metadata_max_age_ms=client["metadata_max_age_ms"],
        consumer_connections_max_idle_ms=client["connections_max_idle_ms"],
        Table=PinTable,
        store="memory://",
        table_standby_replicas=0,
        topic_allow_declare=False,
        topic_disable_leader=True,
        stream_wait_empty=False,
        stream_buffer_maxsize=settings.batch_size * 2,
        web_enabled=False,
        web_in_thread=False,
        producer_acks=-1,
        loghandlers=[],
    )
    in_hand = asyncio.Lock()
    install(app, fence, in_hand, jumped, decided, client)
    outcomes = app.topic(topics.call_outcomes.name, **RAW)
    planned = app.topic(topics.planned_writebacks.name, partitions=partitions, compacting=True, **RAW)
    table = cast(
        "PinTable",
        app.Table("pins", partitions=partitions, changelog_topic=planned, key_type=bytes, value_type=bytes),
    )
    table.store_of_pins, table.hard_exit = pins, hard_exit

    async def plan(stream: Any) -> None:
        async for events in stream.take_events(settings.batch_size, within=settings.batch_wait_s):
            async with in_hand:
                if admitted := fence.admitted(events, lambda event: int(event.message.generation_id)):
                    membership, ours = admitted
                    batch = _planned(ours, membership, handle)
                    if not await finish(batch, hard_exit, done=partial(acknowledge, ours)):
                        fence.abandon(membership.generation)

    app.agent(outcomes, name="planner", concurrency=1)(plan)
    recovery = BulkRecovery(app, app.tables, beacon=app.tables.beacon)
    recovery.reader, recovery.hard_exit = reader, hard_exit
    cast("Any", app.tables)._recovery = recovery  # noqa: SLF001  there is no other way to give a table manager its recovery
    return app


async def _planned(events: Sequence[Any], membership: Membership, handle: Handle) -> None:
    await handle([incoming_of(event.message) for event in events], membership)


async def finish(batch: Awaitable[None], hard_exit: HardExit, done: Callable[[], None]) -> bool:
    """Await a batch to its end: if it fails the process ends, and being cancelled does not stop it half-way. `done` is
    called for one that did not fail, also if that is cancelled.

    False for one that was abandoned on purpose. It is not acknowledged, and the broker delivers it again to the planner
    that has its partitions then.
    """
    work = asyncio.ensure_future(batch)
    cancelled: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError as error:
            cancelled = error
    failure = asyncio.CancelledError() if work.cancelled() else work.exception()
    if isinstance(failure, Abandoned):
        log.warning("batch.abandoned", why=str(failure))
    elif failure:
        hard_exit(failure)
    else:
        done()
    if cancelled and not failure:
        raise cancelled
    return failure is None


def acknowledge(events: Sequence[Any]) -> None:
    """Acknowledges a batch that is done. `reading` keeps Faust from acknowledging anything by itself."""
    for event in events:
        event.message.acked = False
        event.ack()


def incoming_of(message: Any) -> Incoming:
    """A sender's timestamp (CreateTime) cannot be relied on; our own clock replaces it."""
    headers = message.headers or ()
    appended_at = _moment(message.timestamp) if message.timestamp_type == _LOG_APPEND_TIME else None
    return Incoming(
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        key=message.key,
        value=message.value,
        headers=tuple(headers.items() if isinstance(headers, dict) else headers),
        received_at=appended_at or datetime.now(UTC),
        appended_at=appended_at,
    )


def _moment(seconds: float | None) -> datetime | None:
    if seconds is None or seconds < 0:
        return None
    try:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=round(seconds * 1000))
    except OverflowError:
        return None


def _credentials(broker: BrokerSettings, client: Mapping[str, Any]) -> Any:
    context = client["ssl_context"]
    if broker.tokens:
        return faust.OAuthCredentials(oauth_cb=TokenProvider(broker.tokens), ssl_context=context)
    if broker.sasl:
        return faust.SASLCredentials(
            username=client["sasl_plain_username"],
            password=client["sasl_plain_password"],
            mechanism=client["sasl_mechanism"],
            ssl_context=context,
        )
    return faust.SSLCredentials(context) if context else None


class TokenProvider(AbstractTokenProvider):  # type: ignore[misc]  # it has no types
    """The tokens that librdkafka gets too, as aiokafka asks for them: once for each connection."""

    def __init__(self, source: BrokerTokens) -> None:
        self._source = source

    async def token(self) -> str:
        """Raises KafkaConnectionError: aiokafka tries again after it, and falls over anything else."""
        try:
            return (await in_daemon_thread(self._source.token, name="broker-token")).value
        except (Misconfigured, Unavailable):
            raise KafkaConnectionError("there is no token for the broker") from None

    def extensions(self) -> Mapping[str, str]:
        return self._source.extensions
