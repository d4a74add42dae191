"""The planner's position on the outcomes topic, asked of the broker every few seconds in a thread of its own.

The gauges show only what the broker said last, and when. If a planner is stuck, lags, or gets no answer, its age grows.
A broker that does not answer is a named wait. An outcome in a transaction that is still open was appended and counts;
one that was rolled back does not, nor do a transaction's marks.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from planner.core.positions import LostOutcomes, TopicPositions
from planner.metrics import Metrics
from planner.waiting import Waits
from runtime.connection import BrokerSettings
from runtime.librdkafka_log import client_log
from runtime.retention import Gap, taken

log: Any = structlog.get_logger("planner")

_ANSWERS_WITHIN_S = 5.0


class Positions:
    """Knows what the broker said last. `ours` gives the partitions of this planner; `run` ends when `stop` is set."""

    def __init__(
        self,
        broker: BrokerSettings,
        metrics: Metrics,
        waits: Waits,
        *,
        group_id: str,
        ours: Callable[[], Collection[int]],
        every_s: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._config = broker.consumer_config() | {
            "group.id": group_id,  # it asks for the group's progress, and joins nothing
            "queued.max.messages.kbytes": 64,
            "fetch.message.max.bytes": 32_768,
            "enable.partition.eof": True,
            "log_level": 2,
        }
        self._topic = broker.topics.call_outcomes.name
        self._metrics = metrics
        self._waits = waits
        self._ours = ours
        self._every_s = every_s
        self._clock = clock
        self._answer = TopicPositions(clock())
        self._known: dict[tuple[int, int], float] = {}
        """(partition, offset) to when the outcome there was appended."""
        self._empty_to: dict[int, int] = {}
        self._lost = LostOutcomes()
        self._jumps: deque[tuple[int, int, int]] = deque()
        self.stop = threading.Event()
        metrics.oldest_outcome_age.set_function(self._age)
        metrics.caught_up.set_function(lambda: self._answer.caught_up)
        metrics.waiting_outcomes.set_function(lambda: self._answer.waiting)
        metrics.broker_heard.set_function(lambda: self._answer.at)

    def jumped(self, partition: int, expected: int, offset: int) -> None:
        """Reading went on at `offset` where `expected` was next: marks of transactions, or outcomes that are gone. The
        next look finds out which."""
        self._jumps.append((partition, expected, offset))

    def start(self) -> threading.Thread:
        thread = threading.Thread(target=self.run, name="positions", daemon=True)
        thread.start()
        return thread

    def run(self) -> None:
        decided, everything = self._consumer("read_committed"), self._consumer("read_uncommitted")
        try:
            while not self.stop.wait(self._every_s):
                self.look(decided, everything)
        finally:
            decided.close()
            everything.close()

    def _consumer(self, isolation: str) -> Consumer:
        return Consumer(self._config | {"isolation.level": isolation}, logger=client_log("planner"))

    def look(self, decided: Any, everything: Any) -> None:
        """Once. `decided` reads up to the first transaction that is open, `everything` beyond it."""
        try:
            answer = self._ask(decided, everything, sorted(self._ours()))
        except KafkaException as error:
            self._waits.begin("broker", f"the broker does not say where the topic ends: {error.args[0].name()}")
            return
        self._waits.end("broker")
        self._answer = answer
        self._report_what_is_gone(answer)

    def _ask(self, decided: Any, everything: Any, ours: Collection[int]) -> TopicPositions:
        at = self._clock()
        places = [TopicPartition(self._topic, each) for each in ours]
        marks = {each.partition: everything.get_watermark_offsets(each, timeout=_ANSWERS_WITHIN_S) for each in places}
        found = decided.committed(places, timeout=_ANSWERS_WITHIN_S) if places else []
        for each in found:
            if each.error:
                raise KafkaException(each.error)
        answer = TopicPositions(
            at=at,
            first={each: first for each, (first, _) in marks.items()},
            end={each: end for each, (_, end) in marks.items()},
            committed={each.partition: each.offset for each in found if each.offset >= 0},
            empty_to=self._empty_to,
        )
        lagging = {each: start for each in ours if (start := answer.planned_to(each)) < answer.end[each]}
        self._known = {key: value for key, value in self._known.items() if lagging.get(key[0]) == key[1]}
        oldest: dict[int, float] = {}
        for partition, offset in lagging.items():
            appended_at = self._known.get((partition, offset))
            if appended_at is None:
                appended_at = self._first_appended(decided, everything, partition, offset, answer.end[partition])
            if appended_at is not None:
                oldest[partition] = appended_at
        return replace(answer, empty_to=dict(self._empty_to), oldest_at=oldest)

    def _first_appended(self, decided: Any, everything: Any, partition: int, offset: int, end: int) -> float | None:
        """When the first outcome from `offset` on was appended; None if there is none before `end`."""
        message = self._first(decided, partition, offset)
        if message.error() is None:
            self._known[partition, offset] = _appended_at(message)
            return self._known[partition, offset]
        if message.offset() >= end:
            self._empty_to[partition] = end
            return None
        undecided = self._first(everything, partition, message.offset())
        return _appended_at(undecided) if undecided.error() is None else None

    def _first(self, consumer: Any, partition: int, offset: int) -> Any:
        """The first record from there on that this consumer gets, or the news that there is none so far. Raises
        KafkaException if the broker gives neither."""
        consumer.assign([TopicPartition(self._topic, partition, offset)])
        try:
            message = consumer.poll(_ANSWERS_WITHIN_S)
        finally:
            consumer.unassign()
        if message is None:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001  its public name
        if message.error() and message.error().code() != KafkaError._PARTITION_EOF:  # noqa: SLF001  its public name
            raise KafkaException(message.error())
        return message

    def _age(self) -> float:
        """Grows while nothing is planned, and while the broker does not answer."""
        age = self._clock() - self._answer.caught_up
        return age if math.isnan(age) else max(0.0, age)

    def _report_what_is_gone(self, answer: TopicPositions) -> None:
        """By what is committed, and by where reading jumped: either may be seen first."""
        for gap in taken(answer.committed, answer.first):
            self._report(gap)
        for _ in range(len(self._jumps)):
            partition, expected, offset = self._jumps.popleft()
            for gap in taken({partition: expected}, {partition: min(offset, answer.first.get(partition, expected))}):
                self._report(gap)

    def _report(self, gap: Gap) -> None:
        news = self._lost.news(gap.partition, gap.first, gap.last)
        if news is None:
            return
        first, last = news
        self._metrics.lost_outcomes.inc(last + 1 - first)
        log.error(
            "outcomes.lost",
            topic=self._topic,
            partition=gap.partition,
            first=first,
            last=last,
            problem="the topic's retention deleted these offsets before they were planned",
            remedy="let the call system publish the outcomes of that time again, and raise retention.ms",
        )


def _appended_at(message: Any) -> float:
    _, milliseconds = message.timestamp()
    return float(milliseconds) / 1000
