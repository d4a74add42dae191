"""The consumer thread on the embedded broker: what it hands over, what it commits, what it gives up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from ops.demo.embedded_broker import ApiKey, EmbeddedBroker, Fault
from ops.demo.waiting import HANGS_AFTER_S
from writer.core import messages
from writer.core.assignment import AssignedPartition, ConsumerRecord, OffsetAndMetadata
from writer.core.ledger import Commit
from writer.errors import MustRestart
from writer.kafka.consumer import ConsumerOptions, ConsumerThread
from writer.kafka.log_ends import LogEnds

TOPIC = "plans"
PARTITIONS = 4
UNSUPPORTED_VERSION = 35
_AGAIN_S = 0.01


class Recorder:
    def __init__(self) -> None:
        self.thread: ConsumerThread
        self.assignments: list[AssignedPartition] = []
        self.records: list[ConsumerRecord] = []
        self.released: list[int] = []
        self.gone: list[int] = []
        self.log_ends: dict[int, int] = {}
        self.progress: dict[int, OffsetAndMetadata] = {}
        self.refused: dict[int, str] = {}
        self.asked_at = 0.0
        self.gaps: list[messages.Missed] = []

    def post(self, happened: messages.Input) -> None:
        match happened:
            case messages.AssignedPartitions(partitions):
                self.assignments += partitions
            case messages.Received(records):
                self.records += records
            case messages.Lost(partitions):
                self.gone += partitions
            case messages.EndOffsets(offsets, asked_at):
                self.log_ends |= offsets
                self.asked_at = asked_at
            case messages.Missed():
                self.gaps.append(happened)
            case messages.Revoking(partitions):
                self.released += partitions
                self._commit([Commit(p, at.offset, at.metadata) for p, at in self.progress.items() if p in partitions])

    def _commit(self, positions: Sequence[Commit], times: int = 100) -> None:
        """Again if it is refused, as the engine does, but not without end: until all members have synced a broker
        takes none, and if one of them has begun anew it takes none before this one gives its partitions up.
        """
        loop = asyncio.get_running_loop()

        def answered(committing: Future[dict[int, str]]) -> None:
            self.refused = committing.result()
            if self.refused and times > 1:
                loop.call_soon_threadsafe(loop.call_later, _AGAIN_S, self._commit, positions, times - 1)
            else:
                self.thread.released()

        self.thread.commit(positions, self.thread.fence().group).add_done_callback(answered)


class BrokerTookNoCommit(Exception):
    """During a whole rebalance. What was settled is read again then, which other tests are about."""


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker({TOPIC: PARTITIONS}, session_timeout_ms=1_500) as broker:
        yield broker


def options(broker: EmbeddedBroker, **overrides: Any) -> ConsumerOptions:
    given: dict[str, Any] = {
        "config": {"bootstrap.servers": broker.bootstrap},
        "group": "g",
        "topic": TOPIC,
        "protocol": "consumer",
        "session_timeout_ms": 1_500,
        "heartbeat_interval_ms": 300,
        "max_poll_interval_ms": 10_000,
        "release_within_s": 2.0,
    }
    return ConsumerOptions(**given | overrides)


@asynccontextmanager
async def running(broker: EmbeddedBroker, listener: Recorder, **overrides: Any) -> AsyncIterator[ConsumerThread]:
    thread = ConsumerThread(given := options(broker, **overrides), listener.post, LogEnds(given.config, given.topic))
    listener.thread = thread
    thread.start()
    try:
        yield thread
    finally:
        await thread.close()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(HANGS_AFTER_S):
        while not holds():  # noqa: ASYNC110  what is waited for happens in other threads and processes
            await asyncio.sleep(0.01)


def produce(broker: EmbeddedBroker, count: int, partition: int = 0) -> None:
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    for number in range(count):
        producer.produce(TOPIC, f"plan-{number}".encode(), b"key", partition, headers={"traceparent": b"00-1"})
    assert producer.flush(10) == 0


def committed(broker: EmbeddedBroker, partition: int) -> tuple[int, str | None]:
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "g"})
    try:
        [at] = consumer.committed([TopicPartition(TOPIC, partition)], timeout=HANGS_AFTER_S)
        return at.offset, at.metadata
    finally:
        consumer.close()


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(HANGS_AFTER_S):
            await scenario()

    asyncio.run(bounded())


def test_the_end_of_each_log_is_told(broker: EmbeddedBroker) -> None:
    async def scenario() -> None:
        heard = Recorder()
        produce(broker, 3)
        async with running(broker, heard):
            await until(lambda: heard.log_ends.get(0) == 3)
            await until(lambda: len(heard.records) == 3)
            assert 0 < heard.asked_at <= time.time()

    run(scenario)


def test_the_end_of_a_log_that_was_read_is_found_again_and_again(broker: EmbeddedBroker) -> None:
    async def scenario() -> None:
        heard = Recorder()
        async with running(broker, heard) as thread:
            produce(broker, 3)
            await until(lambda: 0 in thread._ours and thread._ours[0].read_up_to == 3)
            assert len(heard.records) == 3
            produce(broker, 3)
            await until(lambda: thread._ours[0].read_up_to == 6)
            assert len(heard.records) == 6
            assert not thread.failed.done()

    run(scenario)


@pytest.mark.parametrize("protocol", ["consumer", "classic"])
def test_records_come_with_the_epoch_of_their_assignment(broker: EmbeddedBroker, protocol: str) -> None:
    async def scenario() -> None:
        heard = Recorder()
        async with running(broker, heard, protocol=protocol):
            await until(lambda: len(heard.records) == 20)
        epochs = {a.partition: a.epoch for a in heard.assignments}
        assert len(set(epochs.values())) == PARTITIONS
        assert [(r.offset, r.epoch, r.value) for r in heard.records] == [
            (n, epochs[2], f"plan-{n}".encode()) for n in range(20)
        ]
        assert heard.records[0].headers == [("traceparent", b"00-1")]
        assert sorted(heard.released) == list(range(PARTITIONS))

    produce(broker, 20, partition=2)
    run(scenario)


def test_W1_only_what_the_loop_hands_over_is_committed(broker: EmbeddedBroker) -> None:
    async def scenario() -> None:
        heard = Recorder()
        async with running(broker, heard):
            await until(lambda: len(heard.records) == 20)
        assert committed(broker, 0)[0] < 0
        heard = Recorder()
        async with running(broker, heard) as thread:
            await until(lambda: len(heard.records) == 20)
            assert (
                await asyncio.wrap_future(thread.commit([Commit(0, 7, "settled beyond: 9")], thread.fence().group))
                == {}
            )
            assert committed(broker, 0) == (7, "settled beyond: 9")
            heard.progress = {0: OffsetAndMetadata(12, "")}
        assert committed(broker, 0)[0] == 12
        heard = Recorder()
        async with running(broker, heard):
            await until(lambda: len(heard.records) == 8)
        assert [a.committed for a in heard.assignments if a.partition == 0] == [OffsetAndMetadata(12, "")]
        assert heard.records[0].offset == 12

    produce(broker, 20)
    run(scenario)


def test_W2_the_notes_beside_the_offsets_are_the_brokers(broker: EmbeddedBroker) -> None:
    """A commit whose fate is not known is looked up there, whatever this process believes."""
    listener = Recorder()

    async def scenario() -> None:
        async with running(broker, listener) as thread:
            await until(lambda: len(listener.assignments) == PARTITIONS)
            assert list(await asyncio.wrap_future(thread.notes([0, 1]))) == ["", ""]
            listener._commit([Commit(1, 3, "a note")])
            await until(lambda: committed(broker, 1) == (3, "a note"))
            assert list(await asyncio.wrap_future(thread.notes([0, 1]))) == ["", "a note"]
            broker.push_errors(ApiKey.OFFSET_FETCH, Fault.GROUP_AUTHORIZATION_FAILED)
            assert list(await asyncio.wrap_future(thread.notes([1]))) == []

    run(scenario)


def test_a_paused_partition_brings_nothing_while_polling_goes_on(broker: EmbeddedBroker) -> None:
    async def scenario() -> None:
        heard = Recorder()
        async with running(broker, heard) as thread:
            await until(lambda: len(heard.assignments) == PARTITIONS)
            thread.pause_only({0})
            turns = thread.turns
            await until(lambda: thread.turns > turns + 2)
            produce(broker, 5, partition=0)
            produce(broker, 5, partition=1)
            await until(lambda: len(heard.records) == 5)
            turns = thread.turns
            await until(lambda: thread.turns > turns + 5)
            assert {r.partition for r in heard.records} == {1}
            thread.pause_only(())
            await until(lambda: len(heard.records) == 10)
        assert sorted(r.offset for r in heard.records if r.partition == 0) == list(range(5))

    run(scenario)


def test_a_broker_without_kip_848_gets_the_classic_protocol(broker: EmbeddedBroker) -> None:
    async def scenario() -> None:
        broker.push_errors(ApiKey.CONSUMER_GROUP_HEARTBEAT, *[UNSUPPORTED_VERSION] * 20)  # type: ignore[arg-type]
        heard = Recorder()
        async with running(broker, heard, protocol=None) as thread:
            await until(lambda: len(heard.records) == 3)
            assert thread.protocol == "classic"

    produce(broker, 3)
    run(scenario)


@pytest.mark.flaky(reruns=4, only_rerun=["BrokerTookNoCommit"])
@pytest.mark.parametrize("protocol", ["consumer", "classic"])
def test_a_second_member_takes_over_where_the_first_released(broker: EmbeddedBroker, protocol: str) -> None:
    async def scenario() -> None:
        first, second = Recorder(), Recorder()
        # A busy machine must not cost a membership, nor the commit before a release.
        times = {"session_timeout_ms": 8_000, "max_poll_interval_ms": 90_000, "release_within_s": 60.0}
        patient = {"protocol": protocol, **times}
        async with running(broker, first, **patient):
            await until(lambda: len(first.records) == 40)
            first.progress = {p: OffsetAndMetadata(6, "") for p in range(PARTITIONS)}
            async with running(broker, second, **patient):
                await until(lambda: len(second.assignments) >= 2)
                if first.refused:
                    raise BrokerTookNoCommit(first.refused)
                assert len(second.assignments) == 2
                assert sorted(first.released) == sorted(a.partition for a in second.assignments)
                assert {a.committed for a in second.assignments} == {OffsetAndMetadata(6, "")}
                await until(lambda: len(second.records) == 8)

    for partition in range(PARTITIONS):
        produce(broker, 10, partition=partition)
    run(scenario)


def test_a_broker_that_is_gone_for_a_while_is_waited_for(broker: EmbeddedBroker) -> None:
    async def scenario() -> None:
        heard = Recorder()
        async with running(broker, heard) as thread:
            await until(lambda: len(heard.records) == 3)
            broker.broker_down()
            turns = thread.turns
            await until(lambda: thread.turns > turns + 20)
            broker.broker_up()
            produce(broker, 3)
            await until(lambda: len(heard.records) >= 6)
            assert not thread.failed.done()

    produce(broker, 3)
    run(scenario)


def test_B2_whatever_ends_the_thread_is_told_and_quotes_nothing(broker: EmbeddedBroker) -> None:
    async def scenario() -> None:
        def connect(_config: dict[str, Any]) -> Consumer:
            raise ZeroDivisionError("+15305550101")

        thread = ConsumerThread(
            options(broker), Recorder().post, LogEnds(options(broker).config, TOPIC), connect=connect
        )
        thread.start()
        with pytest.raises(MustRestart) as told:
            await asyncio.wait_for(thread.failed, HANGS_AFTER_S)
        assert "ZeroDivisionError" in str(told.value)
        assert "5550101" not in str(told.value)

    run(scenario)


def test_no_end_is_told_while_the_broker_is_out_of_reach(broker: EmbeddedBroker) -> None:
    """What the client keeps of it is no news: the moment up to which everything has landed stands still."""

    async def scenario() -> None:
        heard = Recorder()
        produce(broker, 3)
        async with running(broker, heard) as thread:
            await until(lambda: heard.log_ends.get(0) == 3)
            broker.broker_down()
            asked = thread._ends_asked_at
            await until(lambda: thread._ends_asked_at > asked)
            last, asked = heard.asked_at, thread._ends_asked_at
            await until(lambda: thread._ends_asked_at > asked + 2.0)
            assert heard.asked_at <= last + 1.0
            assert thread.heard_at == heard.asked_at
            broker.broker_up()
            await until(lambda: heard.asked_at > last + 2.0)

    run(scenario)


def test_P5_plans_that_were_taken_away_unread_are_named_by_partition_and_range(broker: EmbeddedBroker) -> None:
    """The embedded broker lets the oldest batches of a partition go at 5 MiB."""

    async def scenario() -> None:
        heard = Recorder()
        produce(broker, 3)
        async with running(broker, heard) as thread:
            await until(lambda: len(heard.records) == 3)
            assert await asyncio.wrap_future(thread.commit([Commit(0, 3, "")], thread.fence().group)) == {}
        producer = Producer({"bootstrap.servers": broker.bootstrap, "linger.ms": 0})
        for _ in range(12):
            producer.produce(TOPIC, b"x" * 900_000, b"key", 0)
            assert producer.flush(10) == 0
        again = Recorder()
        async with running(broker, again):
            await until(lambda: bool(again.gaps))
        [gap] = again.gaps
        assert (gap.partition, gap.first) == (0, 3)
        assert gap.end == again.records[0].offset > 3

    run(scenario)
