"""Calls into librdkafka that end the process by SIGSEGV, without a word to whoever runs it, are not made."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops.demo.embedded_broker import ApiKey, EmbeddedBroker, Fault
from ops.settings import Settings
from ops.view.logs import Logs
from runtime.broker import BrokerUnavailable
from runtime.connection import BrokerSettings

ROOT = Path(__file__).parents[3]
CALLS = {
    "list_consumer_group_offsets": "crashes when the group's coordinator answers that it is not, as while it moves "
    "(librdkafka issue 5040); ask with a consumer of that group, which joins nothing: `Consumer.committed`",
}


@pytest.mark.parametrize("call", CALLS)
def test_nobody_makes_a_call_that_crashes(call: str) -> None:
    folders = [ROOT / each for each in ("planner", "writer", "runtime", "ops", "simulator", "bench", "tests")]
    callers = [path for each in folders for path in each.rglob("*.py") if f".{call}(" in path.read_text()]
    assert callers == [], CALLS[call]


def test_an_operators_command_outlives_a_group_that_moves_to_another_broker() -> None:
    with EmbeddedBroker({"plans": 1}) as broker:
        broker.push_errors(ApiKey.OFFSET_FETCH, Fault.NOT_COORDINATOR)
        logs = Logs(Settings(broker=BrokerSettings(bootstrap_servers=broker.bootstrap)))
        with pytest.raises(BrokerUnavailable, match="Not coordinator"):
            logs.offsets("writeback-writer", "plans", [0])
        assert logs.offsets("writeback-writer", "plans", [0]) == []
