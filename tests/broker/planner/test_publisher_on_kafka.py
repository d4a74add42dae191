"""The edge that publishes, against a real broker's limits: records and progress stand together, or not at all."""

import asyncio

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer

from planner.core.fence import Membership
from planner.core.outgoing import OutgoingRecord, Progress
from planner.errors import Abandoned, BrokerAway
from planner.kafka.publisher import PlanPublisher
from runtime.connection import BrokerSettings
from tests.integration.planner.harness import read


def a_publisher(kafka) -> PlanPublisher:
    settings = BrokerSettings(bootstrap_servers=kafka.bootstrap, check_topic_policies=False)
    publisher = PlanPublisher(
        settings, transactional_id=kafka.unique("planner"), delivery_timeout_s=20, max_message_bytes=64_000_000
    )
    publisher.open()
    return publisher


@pytest.fixture
def publisher(kafka):
    publisher = a_publisher(kafka)
    yield publisher
    publisher.close()


def noise(size: int, seed: int = 1) -> bytes:
    """What no compression makes smaller."""
    import random

    return random.Random(seed).randbytes(size)


def test_P6_records_that_are_too_large_only_together_all_stand(kafka, publisher):
    topic = kafka.create_topic(kafka.unique("planned"), 1, {"max.message.bytes": "20000"})
    records = [OutgoingRecord(topic, 0, b"s%d" % each, noise(8_000, each)) for each in range(6)]
    assert asyncio.run(publisher.publish(records)) == []
    assert [each.key() for each in read(kafka.bootstrap, topic)] == [each.key for each in records]


def test_P6_a_record_that_is_too_large_alone_is_replaced_and_the_others_stand_once(kafka, publisher):
    topic = kafka.create_topic(kafka.unique("planned"), 1, {"max.message.bytes": "20000"})
    rejected = kafka.create_topic(kafka.unique("rejected"), 1, {"max.message.bytes": "20000"})
    smallest = OutgoingRecord(rejected, 0, b"large", b"reason")
    smaller = OutgoingRecord(rejected, 0, b"large", noise(30_000), smaller=lambda: smallest)
    large = OutgoingRecord(topic, 0, b"large", noise(50_000), smaller=lambda: smaller)
    small = [OutgoingRecord(topic, 0, b"s%d" % each, b"plan") for each in range(4)]
    assert asyncio.run(publisher.publish([*small[:2], large, *small[2:]])) == [large]
    assert [each.key() for each in read(kafka.bootstrap, topic)] == [each.key for each in small]
    assert [each.value() for each in read(kafka.bootstrap, rejected)] == [b"reason"]
    assert asyncio.run(publisher.publish(small[:1])) == []


@pytest.fixture
def member(kafka):
    """A consumer that is the one member of its group, and as whom it is."""
    topic = kafka.create_topic(kafka.unique("outcomes"), 1)
    group = kafka.unique("group")
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": group, "enable.auto.commit": False})
    consumer.subscribe([topic])
    while not consumer.assignment():
        consumer.poll(0.1)
    packed = consumer.consumer_group_metadata()
    generation = int.from_bytes(packed[7:11], "little")
    member_id = packed[11:].split(b"\0")[1].decode()
    yield Membership(group, generation, member_id), topic
    consumer.close()


def test_P5_progress_of_a_member_stands_with_the_records(kafka, publisher, member):
    membership, outcomes = member
    topic = kafka.create_topic(kafka.unique("planned"), 1)
    progress = Progress(outcomes, {0: 17}, membership)
    asyncio.run(publisher.publish([OutgoingRecord(topic, 0, b"s", b"plan")], progress))
    assert [each.value() for each in read(kafka.bootstrap, topic)] == [b"plan"]
    assert kafka.committed(membership.group_id, outcomes)[0].offset == 17


@pytest.mark.parametrize("change", [{"generation": 99}, {"member_id": "somebody"}], ids=["generation", "member"])
def test_P1_who_is_no_member_of_that_generation_has_said_nothing(kafka, publisher, member, change):
    membership, outcomes = member
    topic = kafka.create_topic(kafka.unique("planned"), 1)
    stranger = Membership(**{"group_id": membership.group_id, "generation": membership.generation,
                             "member_id": membership.member_id} | change)  # fmt: skip
    with pytest.raises(Abandoned, match="were reassigned"):
        asyncio.run(publisher.publish([OutgoingRecord(topic, 0, b"s", b"late")], Progress(outcomes, {0: 17}, stranger)))
    asyncio.run(publisher.publish([OutgoingRecord(topic, 0, b"t", b"plan")]))
    assert [each.value() for each in read(kafka.bootstrap, topic)] == [b"plan"]
    assert kafka.committed(membership.group_id, outcomes) == {}


class Fails(Producer):
    """The broker's answer to the first commit is an error of its own, as of one without space on its disk."""

    carried_out = True
    failed = False

    def commit_transaction(self, *seconds):
        if Fails.failed:
            super().commit_transaction(*seconds)
            return
        Fails.failed = True
        if self.carried_out:
            super().commit_transaction(*seconds)
        raise KafkaException(KafkaError(KafkaError.UNKNOWN))


@pytest.mark.parametrize("carried_out", [True, False])
def test_P5_a_rejection_whose_commit_fails_stands_once_whether_the_broker_has_carried_it_out_or_not(
    kafka, carried_out, member, monkeypatch
):
    monkeypatch.setattr("planner.kafka.publisher.Producer", Fails)
    monkeypatch.setattr(Fails, "carried_out", carried_out)
    monkeypatch.setattr(Fails, "failed", False)
    membership, outcomes = member
    rejected = kafka.create_topic(kafka.unique("rejected"), 1)
    publisher = a_publisher(kafka)
    records, progress = [OutgoingRecord(rejected, 0, b"s", b"reason")], Progress(outcomes, {0: 17}, membership)
    with pytest.raises(BrokerAway):
        asyncio.run(publisher.publish(records, progress))
    assert asyncio.run(publisher.publish(records, progress)) == []
    publisher.close()
    assert [each.value() for each in read(kafka.bootstrap, rejected)] == [b"reason"]
    assert kafka.committed(membership.group_id, outcomes)[0].offset == 17
