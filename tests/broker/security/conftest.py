"""Services as processes on a real Kafka with ACLs, each with a user of its own."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ops.demo.processes import Service, module
from ops.demo.waiting import wait_until
from simulator.testing import RunningSimulator, running_simulator
from tests.integration.planner.harness import planner_env
from tests.integration.writer.kit import writer_env
from tests.support.brokers.guarded import GuardedUser, create_topics
from tests.support.brokers.kafka import RealKafka

PARTITIONS = 2
READY = {"planner": '"planner.ready"', "writer": '"partitions.assigned"'}

Start = Callable[..., Service]


@pytest.fixture(scope="module")
def simulator() -> Iterator[RunningSimulator]:
    with running_simulator(auth="none") as simulator:
        yield simulator


@pytest.fixture
def prefix(kafka: RealKafka) -> str:
    if kafka.secure is None:
        pytest.skip("the broker was given by address: whether it has ACLs is not known")
    return create_topics(kafka, PARTITIONS)


@pytest.fixture
def run(kafka: RealKafka, simulator: RunningSimulator, make_service: Callable[..., Service]) -> Start:
    """`run("planner", prefix, user)`: the service, not started yet; more settings as keywords."""
    made: list[Service] = []

    def make(kind: str, prefix: str, user: GuardedUser | None, **settings: str) -> Service:
        broker = user.environment(f"{kind.upper()}_") if user else {}
        if kind == "planner":
            env = planner_env(kafka.bootstrap, checked=True, prefix=prefix, **broker)
        else:
            env = writer_env(
                simulator, kafka.bootstrap,
                WRITER_BROKER__TOPIC_PREFIX=prefix, WRITER_CONSUMER__SESSION_TIMEOUT_MS="6000",
                **{"WRITER_BROKER__CHECK_TOPIC_POLICIES": "true", **broker},
            )  # fmt: skip
        service = make_service(f"{kind}-{len(made)}", module(kind), env={**env, **settings})
        made.append(service)
        return service

    return make


def started(service: Service, kind: str) -> Service:
    return service.start(lambda running: running.has_written(READY[kind]))


def refusal(service: Service) -> tuple[int, list[dict[str, Any]]]:
    """How a service ended that should not start: its exit code, and the errors in its log, every line of which is
    JSON."""
    code = service.start().wait(seconds=60)
    lines = [json.loads(line) for line in service.lines()]
    return code, [line for line in lines if line["level"] in ("error", "critical")]


def readiness(service: Service) -> tuple[int, dict[str, Any]]:
    """Status and body of /ready."""
    port = service.events(event="endpoint.listening")[-1]["port"]
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def wait_for_readiness(service: Service, status: int) -> dict[str, Any]:
    """The body of the first answer with that status."""
    found = wait_until(
        lambda: (answer := readiness(service))[0] == status and answer, what=f"/ready says {status}", every=0.2
    )
    assert found
    return found[1]
