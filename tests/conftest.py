"""Fixtures of every tier: the embedded broker, a real Kafka, a real schema registry; and the tiers' markers."""

import contextlib
import gc
import hashlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from ops.demo.embedded_broker import EmbeddedBroker
from schemas.topics import Topics
from tests.support.brokers import shared
from tests.support.brokers.kafka import RealKafka
from tests.support.brokers.registry import RealRegistry
from tests.support.brokers.servers import SecureListener
from tests.support.gate import pytest_runtest_protocol, pytest_sessionstart  # noqa: F401 - pytest takes hooks from here
from tests.support.logs import logging_as_it_was
from tests.support.processes import Service

# No test depends on how long it takes: a busy machine is not a mistake.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

_TIERS_BY_FOLDER = {"broker", "chaos"}
EMBEDDED_PARTITIONS = 6


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        shared.begin_run()


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        shared.end_run()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests under tests/broker/ are the broker tier, those under tests/chaos/ are chaos. All are mixed."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here) and (tier := item.path.relative_to(here).parts[0]) in _TIERS_BY_FOLDER:
            item.add_marker(tier)
    items.sort(key=_mixed)


def _mixed(item: pytest.Item) -> bytes:
    """Files in an order of their own, the same in every worker: those that wait for processes are spread among those
    that compute, from the first minute on. In the order of folders they would be left for the end, and wait alone.
    """
    return hashlib.sha256(item.nodeid.partition("::")[0].encode()).digest()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Shows what tests measured, no matter how output is captured: record_property("measured", "…")."""
    lines = [
        str(value)
        for outcome in ("passed", "failed")
        for report in terminalreporter.getreports(outcome)
        if report.when == "call"
        for name, value in report.user_properties
        if name == "measured"
    ]
    if lines:
        terminalreporter.section("measured")
        for line in lines:
            terminalreporter.write_line(line)


def pytest_collection_finish() -> None:
    """What is there now stays: the collector need not look at it again, for each test that has something collected."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def nothing_left_open() -> Iterator[None]:
    """A socket or file that a module leaves open is reported there, and not in the next test that collects garbage."""
    yield
    gc.collect()


@pytest.fixture(autouse=True)
def logs() -> Iterator[None]:
    """A test that sets up logs as a service does leaves them as it found them, wherever in the run it stands."""
    with logging_as_it_was():
        yield


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Async tests run on asyncio, as the services do."""
    return "asyncio"


@pytest.fixture(scope="session")
def kafka() -> Iterator[RealKafka]:
    """A real Apache Kafka, shared by the whole run; started when the first test asks for it."""
    facts = real_server("kafka")
    secure = SecureListener(**facts["secure"]) if facts.get("secure") else None
    broker = RealKafka(facts["bootstrap"], secure, facts["source"])
    yield broker
    if broker.source == "given":
        broker.remove_created()


@pytest.fixture(scope="session")
def schema_registry() -> Iterator[RealRegistry]:
    """A real schema registry that speaks Confluent's API, shared by the whole run."""
    registry = RealRegistry(**real_server("registry"))
    with registry.client:
        yield registry


@pytest.fixture
def start_embedded_kafka() -> Iterator[Callable[..., EmbeddedBroker]]:
    """Starts an EmbeddedBroker with the given arguments; all are closed when the test ends."""
    with contextlib.ExitStack() as running:

        def start(topics: Mapping[str, int], **arguments: int) -> EmbeddedBroker:
            return running.enter_context(EmbeddedBroker(topics, **arguments))

        yield start


@pytest.fixture
def embedded_kafka(start_embedded_kafka: Callable[..., EmbeddedBroker]) -> EmbeddedBroker:
    """An embedded broker of the test's own with the project's topics, 6 partitions each."""
    return start_embedded_kafka({topic.name: EMBEDDED_PARTITIONS for topic in Topics().all()})


@pytest.fixture
def make_service(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Makes processes, not started yet: `make_service("writer", module("writer"), env={...}).start(ready)`.

    All are killed when the test ends. If it failed, the end of what each wrote is in the report.
    """
    services: dict[str, Service] = {}

    def make(name: str, argv: Sequence[str], *, env: Mapping[str, str]) -> Service:
        assert name not in services, f"there is a service {name} already"
        services[name] = Service(argv, env=env, output=tmp_path / f"{name}.log")
        return services[name]

    yield make
    for name, service in services.items():
        service.kill()
        sys.stdout.write(f"--- {name} wrote last:\n{service.tail()}\n")


def real_server(name: str) -> dict[str, Any]:
    """The server's facts; skips the test, or fails it under CI, if there is none."""
    answer = shared.obtain(name)
    if "error" in answer:
        pytest.fail(answer["error"], pytrace=False)
    if "absent" in answer:
        (pytest.fail if answer["fails"] else pytest.skip)(answer["absent"])
    facts: dict[str, Any] = answer["facts"]
    return facts
