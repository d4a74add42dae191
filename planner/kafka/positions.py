"""Where the planner stands on the outcomes topic: asked of the broker every few seconds, in a thread of its own.

No gauge says more than was heard: everything here is what the broker said last, and when. A planner that is stuck,
lags, or hears nothing shows an age that grows; a broker that does not answer is waited for and told.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog
from confluent_kafka import Consumer, KafkaException, TopicPartition

from planner.metrics import Metrics
from planner.waiting import Waits
from runtime.connection import BrokerSettings
from runtime.librdkafka_log import client_log
from runtime.retention import Gap, taken

log: Any = structlog.get_logger("planner")

_ANSWERS_WITHIN_S = 5.0


@dataclass(frozen=True, slots=True)
class Heard:
    """What the broker said at `at` (Unix time) of our partitions: first and next offset, and what is committed."""

    at: float
    first: Mapping[int, int] = field(default_factory=dict)
    end: Mapping[int, int] = field(default_factory=dict)
    committed: Mapping[int, int] = field(default_factory=dict)
    oldest_at: Mapping[int, float] = field(default_factory=dict)
    """When the first outcome that is not planned was appended, for partitions that have one."""

    @property
    def waiting(self) -> int:
        """Offsets between what is planned and the end."""
        return sum(max(0, end - self.planned_to(each)) for each, end in self.end.items())

    @property
    def caught_up(self) -> float:
        """Every outcome that was appended before this moment is planned. NaN without partitions."""
        if not self.end:
            return math.nan
        return min((at for at in self.oldest_at.values()), default=self.at)

    def planned_to(self, partition: int) -> int:
        """Its next outcome to be planned, among those that the topic still has."""
        first = self.first[partition]
        return max(first, self.committed.get(partition, first))


class Positions:
    """`ours` gives the partitions of this planner. `run` ends when `stop` is set."""

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
            "log_level": 2,
        }
        self._topic = broker.topics.call_outcomes.name
        self._metrics = metrics
        self._waits = waits
        self._ours = ours
        self._every_s = every_s
        self._clock = clock
        self._heard = Heard(clock())
        self._known: dict[tuple[int, int], float] = {}
        """(partition, offset) to when the outcome there was appended."""
        self._told: dict[int, int] = {}
        """Partition to the offset up to which lost outcomes were told."""
        self._jumps: deque[tuple[int, int, int]] = deque()
        self.stop = threading.Event()
        metrics.oldest_outcome_age.set_function(self._age)
        metrics.caught_up.set_function(lambda: self._heard.caught_up)
        metrics.waiting_outcomes.set_function(lambda: self._heard.waiting)
        metrics.heard.set_function(lambda: self._heard.at)

    def jumped(self, partition: int, expected: int, offset: int) -> None:
        """Reading went on at `offset` where `expected` was next: marks of transactions, or outcomes that are gone. The
        next look tells."""
        self._jumps.append((partition, expected, offset))

    def start(self) -> threading.Thread:
        thread = threading.Thread(target=self.run, name="positions", daemon=True)
        thread.start()
        return thread

    def run(self) -> None:
        consumer = Consumer(self._config, logger=client_log("planner"))
        try:
            while not self.stop.wait(self._every_s):
                self.look(consumer)
        finally:
            consumer.close()

    def look(self, consumer: Any) -> None:
        """Once."""
        try:
            heard = self._ask(consumer, sorted(self._ours()))
        except KafkaException as error:
            self._waits.begin("broker", f"the broker does not say where outcomes stand: {error.args[0].name()}")
            return
        self._waits.end("broker")
        self._heard = heard
        self._tell_what_is_gone(heard)

    def _ask(self, consumer: Any, ours: Collection[int]) -> Heard:
        at = self._clock()
        places = [TopicPartition(self._topic, each) for each in ours]
        marks = {each.partition: consumer.get_watermark_offsets(each, timeout=_ANSWERS_WITHIN_S) for each in places}
        found = consumer.committed(places, timeout=_ANSWERS_WITHIN_S) if places else []
        for each in found:
            if each.error:
                raise KafkaException(each.error)
        heard = Heard(
            at=at,
            first={each: first for each, (first, _) in marks.items()},
            end={each: end for each, (_, end) in marks.items()},
            committed={each.partition: each.offset for each in found if each.offset >= 0},
        )
        lagging = {each: start for each in ours if (start := heard.planned_to(each)) < heard.end[each]}
        self._known = {key: value for key, value in self._known.items() if lagging.get(key[0]) == key[1]}
        for partition, offset in lagging.items():
            if (partition, offset) not in self._known:
                self._known[partition, offset] = self._appended_at(consumer, partition, offset, default=at)
        oldest = {partition: self._known[partition, offset] for partition, offset in lagging.items()}
        return Heard(heard.at, heard.first, heard.end, heard.committed, oldest)

    def _appended_at(self, consumer: Any, partition: int, offset: int, *, default: float) -> float:
        """When the first outcome from there on was appended; `default` if there is none, but marks of transactions."""
        consumer.assign([TopicPartition(self._topic, partition, offset)])
        try:
            message = consumer.poll(_ANSWERS_WITHIN_S)
        finally:
            consumer.unassign()
        if message is None:
            return default
        if message.error():
            raise KafkaException(message.error())
        _, milliseconds = message.timestamp()
        return milliseconds / 1000 if milliseconds > 0 else default

    def _age(self) -> float:
        """Grows while nothing is planned, and while nothing is heard."""
        age = self._clock() - self._heard.caught_up
        return age if math.isnan(age) else max(0.0, age)

    def _tell_what_is_gone(self, heard: Heard) -> None:
        """By what is committed, and by where reading jumped: either may be seen first."""
        for gap in taken(heard.committed, heard.first):
            self._tell(gap)
        for _ in range(len(self._jumps)):
            partition, expected, offset = self._jumps.popleft()
            for gap in taken({partition: expected}, {partition: min(offset, heard.first.get(partition, expected))}):
                self._tell(gap)

    def _tell(self, gap: Gap) -> None:
        first = max(gap.first, self._told.get(gap.partition, 0))
        if first > gap.last:
            return
        self._told[gap.partition] = gap.last + 1
        self._metrics.lost_outcomes.inc(gap.last + 1 - first)
        log.error(
            "outcomes.lost",
            topic=self._topic,
            partition=gap.partition,
            first=first,
            last=gap.last,
            problem="the topic's retention took these offsets before they were planned",
            remedy="let the call system publish the outcomes of that time again, and raise retention.ms",
        )
