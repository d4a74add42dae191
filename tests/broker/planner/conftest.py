"""A planner beside a real Kafka."""

import sys

import pytest

from tests.integration.planner.harness import planner_env, ready

PLANNER = [sys.executable, "-m", "planner"]


@pytest.fixture
def start_planner(kafka, make_service):
    """`start(prefix, name, argv=…, until=…, **settings)`; it is not waited for if `until` is None."""

    def start(prefix: str, name: str = "planner", *, argv=PLANNER, until=ready, **settings: str):
        given = {
            "checked": True,
            "prefix": prefix,
            "PLANNER_SESSION_TIMEOUT_S": "6",
            "PLANNER_HEARTBEAT_INTERVAL_S": "1.5",
        }
        return make_service(name, argv, env=planner_env(kafka.bootstrap, **given | settings)).start(until)

    return start
