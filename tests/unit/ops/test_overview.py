"""What the state of the system is called, in words and as an exit code, from counts alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ops.core.counting import number_of
from ops.core.health import CheckResult, is_well, service_finding, summary
from ops.core.overview import Backlog, Overview
from ops.core.rendering import line
from ops.core.story import of_plan

WAITS = {"status": "queued", "reason": None, "sessions": 1, "opt_outs_open": 1, "unsettled": 1, "oldest_ms": 0}
IDLE = Overview(0, (), None, Backlog(0, None), rejected_opt_outs=0, rejected=0, planner_runs=True, writer_runs=True)
QUEUED = replace(IDLE, rows=(WAITS,), oldest_unsettled_ms=0)
UNPLANNED = replace(IDLE, outcomes=Backlog(2, 0))


@pytest.mark.parametrize(
    ("found", "stopped"),
    [
        (IDLE, False),
        (replace(IDLE, planner_runs=False, writer_runs=False), False),
        (QUEUED, False),
        (replace(QUEUED, writer_runs=None), False),
        (replace(QUEUED, writer_runs=False), True),
        (replace(QUEUED, planner_runs=False), False),
        (UNPLANNED, False),
        (replace(UNPLANNED, planner_runs=False), True),
        (replace(UNPLANNED, planner_runs=False, outcomes=Backlog(2, None)), False),
    ],
)
def test_a_service_that_is_stopped_with_work_before_it_needs_a_person(found: Overview, stopped: bool) -> None:
    assert found.stopped_with_work is stopped
    assert found.needs_a_person() is stopped


def test_a_service_that_does_not_run_is_named_whether_it_has_work_or_not() -> None:
    said = line(replace(QUEUED, writer_runs=False), None)
    assert "1 session. planner: caught up; writer: 1 unsettled, oldest 0 s, NO WRITER IS RUNNING;" in said
    assert "planner: caught up, NO PLANNER IS RUNNING;" in line(replace(IDLE, planner_runs=False), None)
    assert "RUNNING" not in line(replace(IDLE, writer_runs=None), None)


def test_doctor_says_of_a_service_whether_it_runs_and_finds_fault_only_if_something_waits() -> None:
    found = {
        (runs, waits): service_finding("writer", runs=runs, waits=waits).verdict
        for runs in (True, False, None)
        for waits in (True, False)
    }
    assert [each for each, verdict in found.items() if verdict is CheckResult.WRONG] == [(False, True)]
    assert [each for each, verdict in found.items() if verdict is CheckResult.NOT_CHECKED] == [
        (None, True), (None, False),
    ]  # fmt: skip
    wrong = service_finding("writer", runs=False, waits=True)
    assert not is_well([wrong])
    assert summary([wrong]).startswith("1 thing would stop")
    assert summary([wrong, wrong]).startswith("2 things would stop")


def test_counts_are_in_the_right_number() -> None:
    assert [number_of(each, "session") for each in (0, 1, 1_000)] == ["0 sessions", "1 session", "1,000 sessions"]
    assert number_of(2, "reply", "replies") == "2 replies"


def test_what_an_operator_sent_is_told_in_words() -> None:
    row = {
        "mapping": "m", "digest": None, "asked": "accepted-etag", "requeues": 0, "retired_ms": None, "plan_ms": 1,
        "plan_partition": 0, "plan_offset": 3,
    }  # fmt: skip
    assert of_plan(row, "plans").what == (
        "sent again by an operator, to be applied onto the row that they had seen (resolve --apply)"
    )
