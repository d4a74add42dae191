"""No gauge says more than was heard."""

import math
import threading
from types import SimpleNamespace

import pytest
import structlog
from confluent_kafka import KafkaError, KafkaException
from prometheus_client import CollectorRegistry

from ops.demo.waiting import HANGS_AFTER_S
from planner.core.positions import LostOutcomes
from planner.kafka.positions import Positions
from planner.metrics import Metrics
from planner.waiting import Waits
from runtime.connection import BrokerSettings


class Broker:
    """Partitions with their first and next offset, what is committed, and when which outcome was appended."""

    def __init__(self) -> None:
        self.marks = {0: (0, 0), 1: (0, 0)}
        self.progress: dict[int, int] = {}
        self.appended: dict[tuple[int, int], float] = {}
        self.open_from: dict[int, int] = {}
        """Partition to the first offset of a transaction that is open."""
        self.silent = self.gives_nothing = False
        self.fetches = 0


class Client:
    """Stands for a consumer: one that reads what is decided, or everything."""

    def __init__(self, broker: Broker, *, decided: bool) -> None:
        self._broker, self._decided = broker, decided
        self._assigned = None

    def get_watermark_offsets(self, place, timeout):
        if self._broker.silent:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        first, _ = self._broker.marks[place.partition]
        return first, self._end(place.partition)

    def _end(self, partition: int) -> int:
        _, end = self._broker.marks[partition]
        return self._broker.open_from.get(partition, end) if self._decided else end

    def committed(self, places, timeout):
        progress = self._broker.progress
        return [
            SimpleNamespace(partition=each.partition, offset=progress.get(each.partition, -1001), error=None)
            for each in places
        ]

    def assign(self, places):
        (self._assigned,) = places

    def unassign(self):
        self._assigned = None

    def poll(self, timeout):
        self._broker.fetches += 1
        if self._broker.gives_nothing:
            return None
        partition, end = self._assigned.partition, self._end(self._assigned.partition)
        for offset in range(self._assigned.offset, end):
            if at := self._broker.appended.get((partition, offset)):
                return SimpleNamespace(error=lambda: None, timestamp=lambda at=at: (1, round(at * 1000)))
        eof = KafkaError(KafkaError._PARTITION_EOF)
        return SimpleNamespace(error=lambda: eof, offset=lambda: end)


class Watched:
    def __init__(self) -> None:
        self.now, self.ours, self.broker = 1000.0, [0, 1], Broker()
        self.registry = CollectorRegistry()
        metrics = Metrics(self.registry)
        self.waits = Waits(metrics)
        self.positions = Positions(
            BrokerSettings(),
            metrics,
            self.waits,
            group_id="g",
            ours=lambda: self.ours,
            every_s=1.0,
            clock=lambda: self.now,
        )

    def look(self, now: float) -> None:
        self.now = now
        self.positions.look(Client(self.broker, decided=True), Client(self.broker, decided=False))

    def gauge(self, name: str) -> float:
        found = self.registry.get_sample_value(name)
        assert found is not None
        return found


@pytest.fixture
def watched():
    return Watched()


AGE = "planner_oldest_outcome_age_seconds"


def test_an_idle_planner_is_as_old_as_what_was_heard_last(watched):
    watched.look(1000)
    assert (watched.gauge(AGE), watched.gauge("planner_waiting_outcomes")) == (0, 0)
    watched.now = 1004
    assert (watched.gauge(AGE), watched.gauge("planner_caught_up_timestamp_seconds")) == (4, 1000)


def test_a_planner_that_is_stuck_or_lags_shows_an_age_that_grows(watched):
    watched.broker.marks[0] = (0, 10)
    watched.broker.progress = {0: 3}
    watched.broker.appended[0, 3] = 940.0
    for now, age in ((1000, 60), (1005, 65), (2000, 1060)):
        watched.look(now)
        assert watched.gauge(AGE) == age
    assert watched.broker.fetches == 1, "the same outcome is not fetched again"
    assert watched.gauge("planner_waiting_outcomes") == 7
    watched.broker.progress = {0: 10}
    watched.look(2001)
    assert watched.gauge(AGE) == 0


def test_a_partition_of_which_nothing_is_committed_waits_from_its_first_outcome_on(watched):
    watched.broker.marks[1] = (5, 8)
    watched.broker.appended[1, 5] = 990.0
    watched.look(1000)
    assert (watched.gauge(AGE), watched.gauge("planner_waiting_outcomes")) == (10, 3)


def test_marks_of_transactions_at_the_end_do_not_age_and_do_not_wait(watched):
    watched.broker.marks[1] = (0, 8)
    watched.broker.progress = {1: 7}
    for now in (1000, 1005, 1300):
        watched.look(now)
        assert (watched.gauge(AGE), watched.gauge("planner_waiting_outcomes")) == (0, 0)
    assert watched.broker.fetches == 1
    watched.broker.marks[1], watched.broker.appended[1, 8] = (0, 9), 1290.0
    watched.look(1301)
    assert (watched.gauge(AGE), watched.gauge("planner_waiting_outcomes")) == (11, 1)


def test_an_outcome_in_an_open_transaction_was_appended_and_is_not_planned(watched):
    watched.broker.marks[1] = (0, 8)
    watched.broker.progress = {1: 5}
    watched.broker.open_from = {1: 5}
    watched.broker.appended = {(1, 6): 980.0}
    for now in (1000, 1005):
        watched.look(now)
        assert watched.gauge("planner_caught_up_timestamp_seconds") == 980
        assert watched.gauge("planner_waiting_outcomes") == 3


def test_an_outcome_that_was_rolled_back_does_not_age(watched):
    watched.broker.marks[1] = (0, 8)
    watched.broker.progress = {1: 5}
    watched.broker.open_from = {1: 5}
    watched.broker.appended = {(1, 6): 980.0}
    watched.look(1000)
    watched.broker.open_from, watched.broker.appended = {}, {}
    watched.look(1005)
    assert (watched.gauge(AGE), watched.gauge("planner_waiting_outcomes")) == (0, 0)


def test_a_broker_that_gives_no_outcome_though_some_wait_is_not_heard(watched):
    watched.look(1000)
    watched.broker.marks[1], watched.broker.gives_nothing = (0, 8), True
    watched.look(1005)
    assert watched.waits.causes == ["broker"]
    assert watched.gauge("planner_caught_up_timestamp_seconds") == 1000


def test_a_broker_that_says_nothing_is_told_once_and_the_figures_stay_at_what_was_heard(watched):
    watched.look(1000)
    watched.broker.silent = True
    with structlog.testing.capture_logs() as logs:
        for now in (1005, 1010, 1300):
            watched.look(now)
        assert watched.waits.causes == ["broker"]
        assert (watched.gauge(AGE), watched.gauge("planner_broker_heard_timestamp_seconds")) == (300, 1000)
        watched.broker.silent = False
        watched.look(1301)
    assert [line["event"] for line in logs] == ["planner.waiting", "planner.resumed"]
    assert (watched.gauge(AGE), watched.waits.causes) == (0, [])


def test_an_operator_is_not_alarmed_by_a_planner_without_partitions(watched):
    watched.ours = []
    watched.look(1000)
    assert math.isnan(watched.gauge("planner_caught_up_timestamp_seconds"))
    assert math.isnan(watched.gauge(AGE))


def lost(watched) -> float:
    return watched.gauge("planner_lost_outcomes_total")


def test_P5_outcomes_that_retention_took_before_they_were_planned_are_one_error_line_and_a_counter(watched):
    watched.broker.marks[1] = (40, 50)
    watched.broker.progress = {1: 17}
    with structlog.testing.capture_logs() as logs:
        for now in (1000, 1005):
            watched.look(now)
        watched.positions.jumped(1, 17, 40)  # reading has seen the same
        watched.look(1010)
        watched.broker.marks[1] = (45, 50)
        watched.look(1015)
    told = [(line["topic"], line["partition"], line["first"], line["last"]) for line in logs]
    assert told == [("call-outcomes", 1, 17, 39), ("call-outcomes", 1, 40, 44)]
    assert lost(watched) == 28


def test_P5_a_gap_that_was_committed_over_before_anybody_looked_is_told_all_the_same(watched):
    watched.broker.marks[1] = (40, 50)
    watched.broker.progress = {1: 50}
    watched.positions.jumped(1, 17, 40)
    watched.look(1000)
    assert lost(watched) == 23


def test_marks_of_transactions_between_outcomes_are_no_loss(watched):
    watched.broker.marks[1] = (0, 50)
    watched.broker.progress = {1: 50}
    watched.positions.jumped(1, 17, 19)
    watched.look(1000)
    assert lost(watched) == 0


def test_it_ends_when_it_is_told_to(watched):
    watched.positions.stop.set()
    thread = watched.positions.start()
    thread.join(HANGS_AFTER_S)
    assert isinstance(thread, threading.Thread)
    assert not thread.is_alive()


def test_outcomes_that_are_lost_are_reported_once_however_the_loss_shows():
    lost = LostOutcomes()
    assert lost.news(0, 3, 9) == (3, 9)
    assert lost.news(0, 3, 9) is None
    assert lost.news(0, 8, 12) == (10, 12)
    assert lost.news(1, 8, 9) == (8, 9), "partitions are apart"
