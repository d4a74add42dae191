"""The broker tier stands on these: what a real Kafka and a real registry do, and that ours do it fast."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.schema_registry import Schema
from confluent_kafka.schema_registry.error import SchemaRegistryError

from ops.demo.embedded_broker import EmbeddedBroker
from ops.demo.waiting import HANGS_AFTER_S, wait_until
from schemas.topics import Topics
from tests.support.brokers.kafka import RealKafka
from tests.support.brokers.registry import RealRegistry

SESSIONS, VERSIONS = 1_000, 5
CLEANED_FAST = {
    "cleanup.policy": "compact",
    "segment.bytes": "1048576",
    "segment.ms": "1000",
    "min.cleanable.dirty.ratio": "0.01",
    "max.compaction.lag.ms": "1500",
    "delete.retention.ms": "1000",
}


@contextmanager
def consumer_of(kafka: RealKafka, group: str, **overrides: object) -> Iterator[Consumer]:
    defaults = {"bootstrap.servers": kafka.bootstrap, "group.id": group, "auto.offset.reset": "earliest"}
    consumer = Consumer({**defaults, "enable.auto.commit": False, **overrides})
    try:
        yield consumer
    finally:
        consumer.close()


def publish(kafka: RealKafka, topic: str, *records: tuple[bytes, bytes | None]) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "linger.ms": 5})
    for key, value in records:
        producer.produce(topic, value, key=key, partition=0)
    assert producer.flush(30) == 0


def test_a_compacted_topic_is_really_cleaned_and_loses_its_tombstones(kafka: RealKafka) -> None:
    topic = kafka.create_topic(kafka.unique("cleaned"), config=CLEANED_FAST)
    versions = [(b"session-%d" % key, b"plan %d" % version) for version in range(VERSIONS) for key in range(SESSIONS)]
    publish(kafka, topic, *versions, (b"forgotten", b"personal"), (b"forgotten", None))

    def cleaned() -> list[Message] | None:
        publish(kafka, topic, (b"heartbeat", b"the active segment rolls on write"))
        left = [record for record in kafka.records(topic) if record.key() != b"heartbeat"]
        return left if len(left) == SESSIONS else None

    left = wait_until(cleaned, what="compaction", every=0.5)
    assert {record.value() for record in left} == {b"plan %d" % (VERSIONS - 1)}
    assert b"forgotten" not in {record.key() for record in left}
    offsets = [record.offset() for record in left]
    assert offsets == sorted(offsets)
    assert offsets[0] == SESSIONS * (VERSIONS - 1)  # order and offsets stay, and there are gaps


def test_two_members_of_a_consumer_protocol_group_share_the_partitions(kafka: RealKafka) -> None:
    topic = kafka.create_topic(kafka.unique("shared"), partitions=6)
    group = kafka.unique("group")
    settings = {"group.protocol": "consumer"}
    with consumer_of(kafka, group, **settings) as first, consumer_of(kafka, group, **settings) as second:
        first.subscribe([topic])
        wait_until(lambda: polled(first) == 6, what="the first has all partitions")
        second.subscribe([topic])
        wait_until(lambda: (polled(first), polled(second)) == (3, 3), what="each has half")


def polled(consumer: Consumer) -> int:
    consumer.poll(0.02)
    return len(consumer.assignment())


def test_commit_metadata_survives_up_to_its_limit(kafka: RealKafka) -> None:
    topic = kafka.create_topic(kafka.unique("committed"))
    group = kafka.unique("group")
    publish(kafka, topic, *[(b"k", b"v")] * 10)
    # The broker's limit is 4,096 bytes, and confluent-kafka sends a closing NUL with the text.
    fits, too_long = "x" * 4095, "x" * 4096
    with consumer_of(kafka, group) as consumer:
        consumer.commit(offsets=[TopicPartition(topic, 0, 7, fits)], asynchronous=False)
        with pytest.raises(KafkaException) as refusal:
            consumer.commit(offsets=[TopicPartition(topic, 0, 8, too_long)], asynchronous=False)
    assert refusal.value.args[0].code() == KafkaError.OFFSET_METADATA_TOO_LARGE
    committed = kafka.committed(group, topic)[0]
    assert (committed.offset, committed.metadata) == (7, fits)
    assert kafka.lag(group, topic) == 3


def test_an_operator_sees_settings_and_offsets_and_deletes_records(kafka: RealKafka) -> None:
    topic = kafka.create_topic(kafka.unique("seen"), partitions=2, config={"cleanup.policy": "compact,delete"})
    publish(kafka, topic, *[(b"%d" % number, b"v") for number in range(10)])
    kafka.delete_records(topic, 0, before=4)
    assert kafka.topic_config(topic)["cleanup.policy"] == "compact,delete"
    assert (kafka.first_offsets(topic), kafka.end_offsets(topic)) == ({0: 4, 1: 0}, {0: 10, 1: 0})
    assert [record.offset() for record in kafka.records(topic)] == [4, 5, 6, 7, 8, 9]
    assert kafka.lag("nobody", topic) == 6


def test_topics_come_into_being_only_when_somebody_creates_them(kafka: RealKafka) -> None:
    topic = kafka.unique("never")
    with consumer_of(kafka, kafka.unique("group"), **{"allow.auto.create.topics": True}) as consumer:
        consumer.subscribe([topic])
        error = wait_until(lambda: (message := consumer.poll(0.1)) and message.error(), what="an error")
    assert error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART
    assert topic not in kafka.admin.list_topics(timeout=HANGS_AFTER_S).topics


@pytest.fixture
def secure(kafka: RealKafka) -> Any:
    if kafka.secure is None:
        pytest.skip("the broker was given by address, so there is no listener with TLS and sign-in to test")
    return kafka.secure


def deliver(settings: dict[str, str], topic: str) -> list[KafkaError | None]:
    """Delivery errors (None: acknowledged) and client errors, of one record."""
    seen: list[KafkaError | None] = []
    producer = Producer({**settings, "message.timeout.ms": 5000, "error_cb": seen.append, "log_level": 0})
    producer.produce(topic, b"x", on_delivery=lambda error, _message: seen.append(error))
    wait_until(lambda: producer.poll(0.05) >= 0 and seen, what="an answer or an error")
    producer.purge()
    producer.flush(20)
    return seen


def test_with_the_right_credentials_records_go_through_tls_and_sign_in(kafka: RealKafka, secure: Any) -> None:
    topic = kafka.create_topic(kafka.unique("secure"))
    assert deliver(secure.client_config(), topic) == [None]
    assert [record.value() for record in kafka.records(topic)] == [b"x"]


@pytest.mark.parametrize(
    ("overrides", "codes", "text"),
    [
        ({"sasl.password": "wrong"}, {KafkaError._AUTHENTICATION}, "invalid credentials"),
        ({"sasl.username": "nobody"}, {KafkaError._AUTHENTICATION}, "invalid credentials"),
        # librdkafka reports a failed handshake under either code, whichever of its two paths saw it first.
        ({"ssl.ca.pem": None}, {KafkaError._SSL, KafkaError._TRANSPORT}, "certificate verify failed"),
    ],
    ids=["wrong password", "unknown user", "unknown certificate authority"],
)
def test_with_anything_wrong_the_client_is_told_what(
    kafka: RealKafka, secure: Any, overrides: Any, codes: Any, text: str
) -> None:
    topic = kafka.create_topic(kafka.unique("secure"))
    settings = {key: value for key, value in {**secure.client_config(), **overrides}.items() if value}
    first = deliver(settings, topic)[0]
    assert first is not None
    assert first.code() in codes
    assert text in first.str().lower()
    assert kafka.records(topic) == []


def record_schema(*fields: str) -> Schema:
    text = ", ".join(f'{{"name": "{name}", "type": "string"}}' for name in fields)
    return Schema(f'{{"type": "record", "name": "Plan", "fields": [{text}]}}', "AVRO")


def test_the_registry_keeps_schemas_and_refuses_incompatible_ones(schema_registry: RealRegistry) -> None:
    subject = schema_registry.unique("plans-value")
    client = schema_registry.client
    schema_id = client.register_schema(subject, record_schema("session_id"))
    schema_registry.set_compatibility(subject, "FULL_TRANSITIVE")
    assert "session_id" in client.get_schema(schema_id).schema_str
    with pytest.raises(SchemaRegistryError) as refusal:
        client.register_schema(subject, record_schema("session_id", "added_without_default"))
    assert (refusal.value.http_status_code, refusal.value.error_code) == (409, 409)


def test_the_embedded_broker_of_a_test_has_the_projects_topics(embedded_kafka: EmbeddedBroker) -> None:
    topics = AdminClient({"bootstrap.servers": embedded_kafka.bootstrap}).list_topics(timeout=HANGS_AFTER_S).topics
    assert len(topics) == len(Topics().all())
    assert {len(topic.partitions) for topic in topics.values()} == {6}


def test_a_test_may_start_embedded_brokers_as_it_likes(start_embedded_kafka: Any) -> None:
    broker = start_embedded_kafka({"calls": 1}, brokers=3)
    assert len(broker.bootstrap.split(",")) == 3
