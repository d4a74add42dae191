"""A planner as a process beside a broker: its settings, what it is given, and what became of it."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Message, Producer, TopicPartition

from ops.demo.processes import Service
from ops.demo.waiting import HANGS_AFTER_S, wait_until
from schemas.codec import Codec, single_object
from schemas.records import CallOutcome
from schemas.topics import Topics
from tests.support.factories import an_id, make_baseline, make_outcome

CONTROL = pytest.mark.flaky(reruns=4)
"""A naive agent has to lose, to show that the test would see it. A loss takes the right moment, which a busy machine
may miss. So a control has five tries, and ours has one."""

EXAMPLE = Path(__file__).parents[3] / "ops" / "demo" / "mapping.json"
CODEC = single_object(CallOutcome)
AN_HOUR_AGO = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)


def planner_env(bootstrap: str, *, checked: bool = False, prefix: str = "", **more: str) -> dict[str, str]:
    """Settings that make a restarted planner take over within two seconds."""
    return {
        "PLANNER_MAPPING_FILE": str(EXAMPLE),
        "PLANNER_BROKER__BOOTSTRAP_SERVERS": bootstrap,
        "PLANNER_BROKER__CHECK_TOPIC_POLICIES": str(checked).lower(),
        "PLANNER_BROKER__TOPIC_PREFIX": prefix,
        "PLANNER_ENDPOINT_HOST": "127.0.0.1",
        "PLANNER_ENDPOINT_PORT": "0",
        "PLANNER_INSTANCE_ID": "planner-0",
        "PLANNER_SESSION_TIMEOUT_S": "1.5",
        "PLANNER_HEARTBEAT_INTERVAL_S": "0.3",
        "PLANNER_DELIVERY_TIMEOUT_S": "60",
        "PLANNER_LOG_FORMAT": "json",
        **more,
    }


def outcomes(count: int, *, start: int = 0, items: int = 10) -> list[CallOutcome]:
    """Of sessions that were over an hour ago, whatever the day: a real broker stamps them with its own time."""
    return [
        make_outcome(
            session_id=f"s{number:05d}",
            queue_item_id=an_id(f"item {number % items}"),
            started_at=AN_HOUR_AGO,
            ended_at=AN_HOUR_AGO + timedelta(minutes=3),
            baseline=make_baseline(captured_at=AN_HOUR_AGO),
        )
        for number in range(start, start + count)
    ]


def publish(
    bootstrap: str, given: Iterable[CallOutcome], *, topic: str = "call-outcomes", codec: Codec[CallOutcome] = CODEC
) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "partitioner": "murmur2_random", "linger.ms": 1})
    for outcome in given:
        producer.produce(topic, codec.encode(outcome), outcome.queue_item_id.encode())
    assert producer.flush(20) == 0


def plans(bootstrap: str, *, prefix: str = "") -> dict[str, list[bytes]]:
    """Session to the different plans that stand on the topic for it; a plan that was published twice counts once."""
    found: dict[str, list[bytes]] = defaultdict(list)
    for message in read(bootstrap, prefix + Topics().planned_writebacks.name):
        if message.value() not in found[message.key().decode()]:
            found[message.key().decode()].append(message.value())
    return found


def read(bootstrap: str, topic: str) -> list[Message]:
    """Every record of a topic up to its present end, all partitions at once; in order within a partition."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "reader", "fetch.wait.max.ms": 50})
    try:
        partitions = consumer.list_topics(topic, timeout=HANGS_AFTER_S).topics[topic].partitions
        marks = {
            each: consumer.get_watermark_offsets(TopicPartition(topic, each), timeout=HANGS_AFTER_S)
            for each in partitions
        }
        consumer.assign([TopicPartition(topic, each, first) for each, (first, end) in marks.items() if end > first])
        found: list[Message] = []

        def all_read() -> bool:
            found.extend(each for each in consumer.consume(1000, 0.1) if not each.error())
            at = {each.partition: each.offset for each in consumer.position(consumer.assignment())}
            return all(at[each] >= end for each, (first, end) in marks.items() if end > first)

        wait_until(all_read, what=f"{topic} is read to its end", every=0)
        return found
    finally:
        consumer.close()


def published(bootstrap: str, topic: str = "planned-writebacks") -> int:
    """How many offsets the topic has given out, without reading it: its records, and the marks of transactions."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "watermarks"})
    try:
        partitions = consumer.list_topics(topic, timeout=HANGS_AFTER_S).topics[topic].partitions
        marks = [
            consumer.get_watermark_offsets(TopicPartition(topic, each), timeout=HANGS_AFTER_S) for each in partitions
        ]
        return sum(end for _, end in marks)
    finally:
        consumer.close()


def committed(bootstrap: str, *, prefix: str = "", partitions: int = 6) -> int:
    """How many outcomes the planner's group has done with."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": f"{prefix}writeback-planner"})
    try:
        wish = [TopicPartition(f"{prefix}call-outcomes", partition) for partition in range(partitions)]
        return sum(max(each.offset, 0) for each in consumer.committed(wish, timeout=HANGS_AFTER_S))
    finally:
        consumer.close()


def rejected(bootstrap: str, *, prefix: str = "") -> list[Message]:
    return read(bootstrap, prefix + Topics().call_outcomes_rejected.name)


def lost(bootstrap: str, given: Iterable[CallOutcome], *, prefix: str = "") -> set[str]:
    """Sessions that have neither a plan nor a rejection."""
    turned_down = {each.value() for each in rejected(bootstrap, prefix=prefix)}
    without_plan = {each.session_id for each in given} - plans(bootstrap, prefix=prefix).keys()
    return {
        each.session_id for each in given if each.session_id in without_plan and CODEC.encode(each) not in turned_down
    }


def ready(service: Service) -> bool:
    return service.has_written('"planner.ready"')


def with_settings(env: Mapping[str, str], **more: str) -> dict[str, str]:
    return {**env, **more}
