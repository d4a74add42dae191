"""What Prometheus is told from the start."""

import re
from pathlib import Path
from typing import get_args

from prometheus_client import CollectorRegistry, generate_latest

from planner.core.rejection_reasons import REASONS
from planner.metrics import Cause, Metrics

PLANNER = Path(__file__).parents[3] / "planner"


def test_every_reason_has_a_counter_from_the_start():
    """Or the first rejection of a kind would be no increase."""
    sources = [path.read_text() for path in PLANNER.rglob("*.py") if path.name != "rejections.py"]
    codes = {code for source in sources for code in re.findall(r'Reason\(\s*"(\w+)"', source)}
    assert codes <= set(REASONS), codes - set(REASONS)
    registry = CollectorRegistry()
    Metrics(registry)
    text = generate_latest(registry).decode()
    for reason in REASONS:
        assert f'planner_rejections_total{{reason="{reason}"}} 0.0' in text
    for outcome in ("planned", "duplicate", "rejected"):
        assert f'planner_outcomes_total{{outcome="{outcome}"}} 0.0' in text
    for cause in get_args(Cause):
        assert f'planner_waiting{{cause="{cause}"}} 0.0' in text
    assert "process_start_time_seconds" in text
