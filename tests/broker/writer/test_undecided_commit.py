"""A commit that fails on a real Kafka, which has carried it out, or has not: what counts is what the group shows."""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import Future
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer

from ops.demo.waiting import wait_until
from tests.support.brokers.kafka import RealKafka
from writer.core.ledger import Commit, encode_settled
from writer.core.messages import NotPublished, Published
from writer.kafka.producer import Outgoing
from writer.kafka.transactions import TransactionalProducer


class Fails(Producer):
    """The broker's answer to the first commit is an error of its own, as of one without space on its disk."""

    carried_out = True
    failed = False

    def commit_transaction(self, *seconds: Any) -> None:
        if Fails.failed:
            super().commit_transaction(30)
            return
        Fails.failed = True
        if self.carried_out:
            super().commit_transaction(30)
        raise KafkaException(KafkaError(KafkaError.UNKNOWN, None, False, False, True))

    def abort_transaction(self, *seconds: Any) -> None:
        if self.carried_out:
            raise KafkaException(KafkaError(KafkaError.INVALID_TXN_STATE))
        super().abort_transaction(30)


@pytest.mark.parametrize("carried_out", [True, False])
def test_W2_a_commit_that_fails_counts_if_the_broker_has_carried_it_out_and_only_then(
    kafka: RealKafka, carried_out: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Fails, "carried_out", carried_out)
    monkeypatch.setattr(Fails, "failed", False)
    plans, results = kafka.create_topic(kafka.unique("plans")), kafka.create_topic(kafka.unique("results"))
    group = kafka.unique("group")
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": group, "enable.auto.commit": False})
    consumer.subscribe([plans])

    def is_assigned() -> bool:
        consumer.poll(0.1)
        return bool(consumer.assignment())

    def notes(_: Collection[int]) -> Future[Collection[str]]:
        asked: Future[Collection[str]] = Future()
        asked.set_result([part.metadata or "" for part in kafka.committed(group, plans).values()])
        return asked

    try:
        wait_until(is_assigned, what="the group has its member")
        producer = TransactionalProducer(
            {"bootstrap.servers": kafka.bootstrap}, kafka.unique("id"), plans,
            on_wait=lambda _: None, notes=notes, connect=Fails,
        )  # fmt: skip
        records = [Outgoing(results, 0, b"session", b"landed", [])]
        positions = [Commit(0, 7, encode_settled(7, []))]
        ended = producer.transact(records, positions, consumer.consumer_group_metadata())
        assert isinstance(ended, Published if carried_out else NotPublished)
        if not carried_out:
            assert isinstance(producer.transact(records, positions, consumer.consumer_group_metadata()), Published)
        producer.close()
    finally:
        consumer.close()
    assert [one.value() for one in kafka.records(results)] == [b"landed"]
    assert kafka.committed(group, plans)[0].offset == 7
