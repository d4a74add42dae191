"""The consumer's thread, without a thread: what it commits, and for whom."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from writer.core import messages
from writer.core.assignment import OffsetAndMetadata
from writer.core.ledger import Commit
from writer.errors import MustRestart
from writer.kafka.consumer import ConsumerOptions, ConsumerThread

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
        self.refusals: Any = {}
        self.at = -1001
        self.start = 0
        self.generation = "first"

    def consumer_group_metadata(self) -> str:
        return self.generation

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

    def commit(self, *, offsets: list[TopicPartition], asynchronous: bool) -> list[Any]:
        assert not asynchronous
        self.commits.append({part.partition: (part.offset, part.metadata) for part in offsets})
        if isinstance(self.refusals, Exception):
            raise self.refusals
        return [Answered(part.partition, part.offset, self.refusals.get(part.partition)) for part in offsets]


class Story(list[messages.Input]):
    """What the loop was told, in order."""

    def of(self, kind: type[Any]) -> list[Any]:
        return [happened for happened in self if isinstance(happened, kind)]


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
        thread = ConsumerThread(OPTIONS, Story().append, NoEnds())  # type: ignore[arg-type]
        consumer: Any = FakeConsumer()
        thread._on_assign(consumer, [TopicPartition("plans", 0), TopicPartition("plans", 1)])
        scenario(thread, consumer)

    asyncio.run(run())


def at(partition: int, offset: int = 5) -> Commit:
    return Commit(partition, offset, "note")


def committed(thread: ConsumerThread, consumer: Any, *positions: Commit) -> dict[int, str]:
    """What became of them: as the thread takes its orders."""
    committing = thread.commit(positions, thread.fence().group)
    thread._apply_orders(consumer)
    return committing.result(timeout=0)


def test_W1_only_partitions_that_are_ours_are_committed() -> None:
    def scenario(thread: ConsumerThread, consumer: FakeConsumer) -> None:
        assert committed(thread, consumer, at(0), at(7)) == {7: "not ours"}
        assert committed(thread, consumer, at(7)) == {7: "not ours"}
        assert consumer.commits == [{0: (5, "note")}]

    on_a_loop(scenario)


def test_W2_what_was_put_together_before_a_partition_was_another_writers_is_not_committed() -> None:
    def scenario(thread: ConsumerThread, consumer: FakeConsumer) -> None:
        thread._take_generation(consumer)  # type: ignore[arg-type]
        committing = thread.commit([at(0)], thread.fence().group)
        thread._on_lost(consumer, [TopicPartition("plans", 0)])  # type: ignore[arg-type]
        consumer.at, consumer.generation = 9, "second"
        thread._on_assign(consumer, [TopicPartition("plans", 0)])  # type: ignore[arg-type]
        thread._take_generation(consumer)  # type: ignore[arg-type]
        thread._apply_orders(consumer)  # type: ignore[arg-type]
        assert committing.result(timeout=0) == {0: "not ours"}
        assert consumer.commits == [], "another writer has settled up to 9"
        assert committed(thread, consumer, at(0, 10)) == {}

    on_a_loop(scenario)


def test_W1_nothing_is_committed_or_taken_of_a_partition_that_was_lost() -> None:
    def scenario(thread: ConsumerThread, consumer: FakeConsumer) -> None:
        thread._on_lost(consumer, [TopicPartition("plans", 0)])  # type: ignore[arg-type]
        assert committed(thread, consumer, at(0), at(1)) == {0: "not ours"}
        taken, _ = thread._split([Message(0, 3), Message(1, 4)], consumer)  # type: ignore[list-item,arg-type]
        assert consumer.commits == [{1: (5, "note")}]
        assert [(record.partition, record.offset) for record in taken] == [(1, 4)]

    on_a_loop(scenario)


def test_a_writer_is_a_dynamic_member_of_its_group_whatever_the_protocol() -> None:
    assert "group.instance.id" not in OPTIONS.for_protocol("consumer") | OPTIONS.for_protocol("classic")


TOO_LONG = KafkaError(KafkaError.OFFSET_METADATA_TOO_LARGE)
GONE = KafkaError(KafkaError.NOT_COORDINATOR)


@pytest.mark.parametrize(
    ("refusals", "refused"),
    [
        ({}, {}),
        ({0: GONE}, {0: "NOT_COORDINATOR"}),
        ({0: GONE, 1: TOO_LONG}, {0: "NOT_COORDINATOR", 1: "OFFSET_METADATA_TOO_LARGE"}),
        (KafkaException(GONE), {0: "NOT_COORDINATOR", 1: "NOT_COORDINATOR"}),
    ],
)
def test_W1_only_a_partition_that_the_broker_took_counts_as_committed(refusals: Any, refused: dict[int, str]) -> None:
    def scenario(thread: ConsumerThread, consumer: FakeConsumer) -> None:
        consumer.refusals = refusals
        assert committed(thread, consumer, at(0), at(1, 6)) == refused
        assert consumer.commits == [{0: (5, "note"), 1: (6, "note")}]

    on_a_loop(scenario)


def test_W1_what_settles_while_a_partition_is_taken_away_is_committed_before_it_is_given_up() -> None:
    async def run() -> None:
        heard, consumer = Story(), FakeConsumer()
        thread = ConsumerThread(OPTIONS, heard.append, NoEnds())  # type: ignore[arg-type]
        thread._on_assign(consumer, [TopicPartition("plans", 0)])  # type: ignore[arg-type]
        revoking = asyncio.create_task(asyncio.to_thread(thread._on_revoke, consumer, [TopicPartition("plans", 0)]))  # type: ignore[arg-type]
        while not heard.of(messages.Revoking):  # noqa: ASYNC110  what is waited for happens in another thread
            await asyncio.sleep(0)
        assert await asyncio.wrap_future(thread.commit([at(0)], thread.fence().group)) == {}
        assert (thread.fence().epochs, revoking.done()) == ({}, False)
        thread.released()
        await revoking
        assert consumer.commits == [{0: (5, "note")}]
        assert committed(thread, consumer, at(0)) == {0: "not ours"}

    asyncio.run(run())


def test_B2_a_partition_is_given_up_at_once_when_nobody_settles_anything_any_more() -> None:
    async def run() -> None:
        heard, consumer = Story(), FakeConsumer()
        thread = ConsumerThread(OPTIONS, heard.append, NoEnds())  # type: ignore[arg-type]
        thread._on_assign(consumer, [TopicPartition("plans", 0), TopicPartition("plans", 1)])  # type: ignore[arg-type]
        first = asyncio.create_task(asyncio.to_thread(thread._on_revoke, consumer, [TopicPartition("plans", 0)]))  # type: ignore[arg-type]
        while not heard.of(messages.Revoking):  # noqa: ASYNC110  what is waited for happens in another thread
            await asyncio.sleep(0)
        thread.give_up()
        await first
        await asyncio.to_thread(thread._on_revoke, consumer, [TopicPartition("plans", 1)])  # type: ignore[arg-type]
        assert heard.of(messages.Revoking) == [messages.Revoking((0,))], "nobody is asked any more"

    asyncio.run(run())


def test_B2_a_rebalance_without_an_answer_ends_the_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("writer.kafka.consumer._ASK_S", -OPTIONS.release_within_s)

    def scenario(thread: ConsumerThread, consumer: FakeConsumer) -> None:
        with pytest.raises(MustRestart):
            thread._on_revoke(consumer, [TopicPartition("plans", 0)])  # type: ignore[arg-type]

    on_a_loop(scenario)


def test_B2_an_answer_in_the_last_moment_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("writer.kafka.consumer._ASK_S", -OPTIONS.release_within_s)

    def scenario(thread: ConsumerThread, consumer: FakeConsumer) -> None:
        thread._orders.put(lambda _consumer: thread.released())
        thread._on_revoke(consumer, [TopicPartition("plans", 0)])  # type: ignore[arg-type]
        assert committed(thread, consumer, at(0)) == {0: "not ours"}

    on_a_loop(scenario)


ASSIGNED = [TopicPartition("plans", 0), TopicPartition("plans", 1)]


class Noted(FakeConsumer):
    """What the group has committed carries a note."""

    def __init__(self, note: str) -> None:
        super().__init__()
        self.note = note

    def committed(self, partitions: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        return [TopicPartition(part.topic, part.partition, 5, self.note) for part in partitions]


def test_W1_what_an_earlier_writer_had_settled_is_known_without_its_transactions_mark() -> None:
    async def run() -> None:
        heard: Story = Story()
        thread = ConsumerThread(OPTIONS, heard.append, NoEnds())  # type: ignore[arg-type]
        thread._on_assign(Noted("wb2:5::c0ffee1"), ASSIGNED)  # type: ignore[arg-type]
        await asyncio.sleep(0)
        [told] = heard.of(messages.AssignedPartitions)
        assert [one.committed for one in told.partitions] == [OffsetAndMetadata(5, "wb2:5:")] * 2

    asyncio.run(run())


class SlowToSay(FakeConsumer):
    """A broker that says how far partitions are only after these answers."""

    def __init__(self, *answers: Any) -> None:
        super().__init__()
        self.answers = list(answers)

    def committed(self, partitions: list[TopicPartition], timeout: float) -> list[Any]:
        if not self.answers:
            return super().committed(partitions, timeout)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return [Answered(part.partition, -1001, answer) for part in partitions]


def taking_over(*answers: Any, stopping: bool = False) -> Story:
    heard = Story()

    async def run() -> None:
        thread = ConsumerThread(OPTIONS, heard.append, NoEnds())  # type: ignore[arg-type]
        if stopping:
            thread._stopping.set()
        consumer: Any = SlowToSay(*answers)
        thread._on_assign(consumer, ASSIGNED)
        await asyncio.sleep(0)

    asyncio.run(run())
    return heard


@pytest.mark.parametrize("code", [KafkaError.NOT_COORDINATOR, KafkaError.STALE_MEMBER_EPOCH])
def test_W1_a_broker_that_does_not_say_yet_how_far_partitions_are_is_asked_again(code: int) -> None:
    """It has just started, or its group moves to another one: the writer must not end for that."""
    heard = taking_over(KafkaException(KafkaError(code)), KafkaError(code))
    [told] = heard.of(messages.AssignedPartitions)
    assert [one.partition for one in told.partitions] == [0, 1]


@pytest.mark.parametrize("answer", [KafkaError(KafkaError.NOT_COORDINATOR), KafkaException(KafkaError._TIMED_OUT)])
def test_W2_notes_are_read_once_and_not_at_all_while_the_consumer_closes(answer: Any) -> None:
    async def run() -> None:
        thread = ConsumerThread(OPTIONS, Story().append, NoEnds())  # type: ignore[arg-type]
        consumer: Any = SlowToSay(answer)
        assert thread._read_notes(consumer, [0, 1]) == []
        assert thread._read_notes(consumer, [0, 1]) == ["", ""]
        thread._stopping.set()
        assert thread._read_notes(consumer, [0, 1]) == []

    asyncio.run(run())


def test_W1_a_writer_that_stops_takes_nothing_while_the_broker_does_not_say_how_far_it_is() -> None:
    heard = taking_over(KafkaException(KafkaError(KafkaError.NOT_COORDINATOR)), stopping=True)
    assert heard.of(messages.AssignedPartitions) == [messages.AssignedPartitions([])]


@pytest.mark.parametrize("code", [KafkaError.GROUP_AUTHORIZATION_FAILED, KafkaError.UNKNOWN_MEMBER_ID])
def test_W1_where_partitions_begin_is_no_guess(code: int) -> None:
    with pytest.raises(MustRestart, match="does not say how far"):
        taking_over(KafkaException(KafkaError(code)))
    with pytest.raises(MustRestart, match="does not say how far"):
        taking_over(KafkaError(code))


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
        heard, consumer = Story(), FakeConsumer()
        thread = ConsumerThread(OPTIONS, heard.append, NoEnds())  # type: ignore[arg-type]
        thread._on_assign(consumer, [TopicPartition("plans", 0)])  # type: ignore[arg-type]
        thread._split(read, consumer)  # type: ignore[arg-type]
        thread._tell_ends({0: 12, 7: 3}, 1_000.0, {0: 1, 7: 1})
        await asyncio.sleep(0)
        assert heard.of(messages.EndOffsets) == [messages.EndOffsets({0: end}, 1_000.0)]
        assert thread.heard_at == 1_000.0

    asyncio.run(run())


def test_what_was_read_to_the_end_in_an_earlier_assignment_is_not_known_in_the_next() -> None:
    async def run() -> None:
        heard, consumer = Story(), FakeConsumer()
        thread = ConsumerThread(OPTIONS, heard.append, NoEnds())  # type: ignore[arg-type]
        thread._on_assign(consumer, [TopicPartition("plans", 0)])  # type: ignore[arg-type]
        thread._split([Message(0, 9), Message(0, 12, END)], consumer)  # type: ignore[list-item,arg-type]
        thread._on_assign(consumer, [TopicPartition("plans", 0)])  # type: ignore[arg-type]
        thread._tell_ends({0: 11}, 999.0, {0: 1})
        thread._tell_ends({0: 12}, 1_000.0, {0: 2})
        await asyncio.sleep(0)
        assert heard.of(messages.EndOffsets) == [
            messages.EndOffsets({}, 999.0),
            messages.EndOffsets({0: 12}, 1_000.0),
        ], "the first was asked for before it was assigned again: an earlier writer may have appended more since"

    asyncio.run(run())


@pytest.mark.parametrize(
    ("committed", "start", "read", "gaps"),
    [
        (5, 9, [9], [messages.Missed(0, 5, 9)]),
        (5, 9, [], [messages.Missed(0, 5, 9)]),
        (5, 9, [10], [messages.Missed(0, 5, 9)]),
        (5, 5, [9], []),
        (5, 0, [9, 11], []),
        (5, 5, [5, 6], []),
        (-1001, 9, [9], []),
    ],
)
def test_P5_plans_that_were_taken_away_unread_are_said_once_and_gaps_of_compaction_are_none(
    committed: int, start: int, read: list[int], gaps: list[messages.Missed]
) -> None:
    async def run() -> None:
        heard, consumer = Story(), FakeConsumer()
        thread = ConsumerThread(OPTIONS, heard.append, NoEnds())  # type: ignore[arg-type]
        consumer.at, consumer.start = committed, start
        thread._on_assign(consumer, [TopicPartition("plans", 0)])  # type: ignore[arg-type]
        thread._split([Message(0, offset) for offset in read], consumer)  # type: ignore[arg-type,misc]
        thread._look_at_ends(consumer)  # type: ignore[arg-type]
        thread._ends_asked_at = 0.0
        thread._look_at_ends(consumer)  # type: ignore[arg-type]
        await asyncio.sleep(0)
        assert heard.of(messages.Missed) == gaps

    asyncio.run(run())


def test_P5_plans_that_are_taken_away_while_the_writer_lags_are_said_too() -> None:
    async def run() -> None:
        heard, consumer = Story(), FakeConsumer()
        thread = ConsumerThread(OPTIONS, heard.append, NoEnds())  # type: ignore[arg-type]
        thread._on_assign(consumer, [TopicPartition("plans", 0)])  # type: ignore[arg-type]
        thread._split([Message(0, 3)], consumer)  # type: ignore[arg-type,list-item]
        consumer.start = 8
        thread._split([Message(0, 8)], consumer)  # type: ignore[arg-type,list-item]
        await asyncio.sleep(0)
        assert heard.of(messages.Missed) == [messages.Missed(0, 4, 8)]

    asyncio.run(run())


def test_the_broker_is_asked_every_second_whether_partitions_are_ours_or_not() -> None:
    async def run() -> None:
        consumer, ends = FakeConsumer(), NoEnds()
        thread = ConsumerThread(OPTIONS, Story().append, ends)  # type: ignore[arg-type]
        thread._look_at_ends(consumer)  # type: ignore[arg-type]
        thread._look_at_ends(consumer)  # type: ignore[arg-type]
        assert ends.asked == [[0]], "once a second"
        thread._on_assign(consumer, [TopicPartition("plans", 2)])  # type: ignore[arg-type]
        thread._look_at_ends(consumer)  # type: ignore[arg-type]
        assert ends.asked == [[0], [2]], "at once of a partition that has just been assigned"
        ends.heard({2: 12}, 50.0)
        assert thread.heard_at == 0, "told by the consumer's own thread"
        thread._apply_orders(consumer)  # type: ignore[arg-type]
        assert thread.heard_at == 50

    asyncio.run(run())
