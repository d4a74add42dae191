"""The bench measures what it says, here at a small size: a change of a service cannot break its figures unseen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench import planner, writer
from bench.figures import Figure
from tests.support.brokers.kafka import RealKafka


def assert_measured(figures: Sequence[Figure], at_least: int) -> None:
    assert len(figures) >= at_least
    assert [figure.name for figure in figures if not math.isfinite(figure.value) or figure.value < 0] == []


def test_the_planners_rates_and_its_peers_are_measured(
    kafka: RealKafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planner, "OUTCOMES", 2_000)
    assert_measured(planner.rates(kafka, tmp_path), at_least=6)


def test_the_planners_start_with_many_pins_and_its_way_back_from_a_kill_are_measured(
    kafka: RealKafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planner, "PINS", 500)
    starts = planner.million_pins(kafka, tmp_path)
    assert [figure.note for figure in starts if figure.note] == [
        "500 records read",
        "500 records read",
        "0 records read",
    ]
    assert_measured([*starts, planner.after_a_kill(kafka, tmp_path)], at_least=10)


def test_the_writers_figures_without_limits_are_measured(kafka: RealKafka) -> None:
    loop = writer.plain_loop(kafka.bootstrap, sessions=5)
    figures = {
        figure.name: figure.value
        for figure in [
            *writer.idle(kafka.bootstrap, sessions=4),
            *writer.backlog(kafka.bootstrap, loop, sessions=300),
            *writer.killed(kafka.bootstrap, sessions=900),
        ]
    }
    assert loop > 0
    assert 1 <= figures["idle: CRM requests per session"] < 2, "one, and what a busy machine has not counted yet"
    assert figures["backlog: extra rows"] == figures["extra rows after SIGKILL"] == 0
    assert figures["backlog: CRM requests per session"] < 1
