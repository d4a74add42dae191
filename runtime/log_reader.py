"""The edge that reads partitions of a topic, from the start or an offset to the present end, without joining a group.

It reads committed records only, up to the end that the log had when the reading began. If a transaction is still open
there, it waits until the broker has committed or aborted it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from logging import Logger
from typing import cast

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from runtime.connection import ClientConfig

_AT_ONCE = 1_000
_POLL_S = 0.1
_ASK_S = 30.0
_ANSWERS_WITHIN_S = 2.0
_GOES_ON = {
    KafkaError._TRANSPORT,  # noqa: SLF001  its public name
    KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
}
"""Errors after which librdkafka reconnects by itself."""

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
    on_records: Callable[[Sequence[Message]], None],
    at_end: Callable[[int], None],
    wanted: Callable[[int], bool],
    starts: Mapping[int, int] | None = None,
    ends: Mapping[int, int] | None = None,
) -> None:
    """Blocks until every partition was read to its end, or is not wanted any more.

    `starts`: where to begin in partitions that are not read from the start. `ends`: of all partitions, if the caller
    knows them. `config` names a group that may read the topic; it is never joined. `on_records` gets the records, in
    order within a partition. `at_end` gets each partition that was read. Raises KafkaException if the broker refuses,
    or does not report the ends of the logs.
    """
    starts = starts or {}
    ends = ask_ends(config, topic, partitions, log=log, wanted=wanted) if ends is None else ends
    left = {partition for partition, end in ends.items() if end > starts.get(partition, 0)}
    for partition in ends.keys() - left:
        at_end(partition)
    if not left:
        return
    consumer = Consumer(reader_config(config, "read_committed"), logger=log)
    try:
        consumer.assign([TopicPartition(topic, each, starts.get(each, OFFSET_BEGINNING)) for each in left])
        while left := {partition for partition in left if wanted(partition)}:
            records, finished = _split(consumer.consume(_AT_ONCE, _POLL_S), ends)
            on_records(records)
            for partition in finished & left:
                at_end(partition)
            left -= finished
    finally:
        consumer.close()


def ask_ends(
    config: ClientConfig, topic: str, partitions: Collection[int], *, log: Logger, wanted: Callable[[int], bool]
) -> dict[int, int]:
    """The ends of the logs, open transactions included: one may be committed in a moment.

    Raises KafkaException if the broker does not answer in half a minute, or sooner if the partition is not wanted any
    more.
    """
    consumer = Consumer(reader_config(config, "read_uncommitted"), logger=log)
    try:
        return {each: _end(consumer, TopicPartition(topic, each), wanted) for each in partitions}
    finally:
        consumer.close()


def _end(consumer: Consumer, of: TopicPartition, wanted: Callable[[int], bool]) -> int:
    """Asks in short turns, so that a stop need not wait for a broker that is down."""
    until = time.monotonic() + _ASK_S
    while True:
        try:
            low, high = consumer.get_watermark_offsets(of, timeout=_ANSWERS_WITHIN_S)
        except KafkaException:
            if not wanted(of.partition) or time.monotonic() > until:
                raise
        else:
            return 0 if low >= high else int(high)


def _split(messages: Sequence[Message], ends: Mapping[int, int]) -> tuple[list[Message], set[int]]:
    """The records, and the partitions that were read to the end.

    The last offsets of a log may hold no record. Then the end is passed when the client says that nothing comes, which
    it does after half a second without a record, or when the first record behind the end comes: a log that grows all
    the time has no such half second.
    """
    records, finished = [], set()
    for message in messages:
        partition, next_offset = message.partition(), message.offset()
        if (error := message.error()) is None:
            records.append(message)
            next_offset = cast("int", next_offset) + 1
        elif error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001  its public name
            if error.code() in _GOES_ON:
                continue
            raise KafkaException(error)
        if partition is not None and next_offset is not None and next_offset >= ends[partition]:
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
