"""The transactions' edge: what each error of the broker ends in."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from concurrent.futures import Future
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from ops.demo.waiting import HANGS_AFTER_S
from runtime.connection import BrokerSettings
from runtime.errors import Misconfigured
from runtime.rights import writer_rights
from schemas.topics import Topics
from writer.core.ledger import Commit, unmarked
from writer.core.messages import NotPublished, Published
from writer.errors import GivenUp, MustRestart
from writer.kafka import transactions
from writer.kafka.producer import Outgoing
from writer.kafka.transactions import Ending, TransactionalProducer, ending_of

POSITIONS = [Commit(0, 7, "wb2:7:")]


def error(code: int, *, fatal: bool = False, retriable: bool = False, abort: bool = False) -> KafkaError:
    return KafkaError(code, None, fatal, retriable, abort)


def fails(code: int, **how: bool) -> KafkaException:
    return KafkaException(error(code, **how))


class FakeMessage:
    def __init__(self, offset: int) -> None:
        self._offset = offset

    def offset(self) -> int:
        return self._offset


class FakeProducer:
    """`script` holds for each call what it raises, one after the other; `fates` what is reported of each record."""

    def __init__(self, script: dict[str, list[Any]], fates: list[KafkaError | None]) -> None:
        self.script = script
        self.fates = fates
        self.story: list[str] = []
        self.offsets: list[tuple[str, int, int, str | None]] = []
        self._reports: list[Callable[[], None]] = []

    def _play(self, call: str) -> None:
        self.story.append(call)
        if (acts := self.script.get(call)) and (act := acts.pop(0)) is not None:
            if isinstance(act, threading.Event):
                act.wait()
                return
            raise act

    def init_transactions(self, _seconds: float) -> None:
        self._play("init")

    def begin_transaction(self) -> None:
        self._play("begin")

    def produce(self, *_record: Any, on_delivery: Any, headers: Any) -> None:
        assert isinstance(headers, list)
        self._play("produce")
        fate, number = self.fates.pop(0) if self.fates else None, len(self._reports)
        self._reports.append(lambda: on_delivery(fate, FakeMessage(40 + number)))

    def poll(self, _seconds: float) -> None:
        self._play("poll")

    def flush(self, _seconds: float) -> int:
        if (left := self.script.get("flush")) and left.pop(0):
            return 1
        while self._reports:
            self._reports.pop(0)()
        return 0

    def send_offsets_to_transaction(self, offsets: Any, group: Any, _seconds: float) -> None:
        assert group == "generation 3"
        self._play("offsets")
        self.offsets = [(at.topic, at.partition, at.offset, at.metadata) for at in offsets]

    def commit_transaction(self, _seconds: float) -> None:
        self._play("commit")

    def abort_transaction(self, _seconds: float) -> None:
        self._play("abort")


class Bench:
    def __init__(self, *fates: KafkaError | None, hangs_after_s: float = HANGS_AFTER_S, **script: list[Any]) -> None:
        self.waits: list[str] = []
        self.asked = 0
        self.committed: Callable[[list[FakeProducer]], list[str]] = lambda _: ["wb2:3:"]
        self.made: list[FakeProducer] = []
        self.script, self.fates = script, list(fates)
        self.producer = TransactionalProducer(
            {"bootstrap.servers": "x"}, "id", "plans", writer_rights(Topics(), "writeback-writer", write=True),
            on_wait=self.waits.append, connect=self._connect,  # type: ignore[arg-type]
            hangs_after_s=hangs_after_s, notes=self._notes,
        )  # fmt: skip

    def _notes(self, partitions: Collection[int]) -> Future[Collection[str]]:
        assert list(partitions) == [0]
        self.asked += 1
        asking: Future[Collection[str]] = Future()
        asking.set_result(self.committed(self.made))
        return asking

    def _connect(self, config: dict[str, Any]) -> FakeProducer:
        assert config["transactional.id"] == "id"
        self.made.append(FakeProducer(self.script, self.fates))
        return self.made[-1]

    def transact(self, records: int = 2) -> Published | NotPublished:
        out = [Outgoing("results", 0, b"k", b"v", []) for _ in range(records)]
        return self.producer.transact(out, POSITIONS, "generation 3")


def test_librdkafka_takes_the_settings_of_a_transactional_producer() -> None:
    settings = BrokerSettings.model_validate({"bootstrap_servers": "127.0.0.1:1"}).producer_config()
    producer = TransactionalProducer(settings, "id", "plans", on_wait=lambda _: None, notes=lambda _: Future())
    assert isinstance(producer._connect(producer._config | {"log_level": 0}), Producer)


WHOLE = ["begin", "produce", "produce", "offsets", "commit"]


def test_records_and_offsets_go_in_one_transaction() -> None:
    bench = Bench()
    assert bench.transact() == Published([40, 41])
    assert bench.transact() == Published([40, 41])
    [producer] = bench.made
    assert producer.story == ["init", *WHOLE, *WHOLE]
    [(topic, partition, offset, note)] = producer.offsets
    assert (topic, partition, offset, unmarked(str(note))) == ("plans", 0, 7, "wb2:7:")


GONE = fails(KafkaError._TIMED_OUT, retriable=True)
OWN_CODE = fails(KafkaError.UNKNOWN, abort=True)
NO_TRANSACTION = fails(KafkaError.INVALID_TXN_STATE)


def notes_of_the_first(made: list[FakeProducer]) -> list[str]:
    """The broker has committed what the first producer sent last."""
    return [str(note) for *_, note in made[0].offsets]


@pytest.mark.parametrize("abort", [[], [NO_TRANSACTION]])
def test_W2_what_a_broker_has_committed_though_it_did_not_say_so_is_not_published_again(abort: list[Any]) -> None:
    """It failed, or restarted, in the middle of the commit. What it had begun to commit can only be completed."""
    bench = Bench(commit=[OWN_CODE], abort=abort)
    bench.committed = notes_of_the_first
    assert bench.transact() == Published([40, 41])
    assert bench.transact() == Published([40, 41])
    assert bench.asked == 1


@pytest.mark.parametrize("abort", [[], [NO_TRANSACTION]])
def test_W1_what_a_broker_did_not_commit_is_published_again(abort: list[Any]) -> None:
    """The same offset and the same note, of another transaction, are no proof."""
    bench = Bench(commit=[OWN_CODE], abort=abort)
    assert isinstance(bench.transact(), NotPublished)
    assert bench.asked == 1
    bench = Bench(commit=[None, OWN_CODE], abort=abort)
    assert bench.transact() == Published([40, 41])
    before = notes_of_the_first(bench.made)
    bench.committed = lambda _: before
    assert isinstance(bench.transact(), NotPublished)


def test_W1_if_no_producer_can_begin_after_a_commit_that_failed_nothing_counts_as_committed() -> None:
    bench = Bench(commit=[OWN_CODE], abort=[NO_TRANSACTION], init=[None, NO_TRANSACTION])
    bench.committed = notes_of_the_first
    assert isinstance(bench.transact(), NotPublished)
    assert bench.asked == 0
    assert bench.transact() == Published([40, 41])


def test_W2_a_group_that_does_not_say_what_is_committed_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transactions, "_CALL_S", 0.01)
    bench = Bench(commit=[OWN_CODE])
    bench.committed = lambda made: notes_of_the_first(made) if bench.asked > 3 else []
    assert bench.transact() == Published([40, 41])
    silent = Bench(commit=[OWN_CODE])
    silent.committed = lambda _: []
    assert isinstance(silent.transact(), NotPublished)
    assert silent.asked == 10


def test_a_transaction_that_failed_before_its_commit_asks_nobody() -> None:
    bench = Bench(offsets=[fails(KafkaError.ILLEGAL_GENERATION, abort=True)])
    assert isinstance(bench.transact(), NotPublished)
    assert bench.asked == 0


def test_W1_a_writer_that_stops_does_not_wait_for_what_was_committed() -> None:
    bench = Bench(commit=[OWN_CODE])
    bench.producer._notes = lambda _: Future()
    bench.producer.stop()
    with pytest.raises(GivenUp):
        bench.transact()


def test_W1_a_broker_that_is_away_is_waited_for_in_every_call() -> None:
    bench = Bench(init=[GONE], offsets=[GONE, GONE], commit=[GONE], flush=[1])
    assert bench.transact() == Published([40, 41])
    assert bench.waits == ["_TIMED_OUT"] * 5
    assert bench.made[0].story.count("begin") == 1


MOVED_ON = [
    KafkaError.ILLEGAL_GENERATION, KafkaError.UNKNOWN_MEMBER_ID, KafkaError.STALE_MEMBER_EPOCH,
    KafkaError.FENCED_MEMBER_EPOCH, KafkaError.FENCED_INSTANCE_ID, KafkaError.REBALANCE_IN_PROGRESS,
]  # fmt: skip


@pytest.mark.parametrize("code", MOVED_ON)
def test_W2_what_is_said_under_an_old_generation_is_aborted(code: int) -> None:
    bench = Bench(offsets=[fails(code, abort=True)], abort=[GONE])
    assert bench.transact() == NotPublished(error(code).name())
    assert bench.made[0].story[-3:] == ["offsets", "abort", "abort"]
    assert bench.transact() == Published([40, 41]), "the producer is as good as before"
    assert len(bench.made) == 1


def test_a_record_that_is_too_large_is_named_and_nothing_is_committed() -> None:
    bench = Bench(None, error(KafkaError.MSG_SIZE_TOO_LARGE))
    assert bench.transact() == NotPublished("MSG_SIZE_TOO_LARGE", frozenset({1}))
    assert "commit" not in bench.made[0].story
    bench = Bench(produce=[fails(KafkaError.MSG_SIZE_TOO_LARGE)])
    assert bench.transact() == NotPublished("MSG_SIZE_TOO_LARGE", frozenset({0}))


def test_a_record_that_was_not_delivered_in_time_is_aborted() -> None:
    bench = Bench(error(KafkaError._MSG_TIMED_OUT))
    assert bench.transact() == NotPublished("_MSG_TIMED_OUT")


@pytest.mark.parametrize("given_up", [KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT])
def test_W6_records_that_the_client_gave_up_for_the_sake_of_another_do_not_end_the_writer(given_up: int) -> None:
    bench = Bench(error(given_up), error(KafkaError._MSG_TIMED_OUT))
    assert bench.transact() == NotPublished("_MSG_TIMED_OUT")
    assert bench.made[0].story == ["init", "begin", "produce", "produce", "abort"]


def test_W6_why_a_transaction_has_failed_is_asked_when_its_records_do_not_say() -> None:
    given_up = error(KafkaError._PURGE_QUEUE)
    away = Bench(given_up, commit=[fails(KafkaError._TIMED_OUT, abort=True)])
    assert away.transact(1) == NotPublished("_TIMED_OUT")
    assert away.made[0].story[-2:] == ["commit", "abort"]
    silent = Bench(given_up)
    assert silent.transact(1) == NotPublished("_PURGE_QUEUE")
    refused = Bench(given_up, commit=[fails(KafkaError.TOPIC_AUTHORIZATION_FAILED, abort=True)])
    with pytest.raises(Misconfigured, match="Write on topic"):
        refused.transact(1)


def test_a_full_queue_is_emptied_first() -> None:
    bench = Bench(produce=[BufferError("full")])
    assert bench.transact() == Published([40, 41])
    assert "poll" in bench.made[0].story


FENCED = [
    error(KafkaError._FENCED, fatal=True), error(KafkaError.INVALID_PRODUCER_EPOCH, abort=True),
    error(KafkaError.PRODUCER_FENCED, fatal=True), error(KafkaError.INVALID_TXN_STATE, fatal=True),
]  # fmt: skip


@pytest.mark.parametrize("call", ["begin", "offsets", "commit", "abort"])
@pytest.mark.parametrize("fenced", FENCED)
def test_B2_a_writer_whose_transaction_was_ended_while_it_slept_goes_on_with_a_new_producer(
    fenced: KafkaError, call: str
) -> None:
    script: dict[str, list[Any]] = {call: [KafkaException(fenced)]}
    if call == "abort":
        script["offsets"] = [fails(KafkaError.UNKNOWN_MEMBER_ID, abort=True)]
    bench = Bench(**script)
    assert bench.transact() == NotPublished(fenced.name())
    assert bench.transact() == Published([40, 41])
    assert len(bench.made) == 2
    assert bench.made[1].story == ["init", *WHOLE]


@pytest.mark.parametrize(
    ("call", "code"),
    [
        ("init", KafkaError._UNSUPPORTED_FEATURE),
        ("commit", KafkaError.INVALID_REQUIRED_ACKS),
    ],
)
def test_W1_a_broker_that_refuses_ends_the_process_and_is_named(call: str, code: int) -> None:
    bench = Bench(**{call: [fails(code, abort=True)]})
    with pytest.raises(MustRestart, match=error(code).name()):
        bench.transact()


@pytest.mark.parametrize(
    ("call", "code", "right"),
    [
        ("init", KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, "Write on transactional id writeback-writer-"),
        ("offsets", KafkaError.GROUP_AUTHORIZATION_FAILED, "Read on consumer group writeback-writer"),
    ],
)
def test_a_right_that_is_missing_ends_the_process_and_is_named(call: str, code: int, right: str) -> None:
    bench = Bench(**{call: [fails(code, abort=True)]})
    with pytest.raises(Misconfigured, match=right):
        bench.transact()


def test_W1_a_topic_that_may_not_be_written_ends_the_process_and_is_named() -> None:
    bench = Bench(error(KafkaError.TOPIC_AUTHORIZATION_FAILED))
    with pytest.raises(Misconfigured, match="Write on topic"):
        bench.transact()


def test_B2_a_stop_ends_the_waiting_for_a_broker_and_aborts_what_is_open() -> None:
    bench = Bench(commit=[GONE] * 5)
    bench.producer.stop()
    with pytest.raises(GivenUp):
        bench.transact()
    bench.producer.close()
    assert bench.made[0].story[-2:] == ["commit", "abort"]
    bench.producer.close()
    assert bench.made[0].story[-2:] == ["commit", "abort"]


def test_B2_a_broker_that_is_away_does_not_hold_up_the_end() -> None:
    bench = Bench(abort=[GONE])
    bench.transact()
    bench.producer.close()
    assert bench.made[0].story[-1] == "abort"


@pytest.mark.parametrize(
    ("told", "ending"),
    [
        (error(KafkaError._TIMED_OUT), Ending.CALL_AGAIN),
        (error(KafkaError.CONCURRENT_TRANSACTIONS), Ending.CALL_AGAIN),
        (error(KafkaError.COORDINATOR_LOAD_IN_PROGRESS, retriable=True), Ending.CALL_AGAIN),
        (error(KafkaError.NOT_ENOUGH_REPLICAS, abort=True), Ending.ABORT),
        (error(KafkaError.OFFSET_METADATA_TOO_LARGE, abort=True), Ending.ABORT),
        (error(KafkaError.UNKNOWN, abort=True), Ending.ABORT),
        (error(KafkaError.UNKNOWN, fatal=True), Ending.END),
        (error(KafkaError.UNKNOWN), Ending.RENEW),
        (error(KafkaError.INVALID_REQUIRED_ACKS, abort=True), Ending.END),
        (error(KafkaError.INVALID_REQUIRED_ACKS), Ending.END),
    ],
)
def test_every_error_ends_in_one_way(told: KafkaError, ending: Ending) -> None:
    assert ending_of(told) is ending


def test_W6_a_call_that_does_not_return_is_given_up_and_another_producer_sends_it_all_again() -> None:
    """librdkafka can keep the offsets of a transaction for good when their coordinator goes away at that moment."""
    hangs = threading.Event()
    bench = Bench(hangs_after_s=0.05, offsets=[hangs])
    try:
        assert bench.transact() == NotPublished("_TIMED_OUT")
        assert bench.transact() == Published([40, 41])
    finally:
        hangs.set()
    first, second = bench.made
    assert first.story == ["init", "begin", "produce", "produce", "offsets"]
    assert second.story == ["init", "begin", "produce", "produce", "offsets", "commit"]
    assert bench.waits == ["_TIMED_OUT"]


def test_a_process_that_stops_does_not_wait_for_a_call_that_hangs() -> None:
    hangs = threading.Event()
    bench = Bench(hangs_after_s=HANGS_AFTER_S, offsets=[hangs])
    bench.producer.stop()
    try:
        with pytest.raises(GivenUp):
            bench.transact()
    finally:
        hangs.set()
