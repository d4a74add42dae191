"""A planner that slept past its session wakes up with a batch in hand. Real processes, stopped for real."""

import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from ops.demo.waiting import wait_until
from schemas.codec import single_object
from schemas.records import PlannedWriteback
from tests.broker.planner.conftest import PLANNER
from tests.broker.planner.kit import make_topics
from tests.integration.planner.harness import CODEC, lost, outcomes, publish, read, rejected

ASLEEP = [sys.executable, "-m", "tests.broker.planner.asleep"]
PLANS = single_object(PlannedWriteback)


def stopped(service) -> bool:
    return " T " in Path(f"/proc/{service.pid}/stat").read_text()


def planned_in_order(kafka, prefix: str) -> list[str]:
    """The sessions whose plans stand on the topic, in its order."""
    return [PLANS.decode(each.value()).session_id for each in read(kafka.bootstrap, prefix + "planned-writebacks")]


@pytest.mark.parametrize("place", ["decided", "told"])
def test_P1_a_planner_that_slept_publishes_nothing_behind_the_plans_of_the_one_that_took_over(
    kafka, start_planner, place
):
    """Its copies would stay on the compacted topic in place of the right ones, behind younger plans of the item."""
    prefix = make_topics(kafka, partitions=1)
    topic = prefix + "call-outcomes"
    timing = {"PLANNER_DELIVERY_TIMEOUT_S": "8"}  # so long may its transaction stay open
    sleeper = start_planner(prefix, "sleeper", argv=[*ASLEEP, place], PLANNER_INSTANCE_ID="sleeper", **timing)
    publish(kafka.bootstrap, first := outcomes(10, items=1), topic=topic)
    sleeper.wait_for(lambda: stopped(sleeper), what="it sleeps with a batch in hand")
    other = start_planner(prefix, "other", argv=PLANNER, PLANNER_INSTANCE_ID="other", until=None)
    publish(kafka.bootstrap, then := outcomes(25, start=10, items=1), topic=topic)
    sessions = [each.session_id for each in first + then]
    wait_until(lambda: planned_in_order(kafka, prefix) == sessions, what="the other one has planned all", seconds=120)
    sleeper.resume()
    given = first + then + outcomes(5, start=35, items=1)
    publish(kafka.bootstrap, given[35:], topic=topic)

    wait_until(lambda: has_done_with_its_batch(sleeper), what="the sleeper has done with its batch", seconds=120)
    wait_until(lambda: not lost(kafka.bootstrap, given, prefix=prefix), what="all are planned", seconds=60)
    assert planned_in_order(kafka, prefix) == [each.session_id for each in given]
    assert rejected(kafka.bootstrap, prefix=prefix) == []
    assert other.is_running


def has_done_with_its_batch(sleeper) -> bool:
    """Given it up, ended for it, or published it."""
    return any(sleeper.events(event=event) for event in ("batch.abandoned", "planner.hard_exit", "batch.planned"))


@pytest.mark.parametrize("place", ["decided", "told"])
def test_P5_P6_a_planner_that_is_killed_with_a_batch_in_hand_plans_and_rejects_each_outcome_once(
    kafka, start_planner, place
):
    """Plans, rejections and progress stand together or not at all, as a reader of committed records sees them."""
    prefix = make_topics(kafka, partitions=1)
    killed = start_planner(prefix, "killed", argv=[*ASLEEP, place], PLANNER_INSTANCE_ID="one")
    bad = [replace(each, ended_at=each.started_at - timedelta(hours=1)) for each in outcomes(10, start=10, items=1)]
    publish(kafka.bootstrap, given := outcomes(10, items=1) + bad, topic=prefix + "call-outcomes")
    killed.wait_for(lambda: stopped(killed), what="it sleeps with a batch in hand")
    killed.kill()
    start_planner(prefix, "again", argv=PLANNER, PLANNER_INSTANCE_ID="one")
    wait_until(lambda: not lost(kafka.bootstrap, given, prefix=prefix), what="all are decided", seconds=120)
    assert planned_in_order(kafka, prefix) == [each.session_id for each in given[:10]]
    assert [each.value() for each in rejected(kafka.bootstrap, prefix=prefix)] == [CODEC.encode(each) for each in bad]
