"""Topics of a test's own on a real Kafka, and a planner beside them."""

from collections.abc import Mapping

from confluent_kafka import Producer

from schemas.topics import Topics
from tests.support.brokers.kafka import RealKafka

CLEANED_FAST = {
    "segment.bytes": "1048576",
    "segment.ms": "1000",
    "min.cleanable.dirty.ratio": "0.01",
    "min.compaction.lag.ms": "0",
    "max.compaction.lag.ms": "1500",
    "delete.retention.ms": "1000",
}


def make_topics(
    kafka: RealKafka, *, partitions: int = 3, without: tuple[str, ...] = (), **config: Mapping[str, str]
) -> str:
    """The planner's topics under a prefix of their own, which is returned. `config` by field name of Topics."""
    prefix = kafka.unique("planner") + "."
    for field in ("call_outcomes", "planned_writebacks", "call_outcomes_rejected"):
        spec = getattr(Topics().prefixed(prefix), field)
        if field not in without:
            kafka.create_topic(spec.name, partitions, {**spec.creation_config(), **config.get(field, {})})
    return prefix


def append_again(bootstrap: str, topic: str, records) -> None:
    """As the writer does with plans that have to wait: same key, same partition."""
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 5})
    for record in records:
        producer.produce(topic, record.value(), record.key(), record.partition())
    assert producer.flush(30) == 0
