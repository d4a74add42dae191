"""One simulator per test process; every test finds it as it was at the start."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from ops.demo.waiting import HANGS_AFTER_S
from simulator.testing import RunningSimulator, running_simulator
from tests.contract.simulator.support import BatchBody


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSimulator]:
    tls = tmp_path_factory.mktemp("tls")
    with running_simulator(auth="none", limits={"enabled": False}, tls_dir=tls) as simulator:
        yield simulator


@pytest.fixture
def simulator(running: RunningSimulator) -> Iterator[RunningSimulator]:
    """The shared simulator, fresh: rows, tables, switches, faults and privileges as at the start."""
    core = running.endpoints.simulator
    running.call(lambda s: s.organization.log.clear())
    before = running.call(lambda s: s.snapshot())
    tables = dict(core.organization.schema.by_name)
    switches = core.organization.switches
    yield running

    def reset(s: Any) -> None:
        for table in list(s.organization.schema.by_name):
            if table not in tables:
                s.organization.schema.drop(table)
        for table in tables.values():
            s.organization.schema.put(table)
        s.organization.switches = switches
        s.organization.denied.clear()
        s.organization.permitted.clear()
        s.organization.withheld.clear()
        s.organization.duplicate_rules.clear()
        s.gate.delegates.clear()
        s.rules.clear()
        s.restore(before)

    running.call(reset)


@pytest.fixture
def client(simulator: RunningSimulator) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{simulator.api_url}/", timeout=HANGS_AFTER_S) as client:
        yield client


@pytest.fixture
def batch() -> BatchBody:
    return BatchBody()
