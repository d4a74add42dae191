"""The edge that moves a consumer group's offsets."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from ops.core.rewinding import Offset
from ops.core.times import milliseconds
from ops.settings import Settings
from ops.view.logs import ASK_S, Logs
from runtime.broker import BrokerUnavailable, admin_client
from runtime.broker_errors import Kind, kind_of
from runtime.errors import Misconfigured

_EMPTY = {"EMPTY", "DEAD"}
_STILL_ACTIVE = {KafkaError.UNKNOWN_MEMBER_ID, KafkaError.NON_EMPTY_GROUP, KafkaError.REBALANCE_IN_PROGRESS}


class GroupActive(Exception):
    """Members of the group are running: its offsets must not be moved under them."""

    def __init__(self, group: str) -> None:
        super().__init__(
            f"consumer group {group} is active: stop its service first (scale it to 0, or end its processes), wait "
            "until its session timeout is over, and call this again"
        )


class Groups:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._admin: AdminClient = admin_client(settings.broker)

    def is_active(self, group: str) -> bool | None:
        """Whether it has members; None if this broker does not list groups. Raises BrokerUnavailable, Misconfigured."""
        try:
            listed = self._admin.list_consumer_groups(request_timeout=ASK_S).result()
        except KafkaException as error:
            raise self._away(error.args[0]) from None
        if not listed.valid and listed.errors:
            return None
        return any(each.group_id == group and each.state.name not in _EMPTY for each in listed.valid)

    def move(self, group: str, topic: str, offsets: Sequence[Offset]) -> None:
        """Raises GroupActive, BrokerUnavailable, Misconfigured: then the broker may have moved none, or all."""
        wanted = [TopicPartition(topic, each.partition, each.offset, each.metadata) for each in offsets]
        asked = [ConsumerGroupTopicPartitions(group, wanted)]
        try:
            done = self._admin.alter_consumer_group_offsets(asked, request_timeout=ASK_S)[group].result()
        except KafkaException as error:
            raise self._refused(error.args[0], group) from None
        for each in done.topic_partitions:
            if each.error:
                raise self._refused(each.error, group)

    def offsets_at(self, logs: Logs, topic: str, partitions: Sequence[int], at: datetime) -> dict[int, int]:
        """Partition to the first offset that was appended then or later; its end, if there is none."""
        ends = {each: end for each, (_, end) in logs.marks(topic, partitions).items()}
        asked = [TopicPartition(topic, each, milliseconds(at)) for each in partitions]
        found = logs.offsets_for_times(asked)
        return {each.partition: each.offset if each.offset >= 0 else ends[each.partition] for each in found}

    def _refused(self, error: KafkaError, group: str) -> Exception:
        return GroupActive(group) if error.code() in _STILL_ACTIVE else self._away(error)

    def _away(self, error: KafkaError) -> Exception:
        where = f"the broker at {self._settings.broker.bootstrap_servers}"
        if kind_of(error) is Kind.FORBIDDEN:
            return Misconfigured([f"{where} refuses: {error.str()}; `writeback topics rights` lists what to grant"])
        return BrokerUnavailable(f"{where}: {error.str()}")
