"""What a writer's process says when the broker goes away: JSON, line by line, and nothing beside it."""

from __future__ import annotations

import json
from pathlib import Path

from ops.demo.embedded_broker import EmbeddedBroker
from ops.demo.processes import Service, module
from ops.demo.waiting import wait_until
from simulator.testing import RunningSimulator
from tests.integration.writer.kit import Desk, Topic, seed_item, writer_env


def test_every_line_of_a_writer_without_its_broker_is_json(
    simulator: RunningSimulator, embedded: EmbeddedBroker, desk: Desk, topic: Topic, tmp_path: Path
) -> None:
    env = writer_env(simulator, embedded.bootstrap, WRITER_FLOW__STOP_WITHIN_S="0.1")
    writer = Service(module("writer"), env=env, output=tmp_path / "output")
    try:
        writer.start()
        topic.publish(desk.plan(seed_item(simulator)))
        topic.wait_for_committed(1)
        embedded.broker_down()
        wait_until(
            lambda: any('"logger": "writer.librdkafka"' in line for line in writer.lines()),
            what="librdkafka to tell of the broker",
        )  # fmt: skip
        embedded.broker_up()
        assert writer.stop() == 0
    finally:
        writer.kill()

    lines = [json.loads(line) for line in writer.lines()]
    told = [line for line in lines if line["logger"] == "writer.librdkafka"]
    assert {line["level"] for line in told} <= {"warning", "error"}
    assert all("rdkafka#" in line["event"] for line in told), "which of our clients it was"
