import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition, cimpl
from confluent_kafka.admin import AdminClient, ConfigResource

from ops.demo.embedded_broker import ApiKey, EmbeddedBroker, EmbeddedBrokerError, Fault, load_library, parse_topics
from ops.demo.waiting import HANGS_AFTER_S

DEADLINE_SECONDS = 20


@pytest.fixture
def broker() -> Iterator[Any]:
    with EmbeddedBroker({"calls": 3}) as running:
        yield running


def make_producer(broker: EmbeddedBroker, **overrides: object) -> Producer:
    return Producer({"bootstrap.servers": broker.bootstrap, "log_level": 2, **overrides})


def make_consumer(broker: EmbeddedBroker, **overrides: object) -> Consumer:
    defaults = {
        "bootstrap.servers": broker.bootstrap,
        "group.id": "readers",
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "log_level": 2,
    }
    return Consumer({**defaults, **overrides})


def publish(producer: Producer, topic: str, value: bytes | None, **details: Any) -> KafkaError | None:
    """The delivery error, or None when the broker acknowledged."""
    errors: list[KafkaError | None] = []
    producer.produce(topic, value, on_delivery=lambda error, _message: errors.append(error), **details)
    producer.flush(DEADLINE_SECONDS)
    return errors[0]


def code_of(error: KafkaError | None) -> int | None:
    return error.code() if error else None


def read(consumer: Consumer) -> Message:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        message = consumer.poll(0.1)
        if message is not None and message.error() is None:
            return message
    raise AssertionError("nothing came")


def test_topics_have_the_partitions_that_were_asked_for(broker: Any) -> None:
    broker.create_topic("plans", 6)
    topics = AdminClient({"bootstrap.servers": broker.bootstrap}).list_topics(timeout=HANGS_AFTER_S).topics
    assert {name: len(topic.partitions) for name, topic in topics.items()} == {"calls": 3, "plans": 6}


def test_a_topic_that_exists_is_refused_by_name(broker: Any) -> None:
    with pytest.raises(EmbeddedBrokerError, match=r"topic_create\('calls', 3, 1\) was refused: .*already exists"):
        broker.create_topic("calls", 3)


def test_a_closed_broker_says_so_and_may_be_closed_again() -> None:
    broker = EmbeddedBroker()
    broker.close()
    broker.close()
    with pytest.raises(EmbeddedBrokerError, match="closed"):
        broker.broker_down()


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_records_offsets_and_commit_metadata_come_back(broker: Any, protocol: str) -> None:
    producer = make_producer(broker, **{"enable.idempotence": True})
    assert publish(producer, "calls", b"one", key=b"k", partition=1, headers=[("requeue-count", b"1")]) is None
    assert publish(producer, "calls", None, key=b"k", partition=1) is None

    consumer = make_consumer(broker, **{"group.protocol": protocol})
    consumer.subscribe(["calls"])
    first, tombstone = read(consumer), read(consumer)
    consumer.commit(offsets=[TopicPartition("calls", 1, 2, "settled: 5")], asynchronous=False)
    (committed,) = consumer.committed([TopicPartition("calls", 1)], timeout=HANGS_AFTER_S)
    consumer.close()

    assert (first.key(), first.value(), first.headers()) == (b"k", b"one", [("requeue-count", b"1")])
    assert (tombstone.key(), tombstone.value(), tombstone.offset()) == (b"k", None, 1)
    assert (committed.offset, committed.metadata) == (2, "settled: 5")


async def test_aiokafka_joins_as_faust_does(broker: Any) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap, acks="all", enable_idempotence=True)
    async with producer:
        await producer.send_and_wait("calls", b"outcome", key=b"item", partition=2)
    consumer = AIOKafkaConsumer(
        "calls", bootstrap_servers=broker.bootstrap, group_id="faust", auto_offset_reset="earliest"
    )
    async with consumer:
        record = await consumer.getone()
        await consumer.commit()
    assert record.value == b"outcome"


def test_an_injected_error_fails_that_many_requests_and_no_more(broker: Any) -> None:
    consumer = make_consumer(broker)
    consumer.assign([TopicPartition("calls", 0)])
    # A fenced commit is final; most other errors would be tried again inside the client.
    broker.push_errors(ApiKey.OFFSET_COMMIT, Fault.ILLEGAL_GENERATION)
    offsets = [TopicPartition("calls", 0, 5)]

    with pytest.raises(KafkaException) as refusal:
        consumer.commit(offsets=offsets, asynchronous=False)
    assert refusal.value.args[0].code() == KafkaError.ILLEGAL_GENERATION
    assert consumer.commit(offsets=offsets, asynchronous=False)[0].error is None
    consumer.close()


def test_errors_that_were_not_used_can_be_cleared(broker: Any) -> None:
    broker.push_errors(ApiKey.PRODUCE, Fault.TOPIC_AUTHORIZATION_FAILED, Fault.TOPIC_AUTHORIZATION_FAILED)
    assert code_of(publish(make_producer(broker), "calls", b"x")) == KafkaError.TOPIC_AUTHORIZATION_FAILED
    broker.clear_errors(ApiKey.PRODUCE)
    assert publish(make_producer(broker), "calls", b"x") is None


def test_a_delayed_answer_is_a_lost_acknowledgement_of_a_record_that_was_written(broker: Any) -> None:
    broker.delay_answers(ApiKey.PRODUCE, 5_000)
    once = make_producer(broker, **{"message.timeout.ms": 500, "enable.idempotence": False, "retries": 0})
    assert code_of(publish(once, "calls", b"written", partition=0)) == KafkaError._MSG_TIMED_OUT

    consumer = make_consumer(broker)
    consumer.assign([TopicPartition("calls", 0)])
    assert read(consumer).value() == b"written"
    consumer.close()


def test_a_broker_that_is_down_takes_nothing_and_has_kept_all_when_it_is_up_again(broker: Any) -> None:
    assert publish(make_producer(broker), "calls", b"before", partition=0) is None
    broker.broker_down()
    impatient = make_producer(broker, **{"message.timeout.ms": 300})
    assert code_of(publish(impatient, "calls", b"during", partition=0)) == KafkaError._MSG_TIMED_OUT
    broker.broker_up()
    assert publish(make_producer(broker), "calls", b"after", partition=0) is None

    consumer = make_consumer(broker)
    consumer.assign([TopicPartition("calls", 0)])
    assert [read(consumer).value() for _ in range(2)] == [b"before", b"after"]
    consumer.close()


def test_a_round_trip_takes_as_long_as_was_set(broker: Any) -> None:
    broker.set_rtt(300)
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    started = time.monotonic()
    admin.list_topics(timeout=HANGS_AFTER_S)
    assert time.monotonic() - started >= 0.3


def test_leaders_and_coordinators_move_where_they_are_told() -> None:
    with EmbeddedBroker(brokers=2) as broker:
        broker.create_topic("calls", 1, replication=2)
        admin = AdminClient({"bootstrap.servers": broker.bootstrap})
        for target in (1, 2):
            broker.move_leader("calls", 0, target)
            broker.move_coordinator("readers", target)
            assert admin.list_topics("calls", timeout=HANGS_AFTER_S).topics["calls"].partitions[0].leader == target
        consumer = make_consumer(broker)
        consumer.assign([TopicPartition("calls", 0)])
        assert consumer.commit(offsets=[TopicPartition("calls", 0, 1)], asynchronous=False)[0].error is None
        consumer.close()


def test_topic_settings_are_refused_and_not_waited_for(broker: Any) -> None:
    """Waited for, the request would end with another code, and not before the test does."""
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    with pytest.raises(KafkaException) as refusal:
        next(iter(admin.describe_configs([ConfigResource("topic", "calls")], request_timeout=3600).values())).result()
    assert refusal.value.args[0].code() == KafkaError._UNSUPPORTED_FEATURE


@pytest.mark.parametrize(("compression", "loses"), [("none", True), ("zstd", False)])
def test_what_falls_to_the_size_limit_is_counted_and_compression_stretches_it(
    broker: Any, compression: str, loses: bool
) -> None:
    producer = make_producer(broker, **{"compression.type": compression})
    for number in range(70):
        producer.produce("calls", b"%06d" % number + b"all the same " * 8_000, partition=0)
        producer.flush()  # one batch each
    assert bool(broker.dropped()) is loses


def test_a_library_without_the_functions_is_named_with_the_mend() -> None:
    with pytest.raises(EmbeddedBrokerError, match=r"no function rd_kafka_mock_time_travel\. Remedy: install"):
        load_library(cimpl.__file__, {"rd_kafka_mock_time_travel": (None, [])})


def test_a_library_that_is_not_there_is_named_with_the_mend() -> None:
    with pytest.raises(EmbeddedBrokerError, match=r"through librdkafka-missing\.so.*Remedy: install"):
        load_library("librdkafka-missing.so", {})


def test_topics_are_read_from_one_word() -> None:
    assert parse_topics("call-outcomes:6, plans:12,") == {"call-outcomes": 6, "plans": 12}


@pytest.mark.parametrize("text", ["plans", "plans:0", ":3", "plans:many"])
def test_a_topic_without_a_partition_count_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [sys.executable, "-m", "ops.demo.embedded_broker", "--topics", text]
    run = subprocess.run(arguments, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False)
    assert run.returncode == 2
    assert f"{text!r} is not NAME:PARTITIONS" in run.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_as_a_process_of_its_own_it_names_its_address_and_ends_on_a_signal(tmp_path: Path, number: Any) -> None:
    port_file = tmp_path / "bootstrap"
    arguments = [sys.executable, "-m", "ops.demo.embedded_broker", "--topics", "calls:3", "--port-file", str(port_file)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        bootstrap = process.stdout.readline().strip()
        topics = AdminClient({"bootstrap.servers": bootstrap}).list_topics(timeout=HANGS_AFTER_S).topics
        process.send_signal(number)
        assert process.wait(DEADLINE_SECONDS) == 0
    assert len(topics["calls"].partitions) == 3
    assert port_file.read_text() == bootstrap
    assert list(tmp_path.iterdir()) == [port_file]


def test_as_a_process_of_its_own_it_does_not_outlive_the_one_that_started_it(tmp_path: Path) -> None:
    starter = (
        "import subprocess, sys, pathlib\n"
        "broker = subprocess.Popen([sys.executable, '-m', 'ops.demo.embedded_broker'], stdout=subprocess.PIPE)\n"
        "broker.stdout.readline()\n"
        "print(broker.pid, flush=True)\n"
        "import os; os._exit(0)\n"
    )
    run = subprocess.run([sys.executable, "-c", starter], capture_output=True, text=True, timeout=DEADLINE_SECONDS)
    assert_gone(int(run.stdout))


def assert_gone(pid: int) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{pid}/stat").exists() and " Z " in Path(f"/proc/{pid}/stat").read_text():
            return
    raise AssertionError(f"process {pid} is still there")
