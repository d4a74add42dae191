"""What Prometheus is told from the start."""

import re
from pathlib import Path
from typing import get_args

from prometheus_client import CollectorRegistry, generate_latest

from planner.core.rejection_reasons import REASONS
from planner.metrics import Cause, Metrics

ROOT = Path(__file__).parents[3]
PLANNER = ROOT / "planner"


def test_every_reason_has_a_counter_from_the_start():
    """Or the first rejection of a kind would be no increase."""
    codes = {code for path in PLANNER.rglob("*.py") for code in re.findall(r'Reason\(\s*"(\w+)"', path.read_text())}
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


def test_every_metric_is_on_the_page_of_the_planner():
    registry = CollectorRegistry()
    Metrics(registry)
    page = (ROOT / "docs" / "planner.md").read_text()
    ending = {"counter": "_total", "info": "_info"}
    named = {
        family.name + ending.get(family.type, "") for family in registry.collect() if family.name.startswith("planner_")
    }
    assert len(named) > 15
    on_the_page = set(re.findall(r"`(planner_\w+)", page))
    assert named <= on_the_page, named - on_the_page
