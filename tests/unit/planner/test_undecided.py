"""A planner waits for what is undecided about its partitions, and says so once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
import structlog
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from prometheus_client import CollectorRegistry

from planner.kafka import undecided
from planner.kafka.undecided import UndecidedOffsets
from planner.metrics import Metrics
from planner.waiting import Waits
from runtime.connection import BrokerSettings


class Client:
    """Answers `committed` with the errors that the test lists, one each time, and then with none."""

    errors: ClassVar[Iterator[int]] = iter(())
    asked: ClassVar[list[tuple[Any, list[TopicPartition]]]] = []
    closed: ClassVar[int] = 0

    def __init__(self, config: dict[str, Any], logger: Any) -> None:
        self._config = config

    def committed(self, places: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        Client.asked.append((self._config, places))
        for error in Client.errors:
            raise KafkaException(KafkaError(error))
        return places

    def close(self) -> None:
        Client.closed += 1


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Waits:
    monkeypatch.setattr(undecided, "Consumer", Client)
    Client.asked, Client.closed, Client.errors = [], 0, iter(())
    return Waits(Metrics(CollectorRegistry()))


def an_undecided(waits: Waits) -> UndecidedOffsets:
    broker = BrokerSettings(bootstrap_servers="localhost:9")
    return UndecidedOffsets(broker, waits, group_id="planners", within_s=60)


def test_P5_it_is_asked_for_what_will_be_committed_once_all_transactions_have_ended(waits: Waits) -> None:
    assert an_undecided(waits)([0, 2]) == ()
    [(config, places)] = Client.asked
    assert (config["group.id"], config["isolation.level"]) == ("planners", "read_committed")
    assert [(place.topic, place.partition) for place in places] == [("call-outcomes", 0), ("call-outcomes", 2)]
    assert Client.closed == 1
    assert waits.causes == []


def test_P5_without_an_answer_it_waits_and_says_for_what_once(waits: Waits) -> None:
    Client.errors = iter([KafkaError._TIMED_OUT, KafkaError._TIMED_OUT])
    ask = an_undecided(waits)
    with structlog.testing.capture_logs() as logs:
        assert ask([0, 1]) == [0, 1]
        assert ask([0, 1]) == [0, 1]
        assert waits.causes == ["offsets"]
        assert ask([0, 1]) == ()
    assert [(line["event"], line["cause"]) for line in logs] == [
        ("planner.waiting", "offsets"),
        ("planner.resumed", "offsets"),
    ]
    assert "within 60 s" in logs[0]["problem"]
    assert Client.closed == 3
    assert waits.causes == []


def test_whatever_else_is_wrong_is_left_to_the_consumer_that_reads(waits: Waits) -> None:
    Client.errors = iter([KafkaError.GROUP_AUTHORIZATION_FAILED])
    assert an_undecided(waits)([0]) == ()
    assert waits.causes == []
