"""Programs of call systems on a real Kafka, beside the simulator, a planner and a writer."""

from __future__ import annotations

from tests.broker.ops.conftest import _reaches_the_broker
from tests.broker.writer.conftest import simulator, topic, writers

__all__ = ["_reaches_the_broker", "simulator", "topic", "writers"]
