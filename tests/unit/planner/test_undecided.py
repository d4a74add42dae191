"""A planner waits for what is undecided about its partitions, and says so once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import structlog
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from prometheus_client import CollectorRegistry

from planner.kafka import undecided
from planner.kafka.undecided import UndecidedOffsets
from planner.metrics import Metrics
from planner.waiting import Waits
from runtime.connection import BrokerSettings


class Broker:
    """Answers with these errors, one each time, and then with none. Its clients are made with `client`."""

    def __init__(self, *errors: int) -> None:
        self.errors = list(errors)
        self.asked: list[tuple[str, int]] = []
        self.configs: list[dict[str, Any]] = []
        self.open_clients = 0

    def client(self, config: dict[str, Any], logger: Any) -> Broker:
        self.configs.append(config)
        self.open_clients += 1
        return self

    def committed(self, places: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        self.asked += [(place.topic, place.partition) for place in places]
        if self.errors:
            raise KafkaException(KafkaError(self.errors.pop(0)))
        return places

    def close(self) -> None:
        self.open_clients -= 1


class Setup:
    def __init__(self, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(undecided, "Consumer", broker.client)
        self.waits = Waits(Metrics(CollectorRegistry()))
        settings = BrokerSettings(bootstrap_servers="localhost:9")
        self.offsets = UndecidedOffsets(settings, self.waits, group_id="planners", within_s=60)


async def test_P5_it_is_asked_for_what_will_be_committed_once_all_transactions_have_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    setup = Setup(broker := Broker(), monkeypatch)
    await setup.offsets.wait([0, 2])
    [config] = broker.configs
    assert (config["group.id"], config["isolation.level"]) == ("planners", "read_committed")
    assert broker.asked == [("call-outcomes", 0), ("call-outcomes", 2)]
    assert broker.open_clients == 0


async def test_P5_without_an_answer_it_waits_and_says_for_what_once(monkeypatch: pytest.MonkeyPatch) -> None:
    setup = Setup(broker := Broker(KafkaError._TIMED_OUT, KafkaError._TIMED_OUT), monkeypatch)
    with structlog.testing.capture_logs() as logs:
        await setup.offsets.wait([0])
    assert [(line["event"], line["cause"]) for line in logs] == [
        ("planner.waiting", "offsets"),
        ("planner.resumed", "offsets"),
    ]
    assert "within 60 s" in logs[0]["problem"]
    assert (len(broker.asked), broker.open_clients, setup.waits.causes) == (3, 0, [])


async def test_a_rebalance_that_comes_between_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may leave this planner without partitions, and then nobody waits for anything."""
    setup = Setup(Broker(*[KafkaError._TIMED_OUT] * 100_000), monkeypatch)
    waiting = asyncio.create_task(setup.offsets.wait([0]))
    while setup.waits.causes != ["offsets"]:  # noqa: ASYNC110  it begins in the task, and tells nobody
        await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert setup.waits.causes == []


async def test_whatever_else_is_wrong_is_left_to_the_consumer_that_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    setup = Setup(broker := Broker(KafkaError.GROUP_AUTHORIZATION_FAILED), monkeypatch)
    with structlog.testing.capture_logs() as logs:
        await setup.offsets.wait([0])
    assert logs == []
    assert len(broker.asked) == 1
