"""A port that somebody else has: both services name it, and end with the code of a setting to correct."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from simulator.testing import RunningSimulator
from tests.integration.planner.harness import planner_env
from tests.integration.writer.kit import Topic, writer_env
from tests.support.processes import Service, module

MISCONFIGURED = 78


@pytest.mark.parametrize("kind", ["planner", "writer"])
def test_a_service_whose_port_is_taken_says_so_and_ends_with_78(
    make_service: Callable[..., Service], simulator: RunningSimulator, topic: Topic, kind: str
) -> None:
    env = planner_env(topic.bootstrap) if kind == "planner" else writer_env(simulator, topic.bootstrap)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        service = make_service(kind, module(kind), env=env | {f"{kind.upper()}_ENDPOINT_PORT": str(port)}).start()
        assert service.wait() == MISCONFIGURED
    assert service.has_written(f"cannot listen on 127.0.0.1 port {port}")
    assert not service.has_written("Traceback")
