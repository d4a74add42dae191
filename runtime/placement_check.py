"""Whether the topics still have the number of partitions by which the plans on them were placed.

A count that was raised while nothing ran shows in no setting: all topics have it. But the plans show it. They stand
where their queue items belonged then, and new outcomes of the same items go elsewhere, so that a session could be
planned twice and one item's calls overtake each other. So both services look at some plans before they begin.
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
    """Raises UnfitTopics if the count was raised, BrokerUnavailable and RegistryUnavailable if nobody can tell. `group`
    is one that this service may read by; it is not joined."""
    topic = broker.topics.planned_writebacks.name
    sample = _Sample(time.monotonic() + _LONGEST_S)
    config = broker.consumer_config() | {"group.id": group}
    try:
        read_to_end(
            config, topic, range(partitions), log=log, heard=sample.add, at_end=lambda _: None, wanted=sample.wants
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
    """Queue item to partition; of what is no plan, nothing."""
    placed = {}
    for record in records:
        try:
            plan = plans.decode(cast("bytes", record.value()))
        except Undecodable:
            continue
        placed[plan.queue_item_id.encode()] = cast("int", record.partition())
    return placed


class _Sample:
    """The first records of each partition that hold anything; a partition of which there are enough is left."""

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
