"""The plain producer's edge: wait for a broker that is gone, end when it refuses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from structlog.testing import capture_logs

from runtime.errors import Misconfigured
from writer.core.ledger import Commit
from writer.core.messages import NotPublished, Published
from writer.errors import GivenUp, MustRestart
from writer.kafka.producer import NOTE_TOO_LONG, Outgoing, PlainProducer, PublisherThread

RECORD = Outgoing("results", 3, b"k", b"v", [("traceparent", b"00")])


class FakeMessage:
    def offset(self) -> int:
        return 42


class FakeProducer:
    """Reports one of `fates` per record: None for delivered, an error, or an exception that `produce` raises."""

    def __init__(self, fates: list[Any]) -> None:
        self.fates = fates
        self.sent: list[tuple[Any, ...]] = []
        self.reports: list[Callable[[], None]] = []

    def produce(self, *record: Any, on_delivery: Callable[[Any, Any], None], headers: Any) -> None:
        fate = self.fates.pop(0)
        if isinstance(fate, Exception):
            raise fate
        self.sent.append((*record, headers))
        self.reports.append(lambda: on_delivery(fate, FakeMessage()))

    def poll(self, _seconds: float) -> None:
        while self.reports:
            self.reports.pop()()

    def flush(self, seconds: float) -> int:
        self.poll(seconds)
        return 0


def taken(_positions: Any, _group: Any) -> Future[dict[int, str]]:
    committing: Future[dict[int, str]] = Future()
    committing.set_result({})
    return committing


def a_producer(producer: FakeProducer, *, on_wait: Any = None, commit: Any = taken) -> PlainProducer:
    return PlainProducer({}, commit=commit, on_wait=on_wait or (lambda _: None), connect=lambda _: producer)  # type: ignore[arg-type,return-value]


def publish(*fates: Any, records: int = 1) -> tuple[tuple[int | None, ...], list[str], FakeProducer]:
    waited: list[str] = []
    producer = FakeProducer(list(fates))

    async def run() -> tuple[int | None, ...]:
        plain = a_producer(producer, on_wait=waited.append)
        thread = PublisherThread(plain)
        try:
            ended = await thread.publish([RECORD] * records, [], None)
            assert isinstance(ended, Published)
            return tuple(ended.offsets)
        finally:
            await thread.close()

    return asyncio.run(run()), waited, producer


def test_a_record_is_placed_where_it_is_told_and_its_offset_returned() -> None:
    offsets, waited, producer = publish(None)
    assert offsets == (42,)
    assert waited == []
    assert producer.sent == [("results", b"v", b"k", 3, [("traceparent", b"00")])]


def test_W1_a_broker_that_is_gone_is_waited_for() -> None:
    timed_out = KafkaError(KafkaError._MSG_TIMED_OUT)
    offsets, waited, producer = publish(timed_out, timed_out, None)
    assert offsets == (42,)
    assert waited == ["_MSG_TIMED_OUT", "_MSG_TIMED_OUT"]
    assert len(producer.sent) == 3


def test_W2_what_follows_a_record_that_is_sent_again_is_sent_again_behind_it() -> None:
    resume_needed, outcome = replace(RECORD, value=b"resume_needed"), replace(RECORD, value=b"completed")
    elsewhere = replace(RECORD, partition=4)
    producer = FakeProducer([KafkaError(KafkaError._MSG_TIMED_OUT), None, None, None, None])
    ended = a_producer(producer).transact([resume_needed, elsewhere, outcome], [], None)
    assert ended == Published([42, 42, 42])
    assert [record[1] for record in producer.sent if record[3] == 3][-2:] == [b"resume_needed", b"completed"]
    assert len([record for record in producer.sent if record[3] == 4]) == 1


def test_a_full_queue_is_waited_for() -> None:
    assert publish(BufferError("full"), None)[0] == (42,)


@pytest.mark.parametrize(
    ("fate", "end"),
    [
        (KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED), Misconfigured),
        (KafkaException(KafkaError(KafkaError._UNKNOWN_PARTITION)), MustRestart),
        (KafkaError(KafkaError._FENCED, "fenced", True), MustRestart),
    ],
)
def test_W1_a_broker_that_refuses_ends_the_process(fate: Any, end: type[Exception]) -> None:
    with pytest.raises(end):
        publish(fate)


@pytest.mark.parametrize("code", [KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE])
@pytest.mark.parametrize("raised", [False, True])
def test_a_record_that_is_too_large_is_named_and_the_others_are_delivered(code: int, raised: bool) -> None:
    error = KafkaError(code)
    fate: Any = KafkaException(error) if raised else error
    assert publish(None, fate, None, records=3)[0] == (42, None, 42)


def test_B2_a_producer_that_stops_waits_for_no_broker() -> None:
    producer = FakeProducer([KafkaError(KafkaError._MSG_TIMED_OUT)])
    plain = a_producer(producer)
    plain.stop()
    with pytest.raises(GivenUp):
        plain.transact([RECORD], [], None)


def test_W1_positions_are_committed_when_all_records_are_there() -> None:
    producer = FakeProducer([None])
    sent: list[tuple[int, Any, Any]] = []

    def commit(positions: Any, group: Any) -> Future[dict[int, str]]:
        sent.append((len(producer.sent) - len(producer.reports), positions, group))
        committing: Future[dict[int, str]] = Future()
        committing.set_result({3: "NOT_COORDINATOR"})
        return committing

    ended = a_producer(producer, commit=commit).transact([RECORD], [Commit(3, 7, "note")], "generation 1")
    assert ended == Published([42], {3: "NOT_COORDINATOR"})
    assert sent == [(1, [Commit(3, 7, "note")], "generation 1")]


def test_W1_positions_stay_where_they_are_if_a_record_is_too_large() -> None:
    commits: list[Any] = []
    producer = FakeProducer([KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)])
    ended = a_producer(producer, commit=lambda *batch: commits.append(batch)).transact(
        [RECORD], [Commit(3, 7, "note")], None
    )
    assert (ended, commits) == (Published([None], {3: "MSG_SIZE_TOO_LARGE"}), [])


def test_B2_a_producer_that_stops_waits_for_no_commit() -> None:
    plain = a_producer(FakeProducer([]), commit=lambda *_: Future())
    plain.stop()
    with pytest.raises(GivenUp):
        plain.transact([], [Commit(3, 7, "note")], None)


class Noted:
    """A broker that takes no notes; `ended` is what it says to them."""

    def __init__(self, ended: Published | NotPublished) -> None:
        self.ended = ended
        self.notes: list[str] = []

    def transact(self, _records: Any, positions: Any, _group: Any) -> Published | NotPublished:
        self.notes += [at.metadata for at in positions]
        return self.ended if self.notes[-1] else Published([])

    def stop(self) -> None: ...

    def close(self) -> None: ...


@pytest.mark.parametrize(
    "ended", [NotPublished(NOTE_TOO_LONG), Published([], {3: NOTE_TOO_LONG})], ids=["transactions", "none"]
)
def test_a_note_that_is_too_long_for_the_broker_is_left_out_from_then_on_and_said_once(ended: Any) -> None:
    producer = Noted(ended)

    async def run() -> list[Any]:
        thread = PublisherThread(producer)
        try:
            return [await thread.publish([], [Commit(3, 7, "note")], None) for _ in range(3)]
        finally:
            await thread.close()

    with capture_logs() as logs:
        assert asyncio.run(run()) == [ended, Published([]), Published([])]
    assert producer.notes == ["note", "", ""]
    assert [line["event"] for line in logs] == ["commit.without_metadata"]
