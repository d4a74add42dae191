"""Outcomes and plans that were written in transactions: only what was committed counts, for each of our readers."""

import re
import time

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from ops.demo.waiting import wait_until
from schemas.records import CallOutcome
from tests.broker.planner.kit import make_topics
from tests.integration.planner.harness import CODEC, outcomes, plans, publish, read
from tests.integration.planner.test_planner_process import ask


def in_a_transaction(kafka, topic: str, records: dict[bytes, bytes]) -> Producer:
    """A producer whose transaction holds these records, on the broker already, and is open."""
    producer = Producer(
        {
            "bootstrap.servers": kafka.bootstrap,
            "transactional.id": kafka.unique("another"),
            "partitioner": "murmur2_random",
            "transaction.timeout.ms": 600_000,
        }
    )
    producer.init_transactions(30)
    producer.begin_transaction()
    for key, value in records.items():
        producer.produce(topic, value, key)
    assert producer.flush(20) == 0
    return producer


def by_key(given: list[CallOutcome]) -> dict[bytes, bytes]:
    return {each.queue_item_id.encode(): CODEC.encode(each) for each in given}


def gauge(planner, name: str) -> float:
    return float(re.search(rf"^{name} (.*)$", ask(planner, "/metrics"), re.MULTILINE)[1])


def pins_of(planner) -> int:
    return round(gauge(planner, "planner_pins")) if planner.has_written('"endpoint.listening"') else -1


def sessions(given: list[CallOutcome]) -> set[str]:
    return {each.session_id for each in given}


def test_P5_only_outcomes_of_committed_transactions_are_planned(kafka, start_planner):
    """Else an outcome that its call system took back would be planned, and the right one be a mismatch."""
    prefix = make_topics(kafka, partitions=2)
    topic = prefix + "call-outcomes"
    start_planner(prefix)
    rolled_back, kept, still_open = outcomes(8), outcomes(8, start=10), outcomes(8, start=20)
    in_a_transaction(kafka, topic, by_key(rolled_back)).abort_transaction(30)
    in_a_transaction(kafka, topic, by_key(kept)).commit_transaction(30)
    late = in_a_transaction(kafka, topic, by_key(still_open))
    publish(kafka.bootstrap, behind := outcomes(8, start=30), topic=topic)

    def planned() -> set[str]:
        return set(plans(kafka.bootstrap, prefix=prefix))

    wait_until(lambda: planned() >= sessions(kept), what="what was committed is planned")
    assert planned() == sessions(kept)
    late.commit_transaction(30)
    everything = sessions(kept) | sessions(still_open) | sessions(behind)
    wait_until(lambda: planned() >= everything, what="what was open is planned")
    assert planned() == everything


CAUGHT_UP, HEARD = "planner_caught_up_timestamp_seconds", "planner_broker_heard_timestamp_seconds"


def test_caught_up_stays_before_an_open_transaction_and_goes_on_after_one_that_was_rolled_back(kafka, start_planner):
    prefix = make_topics(kafka, partitions=1)
    planner = start_planner(prefix, PLANNER_LOOK_EVERY_S="0.5")
    planner.wait_for(lambda: gauge(planner, CAUGHT_UP) > 0, what="it knows that nothing waits")
    producer = in_a_transaction(kafka, prefix + "call-outcomes", by_key(outcomes(3)))
    appended_by = time.time()
    planner.wait_for(lambda: gauge(planner, HEARD) > appended_by + 2, what="it has heard the broker since")
    assert gauge(planner, CAUGHT_UP) <= appended_by
    assert gauge(planner, "planner_waiting_outcomes") == 3
    producer.abort_transaction(30)
    ended_by = time.time()
    planner.wait_for(lambda: gauge(planner, CAUGHT_UP) > ended_by + 2, what="nothing waits any more, and none ages")
    assert gauge(planner, "planner_waiting_outcomes") == 0
    assert plans(kafka.bootstrap, prefix=prefix) == {}


@pytest.mark.parametrize("store", ["memory", "disk"])
@pytest.mark.parametrize("ends", ["committed", "rolled back"])
def test_P1_recovery_waits_for_plans_in_open_transactions_and_takes_only_committed_ones(
    kafka, start_planner, tmp_path, store, ends
):
    """What another planner, or a writer, has begun to write counts as soon as it is known whether it stands."""
    prefix, given = make_topics(kafka, partitions=1), outcomes(6)
    outcomes_topic, topic = prefix + "call-outcomes", prefix + "planned-writebacks"
    first = start_planner(prefix, "first")
    publish(kafka.bootstrap, given, topic=outcomes_topic)
    wait_until(lambda: len(plans(kafka.bootstrap, prefix=prefix)) == 6, what="all are planned")
    first.stop()
    values = {each.key(): each.value() for each in read(kafka.bootstrap, topic)}
    open_one = in_a_transaction(kafka, topic, dict.fromkeys(values))  # tombstones
    settings = {} if store == "memory" else {"PLANNER_PIN_STORE": f"rocksdb://{tmp_path}/pins"}
    second = start_planner(prefix, "second", until=None, **settings)
    second.wait_for(lambda: pins_of(second) == 6, what="it has read what stands before it", seconds=120)
    assert not second.has_written('"planner.ready"')
    open_one.commit_transaction(30) if ends == "committed" else open_one.abort_transaction(30)
    second.wait_for(lambda: second.has_written('"planner.ready"'), what="it has recovered")
    assert pins_of(second) == (0 if ends == "committed" else 6)
    assert second.stop() == 0


def test_P5_a_planner_begins_where_an_open_transaction_of_the_one_before_it_ends(kafka, start_planner):
    """Else it would reject a second time what that one has rejected in its last transaction."""
    prefix = make_topics(kafka, partitions=1)
    outcomes_topic, rejected = prefix + "call-outcomes", prefix + "call-outcomes-rejected"

    def rejections() -> list[bytes]:
        return [each.key() for each in read(kafka.bootstrap, rejected)]

    send(kafka, outcomes_topic, b"before")
    before = in_a_transaction(kafka, rejected, {b"before": b"not Avro"})
    progress = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": prefix + "writeback-planner"})
    before.send_offsets_to_transaction([TopicPartition(outcomes_topic, 0, 1)], progress.consumer_group_metadata(), 30)
    progress.close()
    planner = start_planner(prefix, until=None)
    planner.wait_for(lambda: planner.events(event="planner.waiting", cause="offsets") != [], what="it waits")
    assert not planner.has_written('"planner.ready"')
    before.commit_transaction(30)
    send(kafka, outcomes_topic, b"behind")
    planner.wait_for(lambda: b"behind" in rejections(), what="it goes on behind what was decided")
    assert rejections() == [b"before", b"behind"]
    assert planner.events(event="planner.resumed", cause="offsets") != []
    assert planner.stop() == 0


def send(kafka, topic: str, key: bytes) -> None:
    """A record that every planner rejects."""
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    producer.produce(topic, b"not Avro", key)
    assert producer.flush(20) == 0
