"""P5: whatever happens between taking an outcome and committing it, it is planned in the end; P1: and only once.

Every fault here is first shown to lose outcomes on a naive agent, so that these tests are known to see a loss.
"""

import sys

import pytest

from ops.embedded_broker import ApiKey, Fault
from ops.waiting import wait_until
from tests.integration.planner.faulty import POINTS
from tests.integration.planner.harness import lost, outcomes, plans, planner_env, publish, ready
from tests.ports import free_ports

PACKAGE = "tests.integration.planner"


def faulty(point: str, *signal: str) -> list[str]:
    return [sys.executable, "-m", f"{PACKAGE}.faulty", point, *signal]


EXIT = {"SIGKILL": -9, "SIGTERM": 0, "exception": 70}
PLANNER = [sys.executable, "-m", "planner"]


def planned_all(bootstrap, given) -> bool:
    return len(plans(bootstrap)) >= len(given)


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
