"""The edge that reads our topics and a group's committed offsets, for the view and for single records."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from ops.core.rewinding import Offset
from ops.core.sessions import Frontier, frontier_of
from ops.settings import Settings
from runtime.broker import BrokerUnavailable, BrokerView, UnfitTopics
from runtime.broker_errors import Kind, kind_of
from runtime.errors import Misconfigured
from runtime.log_reader import read_to_end
from runtime.rights import operator_rights
from schemas.topics import FoundTopic

ASK_S = 15.0
SILENT_S = 60.0
"""A broker that sends nothing for this many seconds while there is something to read is away."""

_FAR = 500
"""Offsets between two wanted records beyond which it is cheaper to jump."""
_AT_ONCE = 100

Heard = Callable[[Sequence[Message]], None]
Marks = Mapping[int, tuple[int, int]]
"""Partition to the offset of its oldest record, and to the one behind its newest."""


class Logs:
    """One connection at a time, for as long as a question takes."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._said: list[str] = []
        self._log = logging.Logger("view")  # noqa: LOG001  of these clients alone: what goes wrong is raised
        self._log.addHandler(logging.NullHandler())

    def topics(self) -> dict[str, FoundTopic]:
        """All of ours. Raises UnfitTopics if one is missing, Misconfigured, BrokerUnavailable."""
        broker = self._settings.broker
        wanted = broker.topics.all()
        rights = operator_rights(broker.topics, self._settings.groups)
        facts, problems = BrokerView(broker, wanted, rights).look(timeout_s=ASK_S)
        if missing := [each.name for each in wanted if each.name not in facts.topics]:
            raise UnfitTopics([each for each in problems if any(name in each for name in missing)] or missing)
        return dict(facts.topics)

    def cluster(self) -> str:
        with self._consumer(self._reading_group()) as consumer:
            return str(consumer.list_topics(timeout=ASK_S).cluster_id)

    def committed(self, group: str, topic: str, partitions: Collection[int]) -> dict[int, Frontier]:
        """What `group`, by its full name, has committed, without joining it."""
        found = {each.partition: each for each in self.offsets(group, topic, partitions)}
        return {
            each: frontier_of(at.offset, at.metadata) if (at := found.get(each)) else frontier_of(None, None)
            for each in partitions
        }

    def offsets(self, group: str, topic: str, partitions: Collection[int]) -> list[Offset]:
        """Of the partitions in which `group`, by its full name, has committed something; without joining it. What a
        killed service has left undecided, for some twenty seconds, does not count.
        """
        with self._consumer(group, {"isolation.level": "read_uncommitted"}) as consumer:
            found = consumer.committed([TopicPartition(topic, each) for each in partitions], timeout=ASK_S)
        for each in found:
            if each.error:
                self._failed(each.error)
        return [Offset(each.partition, each.offset, each.metadata or "") for each in found if each.offset >= 0]

    def marks(self, topic: str, partitions: Collection[int]) -> dict[int, tuple[int, int]]:
        with self._consumer(self._reading_group()) as consumer:
            return {
                each: consumer.get_watermark_offsets(TopicPartition(topic, each), timeout=ASK_S) for each in partitions
            }

    def read(
        self, topic: str, starts: Mapping[int, int], marks: Marks, heard: Heard, at_end: Callable[[int], None]
    ) -> None:
        """From `starts` to the ends of `marks`."""
        heard_at = [time.monotonic()]

        def hear(messages: Sequence[Message]) -> None:
            if messages:
                heard(messages)
                heard_at[0] = time.monotonic()

        def ended(partition: int) -> None:
            heard_at[0] = time.monotonic()
            at_end(partition)

        def wanted(_: int) -> bool:
            if time.monotonic() - heard_at[0] > SILENT_S:
                raise self._away(f"has sent nothing of {topic} for {SILENT_S:.0f} s")
            return True

        ends = {each: end if end > low else 0 for each, (low, end) in marks.items()}
        with self._translated():
            read_to_end(
                self._config(self._reading_group()), topic, list(marks), log=self._log, on_records=hear, at_end=ended,
                wanted=wanted, starts=starts, ends=ends,
            )  # fmt: skip

    def offsets_for_times(self, asked: Sequence[TopicPartition]) -> list[TopicPartition]:
        """`asked` has Unix milliseconds in the place of offsets."""
        with self._consumer(self._reading_group()) as consumer:
            return list(consumer.offsets_for_times(list(asked), timeout=ASK_S))

    def waiting(self, group: str, topic: str, partitions: Collection[int]) -> tuple[int, int | None]:
        """How many offsets a group has before it, and when the oldest record of them was appended."""
        committed, marks = self.committed(group, topic, partitions), self.marks(topic, partitions)
        starts = {each: max(low, committed[each].offset or 0) for each, (low, end) in marks.items()}
        left = {each: start for each, start in starts.items() if start < marks[each][1]}
        first = [found for each, start in left.items() if (found := self.first_from(topic, each, start)) is not None]
        times = [each.timestamp()[1] for each in first]
        return sum(marks[each][1] - start for each, start in left.items()), min(times, default=None)

    def first_from(self, topic: str, partition: int, offset: int) -> Message | None:
        """The record at this offset, or the next one behind it; None if there is none."""
        with self._consumer(self._reading_group()) as consumer:
            return self._next(consumer, TopicPartition(topic, partition, offset))

    def record(self, topic: str, partition: int, offset: int) -> Message | None:
        """The record at this very offset; None if it is not there any more."""
        place = TopicPartition(topic, partition, offset)
        with self._consumer(self._reading_group()) as consumer:
            low, end = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=ASK_S)
            if not low <= offset < end:
                return None
            message = self._next(consumer, place)
        return message if message is not None and message.offset() == offset else None

    def records(self, topic: str, places: Collection[tuple[int, int]]) -> dict[tuple[int, int], Message]:
        """The records at these partitions and offsets, as far as they are still there. Reads on where wanted records
        are near each other, and jumps where they are not.
        """
        found: dict[tuple[int, int], Message] = {}
        left: dict[int, list[int]] = {}
        for partition, offset in sorted(places, reverse=True):
            left.setdefault(partition, []).append(offset)
        heard_at = time.monotonic()
        with self._consumer(self._reading_group()) as consumer:
            consumer.assign([TopicPartition(topic, partition, offsets[-1]) for partition, offsets in left.items()])
            while left:
                for message in consumer.consume(_AT_ONCE, 1.0):
                    heard_at = time.monotonic()
                    partition = int(message.partition() or 0)
                    if partition in left and not self._wanted_behind(message, left[partition], found):
                        del left[partition]
                        consumer.pause([TopicPartition(topic, partition)])
                    elif partition in left and left[partition][-1] - int(message.offset() or 0) >= _FAR:
                        consumer.seek(TopicPartition(topic, partition, left[partition][-1]))
                if time.monotonic() - heard_at > SILENT_S:
                    raise self._away(f"does not send records of {topic}")
        return found

    def _wanted_behind(self, message: Message, offsets: list[int], found: dict[tuple[int, int], Message]) -> bool:
        """Takes what is wanted, the smallest of `offsets` last; whether more of the partition is."""
        if (error := message.error()) is not None:
            if error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001  its public name
                self._failed(error)
            return False
        at = int(message.offset() or 0)
        while offsets and offsets[-1] < at:
            offsets.pop()
        if offsets and offsets[-1] == at:
            found[int(message.partition() or 0), offsets.pop()] = message
        return bool(offsets)

    def _next(self, consumer: Consumer, place: TopicPartition) -> Message | None:
        consumer.assign([place])
        deadline = time.monotonic() + SILENT_S
        while time.monotonic() < deadline:
            message = consumer.poll(1.0)
            if message is None:
                continue
            if (error := message.error()) is None:
                return message
            if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  its public name
                return None
        raise self._away(f"does not send a record of {place.topic}")

    def _reading_group(self) -> str:
        """Named in every reader's settings and never joined: the writer's, whose topics these are."""
        return self._settings.group_id(self._settings.writer_group)

    def _config(self, group: str) -> dict[str, Any]:
        return {**self._settings.broker.consumer_config(), "group.id": group, "enable.partition.eof": True}

    @contextmanager
    def _consumer(self, group: str, more: Mapping[str, Any] | None = None) -> Iterator[Consumer]:
        with self._translated():
            consumer = Consumer({**self._config(group), **(more or {})}, logger=self._log)
            try:
                yield consumer
            finally:
                consumer.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except KafkaException as failure:
            self._failed(failure.args[0])

    def _failed(self, error: KafkaError) -> NoReturn:
        if kind_of(error) is Kind.FORBIDDEN:
            what = f"the broker does not allow this user to read topics or groups: {error.str()}"
            raise Misconfigured([f"{what}; `writeback topics rights` lists what to grant"]) from None
        raise self._away(error.str()) from None

    def _away(self, what: str) -> BrokerUnavailable:
        return BrokerUnavailable(f"the broker at {self._settings.broker.bootstrap_servers}: {what}")
