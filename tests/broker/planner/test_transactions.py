"""Outcomes and plans that were written in transactions: only what was committed counts, for each of our readers."""

import re

import pytest
from confluent_kafka import Producer

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


def pins_of(planner) -> int:
    if not planner.has_written('"endpoint.listening"'):
        return -1
    return round(float(re.search(r"^planner_pins (.*)$", ask(planner, "/metrics"), re.MULTILINE)[1]))


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
