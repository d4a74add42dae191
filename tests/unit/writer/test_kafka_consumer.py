"""The consumer's thread, without a thread: what it commits, and for whom."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from confluent_kafka import TopicPartition

from writer.kafka_consumer import ConsumerOptions, ConsumerThread, Position

OPTIONS = ConsumerOptions(
    config={}, group="g", topic="plans", protocol="consumer", session_timeout_ms=1, heartbeat_interval_ms=1,
    max_poll_interval_ms=10_000, release_within_s=1.0,
)  # fmt: skip


class FakeConsumer:
    def __init__(self) -> None:
        self.commits: list[dict[int, tuple[int, str]]] = []

    def committed(self, partitions: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        return [TopicPartition(part.topic, part.partition, -1001) for part in partitions]

    def incremental_assign(self, partitions: list[TopicPartition]) -> None:
        """Nothing is fetched."""

    def incremental_unassign(self, partitions: list[TopicPartition]) -> None:
        """Nothing was fetched."""

    def commit(self, *, offsets: list[TopicPartition], asynchronous: bool) -> None:
        self.commits.append({part.partition: (part.offset, part.metadata) for part in offsets})


class Deaf:
    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None


class Message:
    def __init__(self, partition: int, offset: int) -> None:
        self._partition, self._offset = partition, offset

    def error(self) -> None:
        return None

    def partition(self) -> int:
        return self._partition

    def offset(self) -> int:
        return self._offset

    def timestamp(self) -> tuple[int, int]:
        return 1, 0

    def __getattr__(self, name: str) -> Callable[[], None]:
        return lambda: None


def on_a_loop(scenario: Callable[[ConsumerThread, Any], None]) -> None:
    async def run() -> None:
        thread = ConsumerThread(OPTIONS, Deaf())  # type: ignore[arg-type]
        consumer: Any = FakeConsumer()
        thread._on_assign(consumer, [TopicPartition("plans", 0), TopicPartition("plans", 1)])
        scenario(thread, consumer)

    asyncio.run(run())


AT = Position(5, "note")


def test_W1_only_partitions_that_are_ours_are_committed() -> None:
    def scenario(thread: ConsumerThread, consumer: FakeConsumer) -> None:
        thread._commit_in_background(consumer, {0: AT, 7: AT})  # type: ignore[arg-type]
        thread._commit_in_background(consumer, {7: AT})  # type: ignore[arg-type]
        assert consumer.commits == [{0: (5, "note")}]

    on_a_loop(scenario)


def test_W1_nothing_is_committed_or_taken_of_a_partition_that_was_lost() -> None:
    def scenario(thread: ConsumerThread, consumer: FakeConsumer) -> None:
        thread._on_lost(consumer, [TopicPartition("plans", 0)])  # type: ignore[arg-type]
        thread._commit_in_background(consumer, {0: AT, 1: AT})  # type: ignore[arg-type]
        taken, _ = thread._split([Message(0, 3), Message(1, 4)])  # type: ignore[list-item]
        assert consumer.commits == [{1: (5, "note")}]
        assert [(record.partition, record.offset) for record in taken] == [(1, 4)]

    on_a_loop(scenario)


def test_a_writer_is_a_dynamic_member_of_its_group_whatever_the_protocol() -> None:
    assert "group.instance.id" not in OPTIONS.for_protocol("consumer") | OPTIONS.for_protocol("classic")
