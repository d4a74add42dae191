"""The consumer's thread, without a thread: what it commits, and for whom."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from confluent_kafka import KafkaError, TopicPartition
from structlog.testing import capture_logs

from writer.core.assignment import OffsetAndMetadata
from writer.kafka.consumer import ConsumerOptions, ConsumerThread, MissedOffsets

OPTIONS = ConsumerOptions(
    config={}, group="g", topic="plans", protocol="consumer", session_timeout_ms=1, heartbeat_interval_ms=1,
    max_poll_interval_ms=10_000, release_within_s=1.0,
)  # fmt: skip


@dataclass
class Answered:
    """What the broker said of one partition."""

    partition: int
    offset: int
    error: KafkaError | None = None


class FakeConsumer:
    def __init__(self) -> None:
        self.commits: list[dict[int, tuple[int, str | None]]] = []
        self.refusal: KafkaError | None = None
        self.at = -1001
        self.start = 0

    def committed(self, partitions: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        return [TopicPartition(part.topic, part.partition, self.at) for part in partitions]

    def incremental_assign(self, partitions: list[TopicPartition]) -> None:
        """Nothing is fetched."""

    def get_watermark_offsets(self, partition: TopicPartition, *, cached: bool) -> tuple[int, int]:
        return self.start, 12

    def pause(self, partitions: list[TopicPartition]) -> None:
        """Nothing is fetched."""

    def incremental_unassign(self, partitions: list[TopicPartition]) -> None:
        """Nothing was fetched."""

    def commit(self, *, offsets: list[TopicPartition], asynchronous: bool) -> list[Any] | None:
        self.commits.append({part.partition: (part.offset, part.metadata) for part in offsets})
        return None if asynchronous else [Answered(part.partition, part.offset, self.refusal) for part in offsets]


class Deaf:
    """Keeps what it was told of commits, in order."""

    def __init__(self) -> None:
        self.story: list[Any] = []

    def committed(self, number: int, partitions: list[int]) -> None:
        self.story.append((number, list(partitions)))

    def commit_failed(self, code: str) -> None:
        self.story.append(code)

    def end_offsets(self, offsets: dict[int, int], asked_at: float) -> None:
        self.story.append((offsets, asked_at))

    def missed(self, gap: MissedOffsets) -> None:
        self.story.append(gap)

    async def release(self, partitions: list[int]) -> dict[int, OffsetAndMetadata]:
        return dict.fromkeys(partitions, AT)

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None


class NoEnds:
    """Keeps the questions; there is no answer."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []
        self.heard: Any = None

    def ask(self, partitions: list[int], heard: Any) -> None:
        self.asked.append(partitions)
        self.heard = heard


class Message:
    def __init__(self, partition: int, offset: int, error: KafkaError | None = None) -> None:
        self._partition, self._offset, self._error = partition, offset, error

    def error(self) -> KafkaError | None:
        return self._error

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
        thread = ConsumerThread(OPTIONS, Deaf(), NoEnds())  # type: ignore[arg-type]
        consumer: Any = FakeConsumer()
        thread._on_assign(consumer, [TopicPartition("plans", 0), TopicPartition("plans", 1)])
        scenario(thread, consumer)

    asyncio.run(run())


AT = OffsetAndMetadata(5, "note")


def test_W1_only_partitions_that_are_ours_are_committed() -> None:
    def scenario(thread: ConsumerThread, consumer: FakeConsumer) -> None:
        thread._commit_in_background(consumer, 1, {0: AT, 7: AT})  # type: ignore[arg-type]
        thread._commit_in_background(consumer, 1, {7: AT})  # type: ignore[arg-type]
        assert consumer.commits == [{0: (5, "note")}]

    on_a_loop(scenario)


def test_W1_nothing_is_committed_or_taken_of_a_partition_that_was_lost() -> None:
    def scenario(thread: ConsumerThread, consumer: FakeConsumer) -> None:
        thread._on_lost(consumer, [TopicPartition("plans", 0)])  # type: ignore[arg-type]
        thread._commit_in_background(consumer, 1, {0: AT, 1: AT})  # type: ignore[arg-type]
        taken, _ = thread._split([Message(0, 3), Message(1, 4)], consumer)  # type: ignore[list-item,arg-type]
        assert consumer.commits == [{1: (5, "note")}]
        assert [(record.partition, record.offset) for record in taken] == [(1, 4)]

    on_a_loop(scenario)


def test_a_writer_is_a_dynamic_member_of_its_group_whatever_the_protocol() -> None:
    assert "group.instance.id" not in OPTIONS.for_protocol("consumer") | OPTIONS.for_protocol("classic")


TOO_LONG = KafkaError(KafkaError.OFFSET_METADATA_TOO_LARGE)
GONE = KafkaError(KafkaError.NOT_COORDINATOR)


async def after(answers: Callable[[ConsumerThread], None], *commits: dict[int, int]) -> list[Any]:
    """What the loop hears of commits."""
    heard = Deaf()
    thread, consumer = ConsumerThread(OPTIONS, heard, NoEnds()), FakeConsumer()  # type: ignore[arg-type]
    thread._on_assign(consumer, [TopicPartition("plans", 0), TopicPartition("plans", 1)])  # type: ignore[arg-type]
    for number, offsets in enumerate(commits, 1):
        positions = {partition: OffsetAndMetadata(offset, "") for partition, offset in offsets.items()}
        thread._commit_in_background(consumer, number, positions)  # type: ignore[arg-type]
    answers(thread)
    await asyncio.sleep(0)
    return heard.story


@pytest.mark.parametrize(
    ("error", "partitions", "story"),
    [
        (None, [Answered(0, 5), Answered(1, 6)], [(1, [0, 1])]),
        (None, [Answered(0, 5, GONE), Answered(1, 6)], ["NOT_COORDINATOR", (1, [1])]),
        (None, [Answered(0, 5, GONE), Answered(1, 6, GONE)], ["NOT_COORDINATOR", (1, [])]),
        (GONE, [Answered(0, 5), Answered(1, 6)], ["NOT_COORDINATOR", (1, [])]),
        (GONE, [Answered(0, 5, TOO_LONG), Answered(1, 6)], ["NOT_COORDINATOR", "OFFSET_METADATA_TOO_LARGE", (1, [])]),
        (GONE, [], ["NOT_COORDINATOR", (1, [])]),
    ],
)
def test_W1_only_a_partition_that_the_broker_took_counts_as_committed(
    error: KafkaError | None, partitions: list[Any], story: list[Any]
) -> None:
    assert asyncio.run(after(lambda thread: thread._on_commit(error, partitions), {0: 5, 1: 6})) == story


@pytest.mark.parametrize(
    ("commits", "answers", "story"),
    [
        ([{0: 5}, {0: 5}], [5, 5], [(1, [0]), (2, [0])]),
        ([{0: 5}, {0: 6}], [5, 6], [(1, [0]), (2, [0])]),
        ([{0: 5}, {0: 6}], [6, 5], [(2, [0])]),
        ([{7: 5}, {0: 6}], [6], [(1, []), (2, [0])]),
    ],
    ids=["the same offset", "in order", "the client forgot one", "not ours any more"],
)
def test_W1_an_answer_belongs_to_one_commit(commits: Any, answers: list[int], story: list[Any]) -> None:
    def answered(thread: ConsumerThread) -> None:
        for offset in answers:
            thread._on_commit(None, [Answered(0, offset)])  # type: ignore[list-item]

    assert asyncio.run(after(answered, *commits)) == story


def test_a_partition_whose_note_is_too_long_for_the_broker_is_committed_without_it_and_said_once() -> None:
    def scenario(thread: ConsumerThread, consumer: FakeConsumer) -> None:
        refused: Any = [Answered(0, 5, TOO_LONG), Answered(1, 5)]
        with capture_logs() as logs:
            thread._on_commit(None, refused)
            thread._on_commit(TOO_LONG, [Answered(0, 5), Answered(1, 5, TOO_LONG)])  # type: ignore[list-item]
        assert [line["event"] for line in logs] == ["commit.without_metadata"]
        thread._on_assign(consumer, [TopicPartition("plans", 2)])  # type: ignore[arg-type]
        thread._commit_in_background(consumer, 1, {0: AT, 1: AT, 2: AT})  # type: ignore[arg-type]
        assert consumer.commits == [{0: (5, ""), 1: (5, ""), 2: (5, "note")}]

    on_a_loop(scenario)


def test_a_refusal_of_the_last_commit_of_a_partition_is_told() -> None:
    async def run() -> None:
        heard, consumer = Deaf(), FakeConsumer()
        thread = ConsumerThread(OPTIONS, heard, NoEnds())  # type: ignore[arg-type]
        consumer.refusal = GONE
        await asyncio.to_thread(thread._on_revoke, consumer, [TopicPartition("plans", 0)])  # type: ignore[arg-type]
        assert heard.story == ["NOT_COORDINATOR"]
        assert consumer.commits == [{0: (5, "note")}]

    asyncio.run(run())


END = KafkaError(KafkaError._PARTITION_EOF)


@pytest.mark.parametrize(
    ("read", "end"),
    [
        ([], 12),
        ([Message(0, 9)], 12),
        ([Message(0, 9), Message(0, 12, END)], 10),
        ([Message(0, 12, END)], 0),
        ([Message(0, 9), Message(0, 10, END)], 12),
        ([Message(0, 9), Message(0, 10, END), Message(0, 11)], 12),
        ([Message(0, 11), Message(0, 12, END)], 12),
    ],
)
def test_an_operator_sees_that_everything_has_landed_though_the_end_of_the_log_was_compacted_away(
    read: list[Any], end: int
) -> None:
    async def run() -> None:
        heard, consumer = Deaf(), FakeConsumer()
        thread = ConsumerThread(OPTIONS, heard, NoEnds())  # type: ignore[arg-type]
        thread._on_assign(consumer, [TopicPartition("plans", 0)])  # type: ignore[arg-type]
        thread._split(read, consumer)  # type: ignore[arg-type]
        thread._tell_ends({0: 12, 7: 3}, 1_000.0)
        await asyncio.sleep(0)
        assert heard.story == [({0: end}, 1_000.0)]
        assert thread.heard_at == 1_000.0

    asyncio.run(run())


def test_what_was_read_to_the_end_in_an_earlier_assignment_is_not_known_in_the_next() -> None:
    async def run() -> None:
        heard, consumer = Deaf(), FakeConsumer()
        thread = ConsumerThread(OPTIONS, heard, NoEnds())  # type: ignore[arg-type]
        thread._on_assign(consumer, [TopicPartition("plans", 0)])  # type: ignore[arg-type]
        thread._split([Message(0, 9), Message(0, 12, END)], consumer)  # type: ignore[list-item,arg-type]
        thread._on_assign(consumer, [TopicPartition("plans", 0)])  # type: ignore[arg-type]
        thread._tell_ends({0: 12}, 1_000.0)
        await asyncio.sleep(0)
        assert heard.story == [({0: 12}, 1_000.0)]

    asyncio.run(run())


@pytest.mark.parametrize(
    ("committed", "start", "read", "gaps"),
    [
        (5, 9, [9], [MissedOffsets(0, 5, 9)]),
        (5, 9, [], [MissedOffsets(0, 5, 9)]),
        (5, 9, [10], [MissedOffsets(0, 5, 9)]),
        (5, 5, [9], []),
        (5, 0, [9, 11], []),
        (5, 5, [5, 6], []),
        (-1001, 9, [9], []),
    ],
)
def test_P5_plans_that_were_taken_away_unread_are_said_once_and_gaps_of_compaction_are_none(
    committed: int, start: int, read: list[int], gaps: list[MissedOffsets]
) -> None:
    async def run() -> None:
        heard, consumer = Deaf(), FakeConsumer()
        thread = ConsumerThread(OPTIONS, heard, NoEnds())  # type: ignore[arg-type]
        consumer.at, consumer.start = committed, start
        thread._on_assign(consumer, [TopicPartition("plans", 0)])  # type: ignore[arg-type]
        thread._split([Message(0, offset) for offset in read], consumer)  # type: ignore[arg-type,misc]
        thread._look_at_ends(consumer)  # type: ignore[arg-type]
        thread._ends_asked_at = 0.0
        thread._look_at_ends(consumer)  # type: ignore[arg-type]
        await asyncio.sleep(0)
        assert [told for told in heard.story if isinstance(told, MissedOffsets)] == gaps

    asyncio.run(run())


def test_P5_plans_that_are_taken_away_while_the_writer_lags_are_said_too() -> None:
    async def run() -> None:
        heard, consumer = Deaf(), FakeConsumer()
        thread = ConsumerThread(OPTIONS, heard, NoEnds())  # type: ignore[arg-type]
        thread._on_assign(consumer, [TopicPartition("plans", 0)])  # type: ignore[arg-type]
        thread._split([Message(0, 3)], consumer)  # type: ignore[arg-type,list-item]
        consumer.start = 8
        thread._split([Message(0, 8)], consumer)  # type: ignore[arg-type,list-item]
        await asyncio.sleep(0)
        assert [told for told in heard.story if isinstance(told, MissedOffsets)] == [MissedOffsets(0, 4, 8)]

    asyncio.run(run())


def test_the_broker_is_asked_every_second_whether_partitions_are_ours_or_not() -> None:
    async def run() -> None:
        heard, consumer, ends = Deaf(), FakeConsumer(), NoEnds()
        thread = ConsumerThread(OPTIONS, heard, ends)  # type: ignore[arg-type]
        thread._look_at_ends(consumer)  # type: ignore[arg-type]
        thread._look_at_ends(consumer)  # type: ignore[arg-type]
        assert ends.asked == [[0]], "once a second"
        thread._on_assign(consumer, [TopicPartition("plans", 2)])  # type: ignore[arg-type]
        thread._ends_asked_at = 0.0
        thread._look_at_ends(consumer)  # type: ignore[arg-type]
        assert ends.asked == [[0], [2]]
        ends.heard({2: 12}, 50.0)
        assert thread.heard_at == 0, "told by the consumer's own thread"
        thread._apply_orders(consumer)  # type: ignore[arg-type]
        assert thread.heard_at == 50

    asyncio.run(run())
