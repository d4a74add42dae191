"""Two planners, three writers, six partitions, and something breaks every eight seconds; then everything heals.

`LONG_RUNS` in the environment is how many, `LONG_RUN_S` how long each is; `make prove` runs the release's count.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.processes.lines import Lined, lined_kafka
from tests.chaos.processes.long_run import EVERY_S, FAULTS, long_run
from tests.support.brokers.kafka import RealKafka
from tests.support.forkserver import ForkServer

LONG_RUNS = int(os.environ.get("LONG_RUNS", "3"))
LONG_RUN_S = float(os.environ.get("LONG_RUN_S", "60"))
_FAULTS = int(LONG_RUN_S * 0.75 / EVERY_S)


@pytest.fixture(scope="module")
def lined(kafka: RealKafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lined]:
    if kafka.source != "maven":
        pytest.skip("only a broker that this machine starts can be reached over lines that are cut")
    with lined_kafka(tmp_path_factory.mktemp("lined")) as broker:
        yield broker


@pytest.mark.timeout(1200 + 2 * LONG_RUN_S)
@pytest.mark.parametrize("seed", range(LONG_RUNS))
def test_W1_W2_W4_P1_P5_nothing_is_lost_or_doubled_while_something_breaks_all_the_time(
    forks: ForkServer, lined: Lined, tmp_path: Path, seed: int
) -> None:
    report = long_run(forks, lined, tmp_path / "run", seed=seed, seconds=LONG_RUN_S)
    assert report.findings == []
    assert len(report.done) == _FAULTS


def test_the_long_runs_of_a_test_run_meet_every_fault() -> None:
    assert 3 * int(60 * 0.75 / EVERY_S) >= len(FAULTS)
