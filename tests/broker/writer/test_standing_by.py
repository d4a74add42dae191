"""More writers than partitions: those without stand by. They are ready, so a rollout goes on, and take over."""

from __future__ import annotations

import json
import urllib.error

import pytest

from ops.demo.processes import Service
from ops.demo.waiting import wait_until
from tests.broker.writer.conftest import PARTITIONS, Writers, prefix_of
from tests.integration.planner.test_planner_process import ask
from tests.integration.writer.kit import Topic


def is_ready(writer: Service) -> bool:
    if not writer.has_written('"endpoint.listening"'):
        return False
    try:
        return bool(json.loads(ask(writer, "/ready"))["ok"])
    except urllib.error.HTTPError:
        return False


def has_partitions(writer: Service) -> bool:
    (line,) = (line for line in ask(writer, "/metrics").splitlines() if line.startswith("writeback_assigned_part"))
    return float(line.split()[1]) > 0


@pytest.mark.parametrize("protocol", ["consumer", "classic"])
def test_a_writer_without_partitions_is_ready_says_that_it_stands_by_and_takes_over(
    topic: Topic, writers: Writers, protocol: str
) -> None:
    all_writers = [
        writers(f"writer-{number}", prefix_of(topic), WRITER_CONSUMER__PROTOCOL=protocol)
        for number in range(PARTITIONS + 1)
    ]
    for writer in all_writers:
        writer.start()
    wait_until(lambda: all(map(is_ready, all_writers)), what="every writer is ready")
    wait_until(
        lambda: any(writer.events(event="writer.standing_by") for writer in all_writers),
        what="the one without partitions says so",
    )
    wait_until(lambda: sum(map(has_partitions, all_writers)) == PARTITIONS, what="each partition is somebody's")
    (spare,) = (writer for writer in all_writers if not has_partitions(writer))
    assert is_ready(spare)
    assert len(spare.events(event="writer.standing_by")) == 1
    assert next(writer for writer in all_writers if has_partitions(writer)).stop() == 0
    spare.wait_for(lambda: has_partitions(spare), what="it takes over")
