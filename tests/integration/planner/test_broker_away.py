"""A broker that goes away, or stands still, while a planner runs: what the planner says, and how it stops."""

import json
import re
import sys
import urllib.error

import pytest

from ops.demo.embedded_broker import ApiKey, Fault
from ops.demo.waiting import wait_until
from schemas.topics import Topics
from tests.integration.planner.harness import committed, lost, outcomes, planner_env, plans, publish, published, ready
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


def test_P5_a_broker_that_fails_in_its_own_code_ends_nothing(embedded_kafka, make_service, planning):
    """As it does for a moment without space on its disk: at a commit, and when a planner joins, which then stood still
    for ever."""
    broker = embedded_kafka.bootstrap
    planning.wait_for(lambda: committed(broker) == 20, what="it commits")
    embedded_kafka.push_errors(ApiKey.OFFSET_COMMIT, *([Fault.UNKNOWN] * 3))
    publish(broker, outcomes(20))  # all planned before: no transaction takes these offsets along
    planning.wait_for(lambda: committed(broker) == 40, what="it commits after all")
    assert planning.stop() == 0
    embedded_kafka.push_errors(ApiKey.JOIN_GROUP, Fault.UNKNOWN)
    embedded_kafka.push_errors(ApiKey.SYNC_GROUP, Fault.UNKNOWN)
    second = make_service("second", PLANNER, env=planner_env(broker, **SOON)).start(ready)
    publish(broker, more := outcomes(20, start=20))
    second.wait_for(lambda: not lost(broker, more), what="the next one plans")
    assert second.stop() == 0


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


IMPATIENT = {**SOON, "PLANNER_DELIVERY_TIMEOUT_S": "1"}
"""The broker's silence outlasts the delivery timeout at once."""


def acknowledges_nothing(planner) -> bool:
    return gauge(planner, 'planner_waiting{cause="publish"}') == 1


@pytest.mark.parametrize("then", ["refuses", "is gone"])
def test_P5_a_broker_that_stays_away_past_the_delivery_timeout_is_waited_for(embedded_kafka, make_service, then):
    """The figures stay up, readiness and one line say what it waits for, and it goes on by itself."""
    bootstrap = embedded_kafka.bootstrap
    env = planner_env(bootstrap, **IMPATIENT, PLANNER_SESSION_TIMEOUT_S="20")  # the pause must not cost its partitions
    planner = make_service("planner", PLANNER, env=env).start(ready)
    publish(bootstrap, given := outcomes(200))
    wait_until(lambda: published(bootstrap) >= 200, what="it plans")
    planner.pause()
    publish(bootstrap, more := outcomes(200, start=200))
    embedded_kafka.push_errors(ApiKey.PRODUCE, *[Fault.NOT_ENOUGH_REPLICAS] * 100_000)
    planner.resume()
    planner.wait_for(lambda: acknowledges_nothing(planner), what="it waits for acknowledgements")
    if then == "is gone":
        embedded_kafka.broker_down()
        planner.wait_for(lambda: misses_the_broker(planner), what="it has noticed that the broker is gone")
    age = gauge(planner, "planner_oldest_outcome_age_seconds")
    wait_until(lambda: gauge(planner, "planner_oldest_outcome_age_seconds") > age + 5, what="several timeouts pass")
    assert acknowledges_nothing(planner)
    assert not is_ready(planner)
    embedded_kafka.clear_errors(ApiKey.PRODUCE)
    if then == "is gone":
        embedded_kafka.broker_up()
    planner.wait_for(lambda: not lost(bootstrap, given + more), what="it plans again")
    wait_until(lambda: is_ready(planner), what="it is ready again")
    assert [each["cause"] for each in planner.events(event="planner.waiting")].count("publish") == 1
    assert all(len(of_session) == 1 for of_session in plans(bootstrap).values())
    assert planner.stop() == 0


def test_B2_a_planner_stops_while_it_waits_for_acknowledgements(embedded_kafka, make_service):
    bootstrap = embedded_kafka.bootstrap
    planner = make_service("planner", PLANNER, env=planner_env(bootstrap, **IMPATIENT)).start(ready)
    planner.pause()
    publish(bootstrap, given := outcomes(20))
    embedded_kafka.push_errors(ApiKey.PRODUCE, *[Fault.NOT_ENOUGH_REPLICAS] * 100_000)
    planner.resume()
    planner.wait_for(lambda: acknowledges_nothing(planner), what="it waits for acknowledgements")
    assert planner.stop() == 0
    embedded_kafka.clear_errors(ApiKey.PRODUCE)
    planner.start(ready)
    planner.wait_for(lambda: not lost(bootstrap, given), what="nothing was committed past")
