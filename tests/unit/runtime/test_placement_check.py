"""A partition count that was raised while nothing ran shows in where the plans stand."""

from __future__ import annotations

import logging

import pytest
from confluent_kafka import Producer
from hypothesis import given
from hypothesis import strategies as st

from ops.demo.embedded_broker import ApiKey, EmbeddedBroker, Fault
from planner import mapping
from planner.core.planning import Policy, Rejected, plan
from runtime.broker import BrokerUnavailable, UnfitTopics
from runtime.connection import BrokerSettings
from runtime.placement_check import check_placement
from schemas.codec import single_object
from schemas.placement import count_before, partition_of
from schemas.records import PlannedWriteback, Source
from tests.integration.planner.harness import EXAMPLE
from tests.support.factories import an_id, make_outcome

PLANS = single_object(PlannedWriteback)
TOPIC = "planned-writebacks"
LOG = logging.getLogger("test")
keys = st.sets(st.uuids().map(lambda found: str(found).encode()), min_size=15, max_size=60)


@given(keys, st.integers(1, 48), st.integers(1, 48))
def test_P1_a_count_that_was_raised_is_noticed_and_never_where_it_was_not(
    found: set[bytes], before: int, added: int
) -> None:
    placed = {key: partition_of(key, before) for key in found}
    assert count_before(placed, before) is None
    assert count_before(placed, before + added) == before or _fits(placed, before + added, larger_than=before)


def _fits(placed: dict[bytes, int], now: int, *, larger_than: int) -> bool:
    """By chance, or because a multiple places so few keys alike."""
    told = count_before(placed, now)
    fits = {count for count in range(1, now + 1) if all(partition_of(key, count) == at for key, at in placed.items())}
    return now in fits if told is None else larger_than <= told < now and told in fits


@given(keys, st.integers(2, 48))
def test_producers_that_place_by_another_hash_are_not_taken_for_a_raised_count(found: set[bytes], count: int) -> None:
    placed = {key: (partition_of(key[::-1], count)) for key in found}
    assert count_before(placed, count) is None


def test_too_few_plans_tell_nothing() -> None:
    assert count_before({b"a": partition_of(b"a", 3)}, 6) is None
    assert count_before({}, 6) is None


def publish(broker: EmbeddedBroker, count: int, *, partitions: int) -> None:
    crm = mapping.load(EXAMPLE)
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    for number in range(count):
        outcome = make_outcome(session_id=f"s{number}", queue_item_id=an_id(f"item {number}"))
        made = plan(outcome, Source(topic="call-outcomes", partition=0, offset=number), crm, Policy(planned_by="t"))
        assert not isinstance(made, Rejected)
        where = partition_of(outcome.queue_item_id.encode(), partitions)
        producer.produce(TOPIC, PLANS.encode(made), b"key", where)
    producer.produce(TOPIC, None, b"retired", 0)
    producer.produce(TOPIC, b"no plan", b"key", 0)
    assert producer.flush(10) == 0


def check(broker: EmbeddedBroker, partitions: int) -> None:
    settings = BrokerSettings(bootstrap_servers=broker.bootstrap)
    check_placement(settings, partitions, PLANS, group="g", log=LOG)


def test_P1_plans_that_stand_where_an_earlier_count_placed_them_are_a_reason_not_to_start() -> None:
    with EmbeddedBroker({TOPIC: 6}) as broker:
        publish(broker, 100, partitions=3)
        with pytest.raises(UnfitTopics, match=r"have 6 partitions.* were placed by 3"):
            check(broker, 6)


def test_plans_that_stand_where_they_belong_are_fit() -> None:
    with EmbeddedBroker({TOPIC: 6}) as broker:
        check(broker, 6)
        publish(broker, 100, partitions=6)
        check(broker, 6)


def test_a_broker_that_does_not_let_the_plans_be_read_is_no_mismatch() -> None:
    with EmbeddedBroker({TOPIC: 1}) as broker:
        publish(broker, 1, partitions=1)
        broker.push_errors(ApiKey.FETCH, *[Fault.TOPIC_AUTHORIZATION_FAILED] * 50)
        with pytest.raises(BrokerUnavailable, match="cannot be read"):
            check(broker, 1)
