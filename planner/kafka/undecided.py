"""What is committed of a group's offsets, asked for as it will be once the transactions that are open have ended.

P5 A planner that loses its partitions between its last request and its commit leaves their offsets undecided for a
moment. The consumer inside Faust asks for committed offsets without waiting for that: it would begin from the older
ones, and reject a second time what was rejected in that transaction. So a planner begins to read only when the broker
knows how far the one before it has come, and asks also what became of a commit of its own that had no answer.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from planner.waiting import Waits
from runtime.connection import BrokerSettings
from runtime.librdkafka_log import client_log
from runtime.threads import in_daemon_thread

_ANSWERS_WITHIN_S = 5.0


def committed(
    broker: BrokerSettings, group_id: str, topic: str, partitions: Collection[int]
) -> Collection[TopicPartition]:
    """Asked once, for some seconds at most, without joining the group. Raises KafkaException."""
    config = broker.consumer_config() | {
        "group.id": group_id,
        "isolation.level": "read_committed",
        "log_level": 2,
    }
    consumer: Any = Consumer(config, logger=client_log("planner"))
    try:
        found: Collection[TopicPartition] = consumer.committed(
            [TopicPartition(topic, each) for each in partitions], timeout=_ANSWERS_WITHIN_S
        )
    finally:
        consumer.close()
    for each in found:
        if each.error:
            raise KafkaException(each.error)
    return found


class UndecidedOffsets:
    def __init__(self, broker: BrokerSettings, waits: Waits, *, group_id: str, within_s: float) -> None:
        """`within_s`: when the broker rolls back a transaction that nobody ends."""
        self._broker = broker
        self._group_id = group_id
        self._topic = broker.topics.call_outcomes.name
        self._waits = waits
        self._problem = (
            "the broker does not say how far the outcomes are planned: it does not answer, or a planner that had these "
            f"partitions has not ended its transaction, which the broker then does within {within_s:.0f} s"
        )

    async def wait(self, partitions: Collection[int]) -> None:
        """Until the broker knows what is committed of these partitions. May be cancelled."""
        with self._waits.until_over("offsets"):
            while not await in_daemon_thread(partial(self._are_decided, partitions), name="undecided-offsets"):
                self._waits.begin("offsets", self._problem)

    def _are_decided(self, partitions: Collection[int]) -> bool:
        try:
            committed(self._broker, self._group_id, self._topic, partitions)
        except KafkaException as error:
            # Whatever else is wrong, the consumer inside Faust meets it as well, and says so.
            return bool(error.args[0].code() != KafkaError._TIMED_OUT)  # noqa: SLF001  its public name
        return True
