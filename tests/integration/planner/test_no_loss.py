"""P5: whatever happens between taking an outcome and committing it, it is planned in the end; P1: and only once.

Every fault here is first shown to lose outcomes on a naive agent, so that these tests are known to see a loss.
"""

import sys
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition

from ops.embedded_broker import ApiKey, Fault
from ops.processes import Service
from ops.waiting import wait_until
from tests.integration.planner.faulty import POINTS
from tests.integration.planner.harness import lost, outcomes, planner_env, plans, publish, published
from tests.ports import free_ports

PACKAGE = "tests.integration.planner"


def faulty(point: str, *signal: str) -> list[str]:
    return [sys.executable, "-m", f"{PACKAGE}.faulty", point, *signal]


EXIT = {"SIGKILL": -9, "SIGTERM": 0, "exception": 70}
PLANNER = [sys.executable, "-m", "planner"]


def planned_all(bootstrap, given) -> bool:
    return published(bootstrap) >= len(given) and len(plans(bootstrap)) >= len(given)


def finish_with_a_sound_planner(make_service, bootstrap, given, **settings) -> None:
    make_service("sound", PLANNER, env=planner_env(bootstrap, **settings)).start()
    wait_until(lambda: planned_all(bootstrap, given), what="every outcome is planned", seconds=30)
    assert lost(bootstrap, given) == set()
    assert {len(each) for each in plans(bootstrap).values()} == {1}


@pytest.mark.parametrize("signal", ["SIGKILL", "SIGTERM", "exception"])
def test_P5_nothing_is_lost_at_any_point_between_taking_and_committing(embedded_kafka, make_service, signal):
    given = []
    # An exception cannot come from where nothing of ours runs.
    points = [point for point in POINTS if (signal, point) != ("exception", "before-commit")]
    for number, point in enumerate(points):
        fresh = outcomes(60, start=number * 60)
        given += fresh
        argv = faulty(point) if signal == "exception" else faulty(point, signal)
        env = planner_env(embedded_kafka.bootstrap, PLANNER_BATCH_SIZE="20")
        service = make_service(f"dies-{point}", argv, env=env).start()
        publish(embedded_kafka.bootstrap, fresh)
        assert service.wait(seconds=20) == EXIT[signal], service.tail()
    finish_with_a_sound_planner(make_service, embedded_kafka.bootstrap, given)


def stopped(service: Service) -> bool:
    return " T " in Path(f"/proc/{service.pid}/stat").read_text()


def test_P5_a_plan_that_the_broker_refuses_ends_the_process_and_is_planned_after_a_restart(
    embedded_kafka, make_service
):
    given = outcomes(60)
    env = planner_env(embedded_kafka.bootstrap, PLANNER_BATCH_SIZE="20")
    service = make_service("refused", faulty("decided", "SIGSTOP"), env=env).start()
    publish(embedded_kafka.bootstrap, given)
    service.wait_for(lambda: stopped(service), what="a batch is decided")
    embedded_kafka.push_errors(ApiKey.PRODUCE, *[Fault.TOPIC_AUTHORIZATION_FAILED] * 50)
    service.resume()
    assert service.wait() == 70
    assert service.events(event="planner.hard_exit")[0]["message"] == "TOPIC_AUTHORIZATION_FAILED"
    embedded_kafka.clear_errors(ApiKey.PRODUCE)
    finish_with_a_sound_planner(make_service, embedded_kafka.bootstrap, given)


def test_P5_a_broker_that_is_gone_for_longer_than_the_delivery_timeout_loses_nothing(embedded_kafka, make_service):
    given = outcomes(60)
    env = planner_env(embedded_kafka.bootstrap, PLANNER_BATCH_SIZE="20", PLANNER_DELIVERY_TIMEOUT_S="1")
    service = make_service("alone", faulty("decided", "SIGSTOP"), env=env).start()
    publish(embedded_kafka.bootstrap, given)
    service.wait_for(lambda: stopped(service), what="a batch is decided")
    embedded_kafka.broker_down()
    service.resume()
    assert service.wait() == 70
    embedded_kafka.broker_up()
    finish_with_a_sound_planner(make_service, embedded_kafka.bootstrap, given)


@pytest.mark.parametrize("signal", ["SIGKILL", "SIGTERM", "exception"])
def test_P1_a_recovery_that_was_interrupted_forgets_no_pin(embedded_kafka, make_service, signal):
    bootstrap, given = embedded_kafka.bootstrap, outcomes(300)
    publish(bootstrap, given)
    first = make_service("first", PLANNER, env=planner_env(bootstrap)).start()
    first.wait_for(lambda: planned_all(bootstrap, given), what="every outcome is planned")
    first.kill()
    argv = faulty("recovering") if signal == "exception" else faulty("recovering", signal)
    assert make_service("interrupted", argv, env=planner_env(bootstrap)).start().wait() == EXIT[signal]
    publish(bootstrap, given)
    publish(bootstrap, more := outcomes(10, start=300))
    make_service("sound", PLANNER, env=planner_env(bootstrap)).start()
    wait_until(lambda: planned_all(bootstrap, given + more), what="the new outcomes are planned", seconds=30)
    assert sum(len(each) for each in plans(bootstrap).values()) == 310
    assert published(bootstrap) == 310


class TestTheNaiveAgent:
    """What the recipe protects from: each of these is red on an agent that plans, sends and goes on."""

    @pytest.fixture
    def lost_by(self, embedded_kafka, make_service):
        def lost_by(fault: str, meanwhile=lambda service: None) -> set[str]:
            bootstrap, given = embedded_kafka.bootstrap, outcomes(40)
            env = planner_env(bootstrap, NAIVE_WEB_PORT=str(free_ports(1)[0]))
            naive = make_service("naive", [sys.executable, "-m", f"{PACKAGE}.naive", fault], env=env).start()
            publish(bootstrap, given)
            meanwhile(naive)
            done = "all is committed, or the process ended"
            wait_until(lambda: not naive.is_running or committed(bootstrap) >= len(given), what=done, seconds=30)
            naive.kill()
            sound = make_service("sound", PLANNER, env=planner_env(bootstrap)).start()
            publish(bootstrap, marker := outcomes(1, start=999))
            sound.wait_for(lambda: not lost(bootstrap, marker), what="the sound planner has gone on")
            return lost(bootstrap, given)

        return lost_by

    def test_P5_loses_what_raised_an_exception(self, lost_by):
        assert lost_by("exception")

    def test_P5_loses_what_the_broker_refused(self, lost_by, embedded_kafka):
        def refuse(naive):
            naive.wait_for(lambda: stopped(naive), what="it is about to send")
            embedded_kafka.push_errors(ApiKey.PRODUCE, *[Fault.TOPIC_AUTHORIZATION_FAILED] * 30)
            naive.resume()
            wait_until(lambda: committed(embedded_kafka.bootstrap) >= 40, what="it has committed", seconds=30)
            embedded_kafka.clear_errors(ApiKey.PRODUCE)

        assert lost_by("SIGSTOP", refuse)

    def test_P5_loses_what_was_on_its_way_when_it_was_killed(self, lost_by):
        assert lost_by("SIGKILL")


def committed(bootstrap: str) -> int:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "writeback-planner"})
    try:
        wish = [TopicPartition("call-outcomes", partition) for partition in range(6)]
        return sum(max(each.offset, 0) for each in consumer.committed(wish, timeout=5))
    finally:
        consumer.close()
