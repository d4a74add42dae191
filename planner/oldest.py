"""Reads some of the oldest plans of each partition, before anything is planned: `core.placed` judges by them."""

from __future__ import annotations

import io
import time
from collections import Counter
from contextlib import suppress
from typing import Any

import fastavro
from confluent_kafka import Consumer, KafkaException, TopicPartition

from schemas.broker import BrokerUnavailable
from schemas.codec import Codec
from schemas.connection import BrokerSettings
from schemas.records import PlannedWriteback
from schemas.wire import unframe
from telemetry.librdkafka import client_log

_OF_EACH = 50
_WITHIN_S = 15.0


def oldest_plans(
    broker: BrokerSettings, codec: Codec[PlannedWriteback], *, partitions: int, group_id: str
) -> set[tuple[str, int]]:
    """Queue items and partitions. Raises BrokerUnavailable."""
    consumer = Consumer(
        broker.client_config()
        | {
            "group.id": group_id,  # it joins nothing
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            "fetch.message.max.bytes": 65_536,
            "log_level": 2,
        },
        logger=client_log("planner"),
    )
    topic, left = broker.topics.planned_writebacks.name, set(range(partitions))
    seen, found, until = Counter[int](), set[tuple[str, int]](), time.monotonic() + _WITHIN_S
    try:
        consumer.assign([TopicPartition(topic, each, 0) for each in left])
        while left:
            if time.monotonic() > until:
                raise BrokerUnavailable(f"the broker did not give the oldest plans of {topic} in time")
            for message in consumer.consume(500, 0.2):
                partition = message.partition() or 0
                seen[partition] += 1
                if message.error() or seen[partition] >= _OF_EACH:  # the end, or an error that shows again later
                    left.discard(partition)
                elif value := message.value():
                    with suppress(Exception):  # what is no plan tells nothing
                        found.add((_queue_item(value, codec), partition))
    except KafkaException as error:
        raise BrokerUnavailable(f"the broker did not give the oldest plans: {error.args[0].name()}") from None
    finally:
        consumer.close()
    return found


def _queue_item(value: bytes, codec: Codec[PlannedWriteback]) -> str:
    ref, body = unframe(value)
    written_with = codec.schema_of(ref)
    plain: Any = fastavro.schemaless_reader(io.BytesIO(body), written_with, None)
    return str(plain["queue_item_id"])
