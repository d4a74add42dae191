"""Several writers with one application user: none knows of the others, and all get through."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ops.demo.embedded_broker import EmbeddedBroker
from ops.demo.processes import Service, module
from schemas.topics import Topics
from simulator.limits import Limits
from simulator.testing import RunningSimulator, running_simulator
from tests.integration.writer.kit import Desk, Topic, seed_item, writer_env
from tests.support.checker import findings

MOST = 8
STRICT = Limits(requests=80, window_seconds=10, dop_hint=4)
"""The strictest the simulator has: every request while told to wait lengthens the wait of all."""


@pytest.fixture
def strict() -> Iterator[RunningSimulator]:
    with running_simulator(auth="none", limits=STRICT) as simulator:
        yield simulator


@pytest.fixture
def topic(start_embedded_kafka: Callable[..., EmbeddedBroker]) -> Topic:
    """With a partition for each of the writers."""
    broker = start_embedded_kafka({topic.name: MOST for topic in Topics().all()}, session_timeout_ms=1_500)
    return Topic(broker.bootstrap, MOST)


@pytest.mark.parametrize("count", [2, 3, MOST])
def test_real_writers_that_share_a_user_get_through_together_after_a_429(
    count: int, strict: RunningSimulator, topic: Topic, tmp_path: Path
) -> None:
    desk = Desk(strict)
    plans = [desk.plan(seed_item(strict)) for _ in range(60)]
    strict.fault(when={"path": r"\$batch"}, do=[{"kind": "throttle", "facet": "requests", "seconds": 5.0}])
    topic.publish(*plans)
    settings = writer_env(
        strict,
        topic.bootstrap,
        WRITER_IDENTITIES=json.dumps([{"kind": "none"}]),
        WRITER_DATAVERSE__MAX_REQUESTS=str(STRICT.requests),
        WRITER_DATAVERSE__LIMIT_WINDOW_S=str(STRICT.window_seconds),
        WRITER_FLOW__MAX_PLANS_PER_REQUEST="1",
    )
    writers = [Service(module("writer"), env=settings, output=tmp_path / f"writer-{n}") for n in range(count)]
    for writer in writers:
        writer.start()
    try:
        topic.wait_for_committed(len(plans), seconds=300)
    finally:
        for writer in writers:
            writer.stop()
    assert findings(strict.oplog(), plans, topic.results()) == []
