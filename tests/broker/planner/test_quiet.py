"""A healthy planner says nothing above info, however long it runs."""

import os
import time

from ops.demo.waiting import wait_until
from tests.broker.planner.conftest import PLANNER
from tests.broker.planner.kit import make_topics
from tests.integration.planner.harness import lost, outcomes, publish, rejected

_LONG = float(os.environ.get("WRITEBACK_QUIET_RUN_S", "0"))
"""Seconds of a run with Faust's own time limits of five minutes. Without it they are a second, and so is the run."""

_IMPATIENT = {} if _LONG else {"STREAM_PROCESSING_TIMEOUT": "1", "BROKER_COMMIT_LIVELOCK_SOFT_TIMEOUT": "1"}
"""Faust reads these from the environment; the code that complains is the same."""


def test_a_healthy_planner_says_nothing_above_info_with_traffic_and_without(kafka, start_planner):
    """`WRITEBACK_QUIET_RUN_S=400 pytest tests/broker/planner/test_quiet.py --timeout=900` is the same in real time."""
    prefix = make_topics(kafka, partitions=3)
    topic, given = prefix + "call-outcomes", []
    first = start_planner(prefix, "first")
    publish(kafka.bootstrap, outcomes(30), topic=topic)
    wait_until(lambda: not lost(kafka.bootstrap, outcomes(30), prefix=prefix), what="there are pins to recover")
    assert first.stop() == 0
    planner = start_planner(prefix, "planner", argv=PLANNER, **_IMPATIENT)  # one whose partitions got nothing yet
    began, looks = time.monotonic(), 0

    def looked_at_often_enough() -> bool:
        """Every 2.5 s Faust looks whether something hangs: in between all is idle, and now and then something comes."""
        nonlocal looks
        if time.monotonic() - began >= looks * max(2.5, _LONG / 8):
            looks += 1
            if looks in (3, 4):
                fresh = outcomes(5, start=1000 * looks, items=1)  # one partition; the others stay idle
                given.extend(fresh)
                publish(kafka.bootstrap, fresh, topic=topic)
        return looks > 8

    planner.wait_for(looked_at_often_enough, what="it has been looked at", seconds=max(120, 2 * _LONG))
    assert lost(kafka.bootstrap, given, prefix=prefix) == set()
    assert rejected(kafka.bootstrap, prefix=prefix) == []
    assert planner.stop() == 0
    assert [each for each in planner.events() if each["level"] != "info"] == []
    assert all(line.startswith("{") for line in planner.lines())
