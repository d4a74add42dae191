"""No gauge says more than was heard: a plan in a transaction that is still open was appended, and is not settled."""

from __future__ import annotations

import time

from confluent_kafka import Producer

from ops.demo.processes import Service
from schemas.codec import single_object
from schemas.records import PlannedWriteback
from simulator.testing import RunningSimulator
from tests.broker.writer.conftest import Writers, prefix_of
from tests.integration.planner.test_planner_process import ask
from tests.integration.writer.kit import Desk, Topic, seed_item
from tests.support.brokers.kafka import RealKafka

CAUGHT_UP, HEARD = "writeback_caught_up_timestamp_seconds", "writeback_broker_heard_timestamp_seconds"


def gauge(writer: Service, name: str) -> float:
    if not writer.has_written('"endpoint.listening"'):
        return 0.0
    (line,) = (line for line in ask(writer, "/metrics").splitlines() if line.startswith(f"{name} "))
    return float(line.split()[1])


def in_an_open_transaction(kafka: RealKafka, topic: Topic, plan: PlannedWriteback) -> Producer:
    producer = Producer({
        "bootstrap.servers": kafka.bootstrap,
        "transactional.id": kafka.unique("planner"),
        "transaction.timeout.ms": 600_000,
    })  # fmt: skip
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(
        topic.topics.planned_writebacks.name,
        single_object(PlannedWriteback).encode(plan),
        plan.session_id.encode(),
        topic.partition(plan.queue_item_id),
    )
    assert producer.flush(30) == 0
    return producer


def test_caught_up_stays_before_a_plan_in_an_open_transaction(
    kafka: RealKafka, simulator: RunningSimulator, topic: Topic, writers: Writers
) -> None:
    plan = Desk(simulator).plan(seed_item(simulator))
    writer = writers("writer-0", prefix_of(topic)).start()
    writer.wait_for(lambda: gauge(writer, CAUGHT_UP) > 0, what="it knows that nothing waits")
    producer = in_an_open_transaction(kafka, topic, plan)
    appended_by = time.time()
    writer.wait_for(lambda: gauge(writer, HEARD) > appended_by + 2, what="it has heard the broker since")
    assert gauge(writer, CAUGHT_UP) <= appended_by
    producer.commit_transaction(30)
    writer.wait_for(lambda: gauge(writer, CAUGHT_UP) > appended_by, what="it has settled the plan")
    assert [result.session_id for result in topic.results()] == [plan.session_id]


def test_caught_up_goes_on_past_a_transaction_that_was_rolled_back(
    kafka: RealKafka, simulator: RunningSimulator, topic: Topic, writers: Writers
) -> None:
    producer = in_an_open_transaction(kafka, topic, Desk(simulator).plan(seed_item(simulator)))
    writer = writers("writer-0", prefix_of(topic)).start()
    writer.wait_for(lambda: gauge(writer, HEARD) > 0, what="it hears the broker")
    first = gauge(writer, HEARD)
    writer.wait_for(lambda: gauge(writer, HEARD) > first + 2, what="it has heard it again")
    assert gauge(writer, CAUGHT_UP) == 0
    producer.abort_transaction(30)
    writer.wait_for(lambda: gauge(writer, CAUGHT_UP) > 0, what="it knows that nothing waits")
    assert topic.results() == []
