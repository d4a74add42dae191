"""P5: whatever happens between taking an outcome and committing it, it is planned in the end; P1: and only once.

Every fault happens to a naive agent as well, which has to lose outcomes or to plan them twice: so these tests are known
to see it. Where a naive agent gets away, its parameter says so.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ops.demo.embedded_broker import ApiKey, Fault
from ops.demo.processes import Service
from schemas.topics import Topics
from tests.integration.planner.faulty import POINTS
from tests.integration.planner.harness import (
    CONTROL,
    committed,
    lost,
    outcomes,
    planner_env,
    plans,
    publish,
    published,
    read,
)
from tests.support.ports import free_ports

PACKAGE = "tests.integration.planner"
EXIT = {"SIGKILL": -9, "SIGTERM": 0, "exception": 70}
PLANNER = [sys.executable, "-m", "planner"]
NAIVE_TABLE = "writeback-planner-pins-changelog"


@dataclass(frozen=True)
class Agent:
    """An agent in which a trap is set: where it is taken from, and what else it is told."""

    module: str
    env: dict[str, str] = field(default_factory=dict)

    def argv(self, point: str, signal: str) -> list[str]:
        return [sys.executable, "-m", f"{PACKAGE}.{self.module}", point, *([] if signal == "exception" else [signal])]


OURS, NAIVE = Agent("faulty"), Agent("naive")
SLOW = Agent("naive", {"NAIVE_SLOWNESS_S": "60"})
PATIENT = Agent("naive", {"NAIVE_PATIENT": "yes", "NAIVE_SLOWNESS_S": "0.5"})
WITH_PINS = Agent("naive", {"NAIVE_PINS": "6", "NAIVE_PATIENT": "yes"})
BOTH = [pytest.param(OURS, id="ours"), pytest.param(NAIVE, id="naive", marks=CONTROL)]


@pytest.fixture
def start(embedded_kafka, make_service):
    def start(agent: Agent, point: str, signal: str, **settings: str) -> Service:
        settings = {"PLANNER_BATCH_SIZE": "20", **agent.env, **settings}
        if agent is not OURS:
            settings["NAIVE_WEB_PORT"] = str(free_ports(1)[0])
        env = planner_env(embedded_kafka.bootstrap, **settings)
        return make_service(f"{agent.module}-{point}", agent.argv(point, signal), env=env).start()

    return start


def everything_is_committed(bootstrap: str) -> bool:
    return committed(bootstrap) >= published(bootstrap, "call-outcomes")


@pytest.fixture
def missing_in_the_end(embedded_kafka, make_service) -> Callable[..., set[str]]:
    """What has neither plan nor rejection when a sound planner has taken over and committed everything."""

    def missing_in_the_end(given) -> set[str]:
        bootstrap = embedded_kafka.bootstrap
        sound = make_service("sound", PLANNER, env=planner_env(bootstrap)).start()
        sound.wait_for(lambda: everything_is_committed(bootstrap), what="the sound planner has seen everything")
        assert {len(each) for each in plans(bootstrap).values()} == {1}
        return lost(bootstrap, given)

    return missing_in_the_end


def until_it_is_over(service: Service, bootstrap: str, *, ends: int | None) -> None:
    """It ends as it has to; or, if it does not end by itself, it goes on until everything is committed."""
    if ends is not None:
        assert service.wait() == ends, service.tail()
        return
    service.wait_for(lambda: everything_is_committed(bootstrap), what="everything is committed")
    service.stop()


NAIVELY = [
    # Whatever it waits for, it is cut off there, and Faust acknowledges what it had in hand.
    (SLOW, "SIGTERM", "taken", True),
    (SLOW, "SIGTERM", "decided", True),
    # Faust is right if it waits for its streams before a stop, for as long as that takes, while the broker is there.
    (PATIENT, "SIGTERM", "decided", False),
    # Committed before it was sent, to a slow broker. Killed before that it loses nothing, since nothing is committed.
    (NAIVE, "SIGKILL", "committed", True),
    (NAIVE, "exception", "taken", True),
    (NAIVE, "exception", "decided", True),
]


@pytest.mark.parametrize(
    ("agent", "signal", "points", "loses"),
    [
        *(pytest.param(OURS, signal, POINTS, False, id=f"ours-{signal}") for signal in EXIT),
        *(
            pytest.param(
                agent,
                signal,
                (point,),
                loses,
                id=f"{'patient' if agent is PATIENT else 'naive'}-{signal}-{point}",
                marks=CONTROL,
            )
            for agent, signal, point, loses in NAIVELY
        ),
    ],
)
def test_P5_nothing_is_lost_at_any_point_between_taking_and_committing(
    embedded_kafka, start, missing_in_the_end, agent, signal, points, loses
):
    bootstrap, given = embedded_kafka.bootstrap, []
    # An exception cannot come from where nothing of ours runs.
    points = [each for each in points if signal != "exception" or each not in ("before-commit", "committed")]
    if agent is NAIVE:
        embedded_kafka.delay_answers(ApiKey.PRODUCE, *[500] * 50)
    for number, point in enumerate(points):
        given += (fresh := outcomes(60, start=number * 60, items=1 if agent is NAIVE else 10))
        service = start(agent, point, signal)
        publish(bootstrap, fresh)
        goes_on = signal == "exception" and agent is not OURS
        until_it_is_over(service, bootstrap, ends=None if goes_on else EXIT[signal])
    embedded_kafka.clear_errors(ApiKey.PRODUCE)
    assert bool(missing_in_the_end(given)) is loses


def stopped(service: Service) -> bool:
    return " T " in Path(f"/proc/{service.pid}/stat").read_text()


@pytest.fixture
def about_to_publish(embedded_kafka, start):
    def about_to_publish(agent: Agent, given, **settings: str) -> Service:
        service = start(agent, "decided", "SIGSTOP", **settings)
        publish(embedded_kafka.bootstrap, given)
        service.wait_for(lambda: stopped(service), what="a batch is decided")
        return service

    return about_to_publish


@pytest.mark.parametrize("agent", BOTH)
def test_P5_a_plan_that_the_broker_refuses_ends_the_process_and_is_planned_after_a_restart(
    embedded_kafka, about_to_publish, missing_in_the_end, agent
):
    service = about_to_publish(agent, given := outcomes(60))
    embedded_kafka.push_errors(ApiKey.PRODUCE, *[Fault.TOPIC_AUTHORIZATION_FAILED] * 50)
    service.resume()
    until_it_is_over(service, embedded_kafka.bootstrap, ends=78 if agent is OURS else None)
    if agent is OURS:
        (said,) = service.events(event="planner.misconfigured")
        assert "--operation Write --topic planned-writebacks (TOPIC_AUTHORIZATION_FAILED)" in said["problem"]
        assert service.events(event="planner.hard_exit")[0]["message"] == said["problem"]
    embedded_kafka.clear_errors(ApiKey.PRODUCE)
    assert bool(missing_in_the_end(given)) is (agent is NAIVE)


@pytest.mark.parametrize("agent", BOTH)
def test_P5_a_broker_that_is_gone_for_longer_than_the_delivery_timeout_loses_nothing(
    embedded_kafka, about_to_publish, missing_in_the_end, agent
):
    # The naive one has to keep its place in the group, or it would be given everything again.
    lasting = {} if agent is OURS else {"PLANNER_SESSION_TIMEOUT_S": "80"}
    service = about_to_publish(agent, given := outcomes(60), PLANNER_DELIVERY_TIMEOUT_S="1", **lasting)
    embedded_kafka.broker_down()
    service.resume()
    if agent is OURS:
        service.wait_for(lambda: service.has_written("the broker does not acknowledge plans"), what="it waits")
        assert all(map(json.loads, service.lines()))  # of whatever client, on whatever stream
    else:
        service.wait_for(lambda: service.has_written("a send failed"), what="it has given up sending")
    embedded_kafka.broker_up()
    if agent is NAIVE:
        until_it_is_over(service, embedded_kafka.bootstrap, ends=None)
    assert bool(missing_in_the_end(given)) is (agent is NAIVE)


def end(service: Service, agent: Agent) -> None:
    """Ours may be killed at any time; a naive one sends what it holds, and its table, while it stops."""
    if agent is OURS:
        service.kill()
    else:
        assert service.stop() == 0


@pytest.mark.parametrize(
    ("agent", "signal", "doubles"),
    [
        *(pytest.param(OURS, signal, False, id=f"ours-{signal}") for signal in EXIT),
        # It has nothing to recover from.
        pytest.param(NAIVE, "SIGKILL", True, id="naive-SIGKILL", marks=CONTROL),
        # With a table of Faust's: that keeps what it could not apply and tries again.
        pytest.param(WITH_PINS, "exception", False, id="table-exception"),
    ],
)
def test_P1_a_recovery_that_was_interrupted_forgets_no_pin(start_embedded_kafka, make_service, agent, signal, doubles):
    kafka = start_embedded_kafka({each.name: 6 for each in Topics().all()} | {NAIVE_TABLE: 6})
    bootstrap, given = kafka.bootstrap, outcomes(300)

    def run(name: str, point: str, signal: str) -> Service:
        env = planner_env(bootstrap, **agent.env, NAIVE_WEB_PORT=str(free_ports(1)[0]))
        return make_service(name, agent.argv(point, signal), env=env).start()

    publish(bootstrap, given)
    first = run("first", "nowhere", "SIGKILL")
    first.wait_for(lambda: everything_is_committed(bootstrap), what="every outcome is planned")
    end(first, agent)
    if agent is not NAIVE:
        last = run("interrupted", "recovering", signal)
    if agent is OURS:
        assert last.wait() == EXIT[signal]
    publish(bootstrap, [*given, *outcomes(10, start=300)])
    if agent is not WITH_PINS:
        last = run("again", "nowhere", "SIGKILL")
    last.wait_for(lambda: everything_is_committed(bootstrap), what="the new outcomes are planned")
    end(last, agent)
    assert (len(read(bootstrap, "planned-writebacks")) > 310) is doubles
    assert len(plans(bootstrap)) == 310
