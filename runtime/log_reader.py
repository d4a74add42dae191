"""The edge that reads partitions of a topic to their present end, from their start or an offset, joining no group.

It reads committed records only, up to the end that the log has at the start of the reading, transactions that are still
open included: it waits until the broker has decided them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from logging import Logger

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from runtime.connection import ClientConfig

_AT_ONCE = 1_000
_POLL_S = 0.1
_ASK_S = 15.0
_GOES_ON = {
    KafkaError._TRANSPORT,  # noqa: SLF001  its public name
    KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
}
"""librdkafka connects again by itself."""

_BUFFERS: ClientConfig = {
    # Small on purpose: records are compressed ten to one, and these count compressed bytes.
    "queued.min.messages": 2_000,
    "queued.max.messages.kbytes": 1_024,
    "fetch.message.max.bytes": 131_072,
    "fetch.max.bytes": 1_048_576,
    "fetch.queue.backoff.ms": 2,  # a second by default, after each time that the small queue was full
}


def read_to_end(
    config: ClientConfig,
    topic: str,
    partitions: Collection[int],
    *,
    log: Logger,
    heard: Callable[[Sequence[Message]], None],
    at_end: Callable[[int], None],
    wanted: Callable[[int], bool],
    starts: Mapping[int, int] | None = None,
    ends: Mapping[int, int] | None = None,
) -> None:
    """Blocks until every partition was read to its end, or is not wanted any more.

    `starts`: where to begin in partitions that are not read from their start. `ends`: of all partitions, if they were
    asked for already. `config` names a group, which needs the right to read and is never joined. `heard` gets the
    records, in order within a partition; `at_end` each partition that is read. Raises KafkaException if the broker
    refuses, or does not say where the logs end.
    """
    starts = starts or {}
    ends = _ends(config, topic, partitions, log) if ends is None else ends
    left = {partition for partition, end in ends.items() if end > starts.get(partition, 0)}
    for partition in ends.keys() - left:
        at_end(partition)
    if not left:
        return
    consumer = Consumer(_config(config, "read_committed"), logger=log)
    try:
        consumer.assign([TopicPartition(topic, each, starts.get(each, OFFSET_BEGINNING)) for each in left])
        while left := {partition for partition in left if wanted(partition)}:
            records, finished = _split(consumer.consume(_AT_ONCE, _POLL_S), ends)
            heard(records)
            for partition in finished & left:
                at_end(partition)
            left -= finished
    finally:
        consumer.close()


def _ends(config: ClientConfig, topic: str, partitions: Collection[int], log: Logger) -> dict[int, int]:
    """Of the logs, not of what is committed: somebody's transaction may end in a moment."""
    consumer = Consumer(_config(config, "read_uncommitted"), logger=log)
    try:
        return {each: _end(consumer, TopicPartition(topic, each)) for each in partitions}
    finally:
        consumer.close()


def _end(consumer: Consumer, of: TopicPartition) -> int:
    low, high = consumer.get_watermark_offsets(of, timeout=_ASK_S)
    return 0 if low >= high else int(high)


def _split(messages: Sequence[Message], ends: Mapping[int, int]) -> tuple[list[Message], set[int]]:
    """The records, and the partitions that have been read: what is at their end may hold no record any more."""
    records, finished = [], set()
    for message in messages:
        partition, offset = message.partition(), message.offset()
        if (error := message.error()) is None:
            records.append(message)
        elif error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001  its public name
            if error.code() not in _GOES_ON:
                raise KafkaException(error)
        elif partition is not None and offset is not None and offset >= ends[partition]:
            finished.add(partition)
    return records, finished


def _config(config: ClientConfig, isolation: str) -> dict[str, str | int | float | bool]:
    return {
        **config,
        **_BUFFERS,
        "isolation.level": isolation,
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "earliest",
        "allow.auto.create.topics": False,
    }
