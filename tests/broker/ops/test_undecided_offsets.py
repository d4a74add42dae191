"""An operator's command asks how far a group is right after its writer was killed, whose transaction is still open."""

from __future__ import annotations

from confluent_kafka import Consumer, Producer, TopicPartition

from ops.core.rewinding import Offset
from ops.settings import Settings
from ops.view.logs import Logs
from runtime.connection import BrokerSettings
from tests.support.brokers.kafka import RealKafka


def test_what_is_committed_is_told_at_once_while_a_transaction_is_undecided(kafka: RealKafka) -> None:
    topic, group = kafka.unique("plans"), kafka.unique("writer")
    kafka.create_topic(topic)
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": group, "enable.auto.commit": False})
    consumer.commit(offsets=[TopicPartition(topic, 0, 3, "note")], asynchronous=False)
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": group})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.send_offsets_to_transaction([TopicPartition(topic, 0, 7)], consumer.consumer_group_metadata(), 30)
    try:
        asked = Logs(Settings(broker=BrokerSettings(bootstrap_servers=kafka.bootstrap))).offsets(group, topic, [0])
        assert asked == [Offset(0, 3, "note")]
    finally:
        producer.abort_transaction(30)
        consumer.close()
