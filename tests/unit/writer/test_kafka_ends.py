"""Where logs end, as the broker says it: a question that is lost does not keep the next ones from being asked."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from writer.kafka_ends import LOST_AFTER_S, LogEnds


class Broker:
    """Clients of it, each with the questions that it was asked; time passes when it is told to."""

    def __init__(self) -> None:
        self.clients: list[list[dict[int, Future[Any]]]] = []
        self.now = 0.0
        self.heard: list[dict[int, int]] = []
        self.ends = LogEnds({}, "plans", connect=self._connect, clock=lambda: self.now)

    def _connect(self, _config: Mapping[str, Any]) -> Any:
        asked: list[dict[int, Future[Any]]] = []
        self.clients.append(asked)

        def list_offsets(question: Mapping[Any, Any], **_how: Any) -> dict[Any, Future[Any]]:
            answers: dict[Any, Future[Any]] = {part: Future() for part in question}
            asked.append({part.partition: answer for part, answer in answers.items()})
            return answers

        return SimpleNamespace(list_offsets=list_offsets)

    def ask(self) -> None:
        self.ends.ask([0], lambda ends, _at: self.heard.append(dict(ends)))


def answer(future: Future[Any], offset: int) -> None:
    future.set_result(SimpleNamespace(offset=offset))


@pytest.fixture
def broker() -> Broker:
    return Broker()


def test_one_question_at_a_time(broker: Broker) -> None:
    broker.ask()
    broker.ask()
    assert len(broker.clients[0]) == 1
    answer(broker.clients[0][0][0], 7)
    broker.ask()
    assert len(broker.clients[0]) == 2
    assert broker.heard == [{0: 7}]


def test_an_error_is_no_news_and_the_next_question_may_be_asked(broker: Broker) -> None:
    broker.ask()
    broker.clients[0][0][0].set_exception(KafkaException(KafkaError(KafkaError._TIMED_OUT)))
    broker.ask()
    assert broker.heard == []
    assert len(broker.clients[0]) == 2


def test_a_question_that_is_lost_is_asked_again_by_a_new_client(broker: Broker) -> None:
    """A broker that was away is heard again when it is back, whatever became of the question that it went away with."""
    broker.ask()
    broker.now = LOST_AFTER_S - 0.1
    broker.ask()
    assert len(broker.clients) == 1
    broker.now = LOST_AFTER_S
    broker.ask()
    assert [len(asked) for asked in broker.clients] == [1, 1]
    answer(broker.clients[1][0][0], 9)
    assert broker.heard == [{0: 9}]


def test_an_answer_that_comes_late_does_not_end_a_younger_question(broker: Broker) -> None:
    broker.ask()
    broker.now = LOST_AFTER_S
    broker.ask()
    answer(broker.clients[0][0][0], 5)
    broker.ask()
    assert [len(asked) for asked in broker.clients] == [1, 1]
