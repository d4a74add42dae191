"""P5: outcomes that retention took before they were planned are not passed over in silence."""

import re

from ops.demo.waiting import wait_until
from tests.broker.planner.kit import make_topics
from tests.integration.planner.harness import lost, outcomes, publish
from tests.integration.planner.test_planner_process import ask

SOON = {"PLANNER_LOOK_EVERY_S": "0.3"}


def count(planner, name: str) -> float:
    return float(re.search(rf"^{name} (.*)$", ask(planner, "/metrics"), re.MULTILINE)[1])


def test_P5_outcomes_that_went_while_no_planner_ran_are_told_with_partition_and_range_and_counted(kafka, start_planner):
    prefix = make_topics(kafka, partitions=1)
    topic, group = prefix + "call-outcomes", prefix + "writeback-planner"
    first = start_planner(prefix, "first")
    publish(kafka.bootstrap, given := outcomes(5), topic=topic)
    wait_until(lambda: not lost(kafka.bootstrap, given, prefix=prefix), what="the first ones are planned")
    wait_until(lambda: kafka.lag(group, topic) == 0, what="and committed")
    assert first.stop() == 0
    publish(kafka.bootstrap, outcomes(20, start=5), topic=topic)
    kafka.delete_records(topic, 0, 12)
    second = start_planner(prefix, "second", **SOON)
    wait_until(lambda: not lost(kafka.bootstrap, outcomes(13, start=12), prefix=prefix), what="the rest is planned")
    second.wait_for(lambda: bool(second.events(event="outcomes.lost")), what="the gap is told")
    (line,) = second.events(event="outcomes.lost")
    assert (line["level"], line["topic"], line["partition"]) == ("error", topic, 0)
    assert (line["first"], line["last"]) == (5, 11)
    assert count(second, "planner_lost_outcomes_total") == 7
    assert second.stop() == 0
