"""The edge that reads partitions of a topic to their present end, without joining a group.

It reads committed records only, up to the end that the log has at the start of the reading, transactions that are still
open included: it waits until the broker has decided them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from logging import Logger

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from runtime.connection import ClientConfig

_AT_ONCE = 1_000
_POLL_S = 0.1
_ANSWERS_WITHIN_S = 2.0
LONGEST_SILENCE_S = 30.0
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
) -> None:
    """Blocks until every partition was read from its start to its end, or is not wanted any more: see `read_spans`."""
    ends = ask_ends(config, topic, partitions, log=log, wanted=wanted)
    spans = {partition: (0, end) for partition, end in ends.items()}
    read_spans(config, topic, spans, log=log, heard=heard, at_end=at_end, wanted=wanted)


def ask_ends(
    config: ClientConfig, topic: str, partitions: Collection[int], *, log: Logger, wanted: Callable[[int], bool]
) -> dict[int, int]:
    """The ends of the logs, not of what is committed: an open transaction may be committed in a moment.

    Raises KafkaException if the broker does not answer within `LONGEST_SILENCE_S`, or earlier if the partition is not
    wanted any more.
    """
    consumer = Consumer(reader_config(config, "read_uncommitted"), logger=log)
    try:
        return {each: _end(consumer, TopicPartition(topic, each), wanted) for each in partitions}
    finally:
        consumer.close()


def read_spans(
    config: ClientConfig,
    topic: str,
    spans: Mapping[int, tuple[int, int]],
    *,
    log: Logger,
    heard: Callable[[Sequence[Message]], None],
    at_end: Callable[[int], None],
    wanted: Callable[[int], bool],
) -> None:
    """Blocks until every partition was read from its first offset to its end, or is not wanted any more.

    `config` names a group, which needs the right to read and is never joined. `heard` gets the records, in order within
    a partition; `at_end` each partition that is read. Raises KafkaException if the broker refuses.
    """
    left = {partition for partition, (first, end) in spans.items() if first < end}
    for partition in spans.keys() - left:
        at_end(partition)
    if not left:
        return
    consumer = Consumer(reader_config(config, "read_committed"), logger=log)
    try:
        consumer.assign([TopicPartition(topic, partition, spans[partition][0]) for partition in left])
        ends = {partition: spans[partition][1] for partition in left}
        while left := {partition for partition in left if wanted(partition)}:
            records, finished = _split(consumer.consume(_AT_ONCE, _POLL_S), ends)
            heard(records)
            for partition in finished & left:
                at_end(partition)
            left -= finished
    finally:
        consumer.close()


def _end(consumer: Consumer, of: TopicPartition, wanted: Callable[[int], bool]) -> int:
    """Asks in short turns, so that a stop need not wait for a broker that is away."""
    until = time.monotonic() + LONGEST_SILENCE_S
    while True:
        try:
            return int(consumer.get_watermark_offsets(of, timeout=_ANSWERS_WITHIN_S)[1])
        except KafkaException:
            if not wanted(of.partition) or time.monotonic() > until:
                raise


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


def reader_config(config: ClientConfig, isolation: str) -> ClientConfig:
    """`config` with what such a reader needs of its own."""
    return {
        **config,
        **_BUFFERS,
        "isolation.level": isolation,
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "earliest",
        "allow.auto.create.topics": False,
    }
