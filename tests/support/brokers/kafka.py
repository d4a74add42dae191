"""What a test holds of a real Kafka: its address, topics of its own, and an operator's view."""

import itertools
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, OffsetSpec, ResourceType

from ops.demo.waiting import HANGS_AFTER_S, wait_until
from tests.support.brokers.servers import SecureListener


@dataclass
class RealKafka:
    """A broker that all tests of a run share. So every test takes topics and groups with names of its own."""

    bootstrap: str
    secure: SecureListener | None
    """None if the broker was given by address"""
    source: str
    created: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.admin = AdminClient({"bootstrap.servers": self.bootstrap})

    def unique(self, stem: str) -> str:
        """A name for a topic, prefix or group that no other test has."""
        return f"{stem}-{secrets.token_hex(4)}"

    def create_topic(self, name: str, partitions: int = 1, config: Mapping[str, str] | None = None) -> str:
        """Create a topic and wait until it has leaders; returns its name."""
        topic = NewTopic(name, partitions, 1, config=dict(config or {}))
        wait_until(lambda: self._is_created(topic), what=f"{name} is created")
        self.created.append(name)
        wait_until(lambda: self._has_leaders(name, partitions), what=f"{name} has leaders")
        return name

    def _is_created(self, topic: NewTopic) -> bool:
        """On a machine so busy that the broker's heartbeats are late, its controller counts it out for a while."""
        try:
            self.admin.create_topics([topic], request_timeout=HANGS_AFTER_S)[topic.topic].result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.INVALID_REPLICATION_FACTOR:
                raise
            return False
        return True

    def delete_topic(self, name: str) -> None:
        self.admin.delete_topics([name], request_timeout=HANGS_AFTER_S)[name].result()
        self.created.remove(name)

    def topic_config(self, name: str) -> dict[str, str | None]:
        """Every setting of the topic, defaults included."""
        resource = ConfigResource(ResourceType.TOPIC, name)
        entries = self.admin.describe_configs([resource], request_timeout=HANGS_AFTER_S)[resource].result()
        return {key: entry.value for key, entry in entries.items()}

    def delete_records(self, name: str, partition: int, before: int) -> None:
        """Delete the records of a partition below an offset."""
        wish = TopicPartition(name, partition, before)
        self.admin.delete_records([wish], request_timeout=HANGS_AFTER_S)[wish].result()

    def end_offsets(self, name: str) -> dict[int, int]:
        """Partition to the offset that its next record will get."""
        return self._offsets(name, OffsetSpec.latest())  # type: ignore[no-untyped-call]

    def first_offsets(self, name: str) -> dict[int, int]:
        """Partition to the offset of its oldest record that may still be read."""
        return self._offsets(name, OffsetSpec.earliest())  # type: ignore[no-untyped-call]

    def committed(self, group: str, name: str) -> dict[int, TopicPartition]:
        """Partition to what the group has committed there: `offset` and `metadata`. Uncommitted ones are left out."""
        parts = [TopicPartition(name, partition) for partition in self._partitions(name)]
        consumer = Consumer(
            {"bootstrap.servers": self.bootstrap, "group.id": group, "isolation.level": "read_uncommitted"}
        )
        try:
            found = consumer.committed(parts, timeout=HANGS_AFTER_S)
        finally:
            consumer.close()
        return {part.partition: part for part in found if part.offset >= 0}

    def members_at_work(self, group: str) -> int:
        """How many members of the group have partitions."""
        found = self.admin.describe_consumer_groups([group], request_timeout=HANGS_AFTER_S)[group].result()
        return sum(bool(member.assignment.topic_partitions) for member in found.members)

    def lag(self, group: str, name: str) -> int:
        """Offsets between what the group has committed (the start, if nothing) and the end, over all partitions."""
        committed, first = self.committed(group, name), self.first_offsets(name)
        return sum(
            end - (committed[partition].offset if partition in committed else first[partition])
            for partition, end in self.end_offsets(name).items()
        )

    def records(self, name: str) -> list[Message]:
        """Everything in the topic up to its present end, partition by partition."""
        return read_topic(self.bootstrap, name)

    def remove_created(self) -> None:
        """Delete what tests left on a broker that goes on living."""
        if self.created:
            for done in self.admin.delete_topics(self.created, request_timeout=HANGS_AFTER_S).values():
                done.exception()
            self.created.clear()

    def _partitions(self, name: str) -> list[int]:
        return sorted(self.admin.list_topics(name, timeout=HANGS_AFTER_S).topics[name].partitions)

    def _has_leaders(self, name: str, partitions: int) -> bool:
        found = self.admin.list_topics(name, timeout=HANGS_AFTER_S).topics[name].partitions
        return len(found) == partitions and all(part.leader >= 0 for part in found.values())

    def _offsets(self, name: str, spec: OffsetSpec) -> dict[int, int]:
        wishes = {TopicPartition(name, partition): spec for partition in self._partitions(name)}
        found = self.admin.list_offsets(wishes, request_timeout=HANGS_AFTER_S)
        return {part.partition: done.result().offset for part, done in found.items()}


def read_topic(bootstrap: str, name: str) -> list[Message]:
    """Every record of a topic up to its present end, partition by partition; of any broker, the embedded one too."""
    settings = {"bootstrap.servers": bootstrap, "group.id": "read-topic", "enable.partition.eof": False}
    consumer = Consumer({**settings, "enable.auto.commit": False, "auto.offset.reset": "earliest"})
    try:
        partitions = consumer.list_topics(name, timeout=HANGS_AFTER_S).topics[name].partitions
        parts = [TopicPartition(name, partition) for partition in sorted(partitions)]
        return list(itertools.chain.from_iterable(_read_partition(consumer, part) for part in parts))
    finally:
        consumer.close()


def _read_partition(consumer: Consumer, part: TopicPartition) -> list[Message]:
    first, end = consumer.get_watermark_offsets(part, timeout=HANGS_AFTER_S)
    records: list[Message] = []
    if first == end:
        return records
    consumer.assign([TopicPartition(part.topic, part.partition, first)])

    def at_the_end() -> bool:
        # By position and not by the last record: compaction may have taken that one.
        records.extend(message for message in consumer.consume(500, timeout=0.1) if message.error() is None)
        (position,) = consumer.position([part])
        return bool(position.offset >= end)

    wait_until(at_the_end, what=f"the end of {part.topic}[{part.partition}]")
    consumer.unassign()
    return [record for record in records if (record.offset() or 0) < end]
