"""Planner and writer, killed for real at each crash point and at random moments; the three logs are judged.

`KILLS` in the environment is how many, over all of these tests; `make prove` runs the release's count.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.chaos.processes.fleet import killed
from tests.chaos.processes.kills import deal
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
    kills = KILLS // FLEETS + (fleet < KILLS % FLEETS)
    report = killed(forks, kafka, tmp_path, kills=kills, seed=fleet)
    assert report.findings == []
    assert sorted(report.done) == sorted(str(kill) for kill in deal(kills, fleet))


@pytest.mark.parametrize("fleet", range(FLEETS))
def test_a_fleet_of_the_usual_size_kills_at_every_crash_point(fleet: int) -> None:
    assert {kill.point for kill in deal(43, fleet)} == {*CrashPoint, None}


def test_fleets_with_few_kills_take_different_crash_points() -> None:
    dealt = [{kill.point for kill in deal(5, fleet)} - {None} for fleet in range(FLEETS)]
    assert {len(points) for points in dealt} == {3}
    assert len(set[CrashPoint | None]().union(*dealt)) > 3
