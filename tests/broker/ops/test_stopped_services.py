"""A service that does not run is seen, on a broker that lists its groups."""

from __future__ import annotations

import json

import pytest

from ops.demo.waiting import wait_until
from simulator.testing import RunningSimulator
from tests.broker.writer.conftest import Writers, prefix_of
from tests.integration.ops.kit import writeback
from tests.integration.writer.kit import Desk, Topic, seed_item

SERVICES = ("doctor", "--only", "services", "--json")


def test_a_stopped_writer_with_work_waiting_needs_a_person_and_is_named(
    simulator: RunningSimulator, topic: Topic, writers: Writers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WRITEBACK_BROKER__TOPIC_PREFIX", prefix_of(topic))
    assert (writeback("status").code, writeback(*SERVICES).code) == (0, 0), "nothing waits for them"
    plan = Desk(simulator).plan(seed_item(simulator))
    topic.publish(plan)
    status = writeback("status")
    assert (status.code, "writer: 1 unsettled" in status.out) == (1, True)
    assert "NO WRITER IS RUNNING" in status.out
    assert writeback("status", "--json").json[0]["writer_runs"] is False
    doctor = writeback(*SERVICES)
    assert doctor.code == 1
    assert "no writer is running, and records wait for one: start it" in [each.get("text") for each in doctor.json]
    shown = writeback("resolve", plan.session_id)
    assert (shown.code, "no writer is running now: start one" in shown.err) == (1, True)

    writer = writers("writer-0", prefix_of(topic)).start()
    wait_until(lambda: writeback("list", "--unsettled", "--json").out == "", what="it is settled")
    status = writeback("status")
    assert (status.code, "writer: caught up;" in status.out) == (0, True), "it runs, and nothing waits"
    assert json.dumps(writeback(*SERVICES).json).count("a writer is running") == 1
    assert writer.stop() == 0
    stopped = writeback("status")
    assert (stopped.code, "writer: caught up, NO WRITER IS RUNNING" in stopped.out) == (0, True)
