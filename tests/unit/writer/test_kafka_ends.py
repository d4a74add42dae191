"""Where logs end, as the broker says it: a question that is lost does not keep the next ones from being asked."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import OFFSET_INVALID, KafkaError, KafkaException

from writer.kafka.log_ends import ANEW_AFTER_S, LogEnds


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


def test_a_question_without_an_answer_in_time_is_no_news_though_librdkafka_does_not_call_it_an_error(
    broker: Broker,
) -> None:
    """A writer that was cut off said that it heard the broker and had caught up."""
    broker.ask()
    answer(broker.clients[0][0][0], OFFSET_INVALID)
    assert broker.heard == []
    broker.now = ANEW_AFTER_S
    broker.ask()
    assert len(broker.clients) == 2


def test_without_any_answer_a_new_client_asks_and_the_broker_is_heard_again(broker: Broker) -> None:
    """What the old one knows may be wrong for minutes after a broker was killed, and its question may be lost."""
    broker.ask()
    broker.now = ANEW_AFTER_S - 0.1
    broker.ask()
    assert len(broker.clients) == 1
    broker.now = ANEW_AFTER_S
    broker.ask()
    assert [len(asked) for asked in broker.clients] == [1, 1]
    answer(broker.clients[1][0][0], 9)
    assert broker.heard == [{0: 9}]


def test_errors_do_not_keep_a_client_and_answers_do(broker: Broker) -> None:
    for step in range(4):
        broker.now = step * ANEW_AFTER_S / 2
        broker.ask()
        answer(broker.clients[-1][-1][0], step)
    assert len(broker.clients) == 1
    for step in range(4, 7):
        broker.now = step * ANEW_AFTER_S / 2
        broker.ask()
        broker.clients[-1][-1][0].set_exception(KafkaException(KafkaError(KafkaError.LEADER_NOT_AVAILABLE)))
    assert len(broker.clients) == 2


def test_W4_a_client_that_is_out_of_date_is_replaced_with_the_next_question(broker: Broker) -> None:
    """Nothing of a partition is begun before its end is known, and its broker may just have been started again."""
    broker.ask()
    broker.clients[0][0][0].set_exception(KafkaException(KafkaError(KafkaError.FENCED_LEADER_EPOCH)))
    broker.ask()
    assert [len(asked) for asked in broker.clients] == [1, 1]
    answer(broker.clients[1][0][0], 9)
    broker.ask()
    assert broker.heard == [{0: 9}]
    assert [len(asked) for asked in broker.clients] == [1, 2]


def test_W4_a_client_that_never_answers_about_one_partition_is_replaced(broker: Broker) -> None:
    """The other partitions' leaders answer."""
    for step in range(5):
        broker.now = step * ANEW_AFTER_S / 4
        broker.ends.ask([0, 1], lambda ends, _at: broker.heard.append(dict(ends)))
        answer(broker.clients[-1][-1][0], step)
        broker.clients[-1][-1][1].set_exception(KafkaException(KafkaError(KafkaError.LEADER_NOT_AVAILABLE)))
    assert broker.heard == [{0: step} for step in range(5)]
    assert len(broker.clients) == 2


def test_an_answer_that_an_old_client_gives_late_is_no_news(broker: Broker) -> None:
    broker.ask()
    broker.now = ANEW_AFTER_S
    broker.ask()
    answer(broker.clients[0][0][0], 5)
    broker.ask()
    assert broker.heard == []
    assert [len(asked) for asked in broker.clients] == [1, 1]
