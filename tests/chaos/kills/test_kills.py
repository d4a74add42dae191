"""Planner and writer, killed for real at each crash point and at random moments; the three logs are judged.

`KILLS` in the environment is how many, over all of these tests; `make prove` runs the release's count.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.chaos.kills.fleet import killed
from tests.proof.faults import CrashPoint
from tests.support.brokers.kafka import RealKafka
from tests.support.forkserver import ForkServer

FLEETS = 5
KILLS = int(os.environ.get("KILLS", "215"))


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("fleet", range(FLEETS))
def test_W1_W2_P1_P5_nothing_is_lost_or_doubled_by_a_kill_at_any_crash_point(
    forks: ForkServer, kafka: RealKafka, tmp_path: Path, fleet: int
) -> None:
    """Each crash point is reached in a real process, which dies there."""
    report = killed(forks, kafka, tmp_path, kills=KILLS // FLEETS, seed=fleet)
    assert report.findings == []
    assert len(report.done) == KILLS // FLEETS
    reached = {point for point in CrashPoint if any(f" {point}#" in each for each in report.done)}
    assert reached == set(CrashPoint)
