"""Whether the topics still have the partition count by which their plans were placed.

If somebody raised the count of all topics while no service ran, no setting shows it. The plans do: each is in the
partition that its queue item had under the old count. New outcomes of the same items would go to other partitions, so a
session could be planned twice, and calls of one item could overtake each other. So both services look at some plans
before they begin.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from logging import Logger
from typing import cast

from confluent_kafka import KafkaException, Message

from runtime.broker import BrokerUnavailable, UnfitTopics
from runtime.connection import BrokerSettings
from runtime.log_reader import read_to_end
from schemas.codec import Codec, Undecodable
from schemas.placement import count_before
from schemas.records import PlannedWriteback

_OF_EACH = 20
_LONGEST_S = 15.0


def check_placement(
    broker: BrokerSettings, partitions: int, plans: Codec[PlannedWriteback], *, group: str, log: Logger
) -> None:
    """Raises UnfitTopics if the count was raised. Raises BrokerUnavailable or RegistryUnavailable if the plans cannot
    be read. `group` is a group that this service may read with; it is never joined."""
    topic = broker.topics.planned_writebacks.name
    sample = _Sample(time.monotonic() + _LONGEST_S)
    config = broker.consumer_config() | {"group.id": group}
    try:
        read_to_end(
            config, topic, range(partitions), log=log, on_records=sample.add, at_end=lambda _: None, wanted=sample.wants
        )
    except KafkaException as error:
        raise BrokerUnavailable(f"topic {topic} cannot be read: {error.args[0].str()}") from None
    if before := count_before(_placed(sample.records, plans), partitions):
        why = (
            "new outcomes of the same queue items would go to other partitions, so a session could be planned twice "
            "and calls of one item overtake each other; see docs/deploy.md, Raising the partition count"
        )
        raise UnfitTopics(
            [f"the topics have {partitions} partitions, and the plans on {topic} were placed by {before}: {why}"]
        )


def _placed(records: Iterable[Message], plans: Codec[PlannedWriteback]) -> dict[bytes, int]:
    """Queue item to partition. Records that cannot be decoded as plans are left out."""
    placed = {}
    for record in records:
        try:
            plan = plans.decode(cast("bytes", record.value()))
        except Undecodable:
            continue
        placed[plan.queue_item_id.encode()] = cast("int", record.partition())
    return placed


class _Sample:
    """The first records with a value in each partition. A partition is dropped once it gave enough."""

    def __init__(self, deadline: float) -> None:
        self.records: list[Message] = []
        self._of: Counter[int] = Counter()
        self._deadline = deadline

    def add(self, records: Sequence[Message]) -> None:
        for record in records:
            partition = cast("int", record.partition())
            if record.value() is not None and self._of[partition] < _OF_EACH:
                self._of[partition] += 1
                self.records.append(record)

    def wants(self, partition: int) -> bool:
        return self._of[partition] < _OF_EACH and time.monotonic() < self._deadline
