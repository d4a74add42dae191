"""A broker that goes away, or stands still, while a planner runs: what the planner says, and how it stops."""

import json
import re
import sys
import urllib.error

import pytest

from ops.demo.waiting import wait_until
from schemas.topics import Topics
from tests.integration.planner.harness import lost, outcomes, planner_env, publish, published, ready
from tests.integration.planner.test_planner_process import ask

PLANNER = [sys.executable, "-m", "planner"]
SOON = {"PLANNER_LOOK_EVERY_S": "0.5", "PLANNER_FOLLOW_EVERY_S": "0.5"}


def gauge(planner, name: str) -> float:
    return float(re.search(rf"^{re.escape(name)} (.*)$", ask(planner, "/metrics"), re.MULTILINE)[1])


def is_ready(planner) -> bool:
    try:
        return json.loads(ask(planner, "/ready"))["ok"]
    except urllib.error.HTTPError:
        return False


def misses_the_broker(planner) -> bool:
    return gauge(planner, 'planner_waiting{cause="broker"}') == 1


@pytest.fixture
def planning(embedded_kafka, make_service):
    """A planner that follows the planned topic all the time, and has planned something."""
    planner = make_service("planner", PLANNER, env=planner_env(embedded_kafka.bootstrap, **SOON)).start(ready)
    publish(embedded_kafka.bootstrap, outcomes(20))
    planner.wait_for(lambda: published(embedded_kafka.bootstrap) >= 20, what="it plans")
    return planner


def test_B2_a_planner_stops_while_the_broker_is_away_with_0_and_without_a_traceback(embedded_kafka, planning):
    embedded_kafka.broker_down()
    planning.wait_for(lambda: misses_the_broker(planning), what="it has noticed")
    assert planning.stop() == 0
    assert all(map(json.loads, planning.lines())), "of whatever client, on whatever stream"


def test_a_broker_that_dies_while_the_planner_follows_the_topic_ends_nothing(embedded_kafka, planning):
    embedded_kafka.broker_down()
    planning.wait_for(lambda: misses_the_broker(planning), what="it has noticed")
    librdkafka = [each for each in planning.events() if each["logger"] == "planner.librdkafka"]
    assert len({each["event"] for each in librdkafka}) == len(librdkafka) < 6, "one line per state"
    embedded_kafka.broker_up()
    publish(embedded_kafka.bootstrap, more := outcomes(20, start=20))
    planning.wait_for(lambda: not lost(embedded_kafka.bootstrap, more), what="it plans again", seconds=60)
    planning.wait_for(lambda: not misses_the_broker(planning), what="it hears the broker again")
    assert planning.stop() == 0


def test_a_frozen_broker_shows_in_readiness_log_and_figures(make_service, tmp_path):
    """Not one line was logged, and every figure stayed at its best."""
    topics = ",".join(f"{each.name}:3" for each in Topics().all())
    broker = make_service("broker", [sys.executable, "-m", "ops.demo.embedded_broker", "--topics", topics], env={})
    broker.start(lambda service: bool(service.lines()))
    bootstrap = broker.lines()[0]
    planner = make_service("planner", PLANNER, env=planner_env(bootstrap, **SOON)).start(ready)
    publish(bootstrap, outcomes(20))
    wait_until(lambda: gauge(planner, "planner_caught_up_timestamp_seconds") > 0, what="it has looked")
    broker.pause()
    planner.wait_for(lambda: misses_the_broker(planner), what="it has noticed", seconds=60)
    heard = gauge(planner, "planner_broker_heard_timestamp_seconds")
    age = gauge(planner, "planner_oldest_outcome_age_seconds")
    wait_until(lambda: gauge(planner, "planner_oldest_outcome_age_seconds") > age + 1, what="the age grows")
    assert gauge(planner, "planner_broker_heard_timestamp_seconds") == heard
    assert not is_ready(planner)
    assert [each["cause"] for each in planner.events(event="planner.waiting")] == ["broker"]
    broker.resume()
    planner.wait_for(lambda: not misses_the_broker(planner), what="it hears the broker again", seconds=60)
