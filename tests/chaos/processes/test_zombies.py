"""SIGSTOP at four points past the session timeout, newer plans of the same queue items meanwhile, SIGCONT.

`ZOMBIES` in the environment is how many; `make prove` runs the release's count.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.chaos.processes.fleet import slept_side_by_side
from tests.support.brokers.kafka import RealKafka
from tests.support.forkserver import ForkServer

ZOMBIES = int(os.environ.get("ZOMBIES", "20"))


@pytest.mark.timeout(1200)
def test_W2_W4_a_writer_that_slept_past_its_session_changes_nothing_that_it_has_lost(
    forks: ForkServer, kafka: RealKafka, tmp_path: Path
) -> None:
    report = slept_side_by_side(forks, kafka, tmp_path, zombies=ZOMBIES, seed=0)
    assert report.findings == []
    assert len(report.done) == ZOMBIES
