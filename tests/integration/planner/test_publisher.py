"""The edge that publishes, on its own: what `publish` says is what the broker has."""

import asyncio
from collections.abc import Iterator

import pytest

from ops.demo.embedded_broker import ApiKey, EmbeddedBroker, Fault
from planner.core.outgoing import OutgoingRecord
from planner.errors import NotPublished
from planner.kafka.publisher import PlanPublisher
from runtime.connection import BrokerSettings
from runtime.errors import Misconfigured
from tests.integration.planner.harness import read

TOPIC = "planned-writebacks"


@pytest.fixture(params=[20])
def publisher(embedded_kafka: EmbeddedBroker, request: pytest.FixtureRequest) -> Iterator[PlanPublisher]:
    """Its parameter is the delivery timeout, in seconds."""
    settings = BrokerSettings(bootstrap_servers=embedded_kafka.bootstrap, check_topic_policies=False)
    publisher = PlanPublisher(
        settings, transactional_id="planner-0", delivery_timeout_s=request.param, max_message_bytes=100_000
    )
    publisher.open()
    yield publisher
    publisher.close()


short_of_patience = pytest.mark.parametrize("publisher", [1], indirect=True)


def records(count: int) -> list[OutgoingRecord]:
    return [OutgoingRecord(TOPIC, number % 2, b"s%d" % number, b"plan %d" % number) for number in range(count)]


def test_P5_when_publish_returns_the_broker_has_every_record(embedded_kafka, publisher):
    embedded_kafka.set_rtt(50)
    assert asyncio.run(publisher.publish(records(500))) == []
    assert sorted(record.value() for record in read(embedded_kafka.bootstrap, TOPIC)) == sorted(
        record.value for record in records(500)
    )


@short_of_patience
@pytest.mark.parametrize("fault", [Fault.TOPIC_AUTHORIZATION_FAILED, Fault.NOT_ENOUGH_REPLICAS])
def test_P5_a_record_that_the_broker_refuses_is_never_reported_as_published(embedded_kafka, publisher, fault):
    embedded_kafka.push_errors(ApiKey.PRODUCE, *[fault] * 200)
    with pytest.raises((NotPublished, Misconfigured), match=r"Write on.*TOPIC_AUTHORIZATION_FAILED|_MSG_TIMED_OUT"):
        asyncio.run(publisher.publish(records(10)))


@short_of_patience
def test_P5_without_a_broker_nothing_is_reported_as_published(embedded_kafka, publisher):
    embedded_kafka.broker_down()
    with pytest.raises(NotPublished, match="_MSG_TIMED_OUT"):
        asyncio.run(publisher.publish(records(10)))


def test_P6_a_record_that_is_too_large_is_replaced_by_its_smaller_one_alone(embedded_kafka, publisher):
    small = OutgoingRecord(TOPIC, 0, b"large", b"reason")
    large = OutgoingRecord(TOPIC, 0, b"large", bytes(200_000), smaller=lambda: small)
    assert asyncio.run(publisher.publish([*records(4), large])) == [large]
    found = {record.key(): record.value() for record in read(embedded_kafka.bootstrap, TOPIC)}
    assert found == {b"large": b"reason", **{record.key: record.value for record in records(4)}}


def test_P6_a_record_that_is_too_large_and_has_no_smaller_one_is_not_reported_as_published(publisher):
    with pytest.raises(NotPublished, match=r"max\.message\.bytes"):
        asyncio.run(publisher.publish([OutgoingRecord(TOPIC, 0, b"large", bytes(200_000))]))
