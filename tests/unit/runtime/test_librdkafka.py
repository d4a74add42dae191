"""What a broker client says for every attempt is one state, and one line."""

from __future__ import annotations

import logging

from runtime.librdkafka_log import QUIET_S, OncePerState, client_log

REFUSED = (
    "FAIL [rdkafka#{client}] [thrd:{broker}/bootstrap]: {broker}/bootstrap: Connect to ipv4#{broker} failed: "
    "Connection refused (after {ms}ms in state CONNECT, {n} identical error(s) suppressed)"
)
CLOSED = "FAIL [rdkafka#producer-1] [thrd:b:9092/1]: b:9092/1: Disconnected: closed by peer (after 7ms in state UP)"


def record(text: str) -> logging.LogRecord:
    return logging.LogRecord("writer.librdkafka", logging.ERROR, "", 0, text, (), None)


def test_a_broker_that_is_away_is_one_line_whoever_says_it_how_often_and_of_which_broker() -> None:
    now = 0.0
    states = OncePerState(lambda: now)
    said = []
    for attempt in range(500):
        now += 7.0
        text = REFUSED.format(
            client=f"producer-{attempt % 3}", broker=f"10.0.0.{attempt % 4}:9092", ms=attempt % 5, n=attempt
        )
        said.append(states.filter(record(text)))
    assert said == [True] + [False] * 499
    assert states.filter(record(CLOSED)), "another state"


def test_a_state_that_was_over_is_said_again() -> None:
    now = 0.0
    states = OncePerState(lambda: now)
    assert states.filter(record(CLOSED))
    now = QUIET_S - 1
    assert not states.filter(record(CLOSED))
    now += QUIET_S
    assert states.filter(record(CLOSED))


def test_all_clients_of_a_service_share_what_was_said() -> None:
    assert client_log("another service") is client_log("another service")
    assert [type(each) for each in client_log("another service").filters] == [OncePerState]
