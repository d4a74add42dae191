"""What a plan knows of earlier sessions of its queue item: results and the row, never a guess. Real writer processes.

Each case is one that reality brings: people at the row, conflicts, many calls in quick succession, odd orders on the
topic. W1 and W2: every session has a result that is true. W7: nobody's change is undone, and no conflict is invented.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ops.demo.processes import Service
from schemas.records import BlockReason, Disposition, PlannedWriteback, ResultStatus, StepOutcome, WritebackResult
from simulator.testing import RunningSimulator
from tests.integration.writer.kit import QUEUE_ITEMS, Desk, Topic, baseline_of, seed_item
from tests.support.checker import findings

Writers = Callable[..., Service]
D = Disposition
UUID = str(uuid.uuid4())
RECORDING = {"path": r"\$batch", "body": "PATCH .*phonecalls"}


class Case:
    """One queue item, a writer process, and what it says."""

    def __init__(self, simulator: RunningSimulator, desk: Desk, topic: Topic, writers: Writers) -> None:
        self.simulator, self.desk, self.topic = simulator, desk, topic
        self.item = seed_item(simulator)
        self.plans: list[PlannedWriteback] = []
        self._taken: dict[str, int] = {}
        """Session to where the log ended when its baseline was taken."""
        self._baselines: dict[str, int] = {}
        self._writer = writers().start()

    def baseline(self) -> Any:
        taken = baseline_of(self.desk.row(self.item))
        self._baselines[str(taken.etag)] = len(self.simulator.oplog())
        return taken

    def plan(self, disposition: Disposition = D.NO_ANSWER, **overrides: Any) -> PlannedWriteback:
        baseline = overrides.setdefault("baseline", self.baseline())
        plan = self.desk.plan(self.item, disposition, **overrides)
        self._taken[plan.session_id] = self._baselines[str(baseline.etag)]
        self.plans.append(plan)
        return plan

    def land(self, *plans: PlannedWriteback) -> None:
        """Publishes, and waits until all that was ever published is settled."""
        self.topic.publish(*plans)
        self.topic.wait_for_committed(self.topic.published, seconds=60)

    def edit(self, **columns: Any) -> None:
        self.simulator.edit(QUEUE_ITEMS, self.item, columns)

    @property
    def row(self) -> dict[str, Any]:
        return self.desk.row(self.item)

    def results(self) -> dict[str, WritebackResult]:
        """The last one of each session."""
        return {result.session_id: result for result in self.topic.results()}

    def result(self, plan: PlannedWriteback) -> WritebackResult:
        return self.results()[plan.session_id]

    def check(self) -> None:
        log = self.simulator.oplog()
        assert findings(log, self.plans, self.topic.results(), baselines=self._taken) == []
        assert self.results().keys() == {plan.session_id for plan in self.plans}, "settled without a result"


@pytest.fixture
def case(simulator: RunningSimulator, desk: Desk, topic: Topic, writers: Writers) -> Case:
    return Case(simulator, desk, topic, writers)


def eight_that_conflict(case: Case) -> None:
    """One session lands, a person edits the notes, eight more on the old baseline conflict."""
    first = case.baseline()
    case.land(case.plan(baseline=first))
    case.edit(medx_notes="by hand")
    case.land(*(case.plan(baseline=first) for _ in range(8)))
    conflicts = [result.conflicts for result in case.results().values() if result.conflicts]
    assert conflicts == [("medx_notes",)] * 8


def test_W1_an_ineligible_session_after_eight_conflicts_is_told(case: Case) -> None:
    before = case.baseline()
    eight_that_conflict(case)
    ninth = case.plan(D.BLOCKED, baseline=before)
    case.land(ninth)
    assert case.result(ninth).block_reason is BlockReason.CONFLICT_DETECTED
    assert case.result(ninth).conflicts == ("medx_notes",)
    case.check()


def test_W1_a_conflict_whose_answer_was_lost_is_told(case: Case) -> None:
    before = case.baseline()
    eight_that_conflict(case)
    ninth = case.plan(D.NOT_INTERESTED, baseline=before)
    case.simulator.fault(when=RECORDING, times=1, do=[{"kind": "cut", "moment": "applied"}])
    case.land(ninth)
    assert case.result(ninth).block_reason is BlockReason.CONFLICT_DETECTED
    assert case.result(ninth).steps[0].outcome is StepOutcome.ALREADY_THERE
    case.check()


def test_R6_a_conflict_whose_answer_was_lost_while_a_person_put_the_row_right_lands(case: Case) -> None:
    """Its call stands, and no result says so: it is not taken for the call of another queue item."""
    before = case.baseline()
    case.land(case.plan(baseline=before))
    case.edit(medx_notes="by hand")
    conflict = case.plan(D.NOT_INTERESTED, baseline=before)
    put_right = {"kind": "edit", "set": QUEUE_ITEMS, "id": case.item, "values": {"medx_notes": None}, "moment": "after"}
    case.simulator.fault(when=RECORDING, times=1, do=[put_right, {"kind": "cut", "moment": "applied"}])
    case.land(conflict)
    assert case.result(conflict).status is ResultStatus.COMPLETED
    assert case.result(conflict).steps[0].outcome is StepOutcome.ALREADY_THERE
    assert (case.row["medx_lastsessionid"], case.row["medx_attemptcount"]) == (conflict.session_id, 2)
    assert len(case.simulator.rows("phonecalls")) == 2


@pytest.mark.parametrize(("corrected", "ends_at"), [(0, 1), (47, 48)])
def test_W7_a_corrected_attempt_count_stays_and_is_counted_on(case: Case, corrected: int, ends_at: int) -> None:
    for _ in range(4):
        case.land(case.plan())
    during = case.baseline()
    case.edit(medx_attemptcount=corrected, medx_notes="see me first")
    case.land(in_conflict := case.plan(baseline=during))
    case.land(case.plan())
    assert case.result(in_conflict).conflicts == ("medx_notes",)
    assert case.row["medx_attemptcount"] == ends_at
    case.check()


@pytest.mark.parametrize(
    ("in_conflict", "first", "second"),
    [
        (D.NOT_INTERESTED, D.NO_ANSWER, D.VOICEMAIL),
        (D.NOT_INTERESTED, D.BLOCKED, D.VOICEMAIL),  # leaves the status alone that the conflict had wanted
        (D.NO_ANSWER, D.NOT_INTERESTED, D.NO_ANSWER),  # leaves the next attempt alone that the conflict had wanted
    ],
)
def test_W7_after_a_conflict_two_calls_on_a_fresh_baseline_land(
    case: Case, in_conflict: Disposition, first: Disposition, second: Disposition
) -> None:
    case.desk.policy = replace(case.desk.policy, delays={D.NO_ANSWER: timedelta(days=1)})
    before = case.baseline()
    case.edit(medx_notes="by hand")
    case.land(conflict := case.plan(in_conflict, baseline=before))
    assert case.result(conflict).conflicts == ("medx_notes",)
    fresh = case.baseline()
    calls = [case.plan(first, baseline=fresh), case.plan(second, baseline=fresh)]
    case.land(*calls)
    assert [case.result(call).conflicts for call in calls] == [(), ()]
    assert {case.result(call).block_reason for call in calls} <= {None, BlockReason.ELIGIBILITY}
    assert case.row["medx_attemptcount"] == sum(call.disposition is not D.BLOCKED for call in calls)
    case.check()


def test_W7_an_opt_out_nine_calls_and_an_opt_out_on_one_baseline_never_conflict(case: Case) -> None:
    before = case.baseline()
    case.land(
        case.plan(D.DO_NOT_CALL, baseline=before),
        *(case.plan(D.NO_ANSWER, baseline=before) for _ in range(9)),
        case.plan(D.DO_NOT_CALL, baseline=before),
    )
    assert {result.status for result in case.results().values()} == {ResultStatus.COMPLETED}
    assert (case.row["medx_donotcall"], case.row["medx_callstatus"], case.row["medx_attemptcount"]) == (True, 4, 11)
    case.check()


@pytest.mark.parametrize(
    ("one", "other"),
    [(UUID, UUID.upper()), ("2026-11-20T12:00:00Z", "2026-11-20T13:00:00+01:00")],
    ids=["one UUID in two cases", "one instant in two forms"],
)
def test_W2_two_session_ids_that_a_crm_takes_for_one_are_two_calls(case: Case, one: str, other: str) -> None:
    case.land(case.plan(session_id=one))
    case.land(case.plan(session_id=other))
    assert len(case.simulator.rows("phonecalls")) == 2
    assert case.row["medx_attemptcount"] == 2
    case.check()


def test_W7_a_person_who_chose_the_value_that_a_blocked_plan_had_wanted_is_not_undone(case: Case) -> None:
    before = case.baseline()
    plans = [case.plan(kind, baseline=before) for kind in (D.NOT_INTERESTED, D.BLOCKED, D.NO_ANSWER)]
    case.edit(medx_callstatus=2)
    case.land(*plans)
    conflict, ineligible = BlockReason.CONFLICT_DETECTED, BlockReason.ELIGIBILITY
    assert [case.result(plan).block_reason for plan in plans] == [conflict, ineligible, conflict]
    assert case.result(plans[2]).conflicts == ("medx_callstatus",)
    assert case.row["medx_callstatus"] == 2
    case.check()


def test_W1_plans_that_a_sleeping_planner_put_behind_younger_ones_are_all_told_and_counted(case: Case) -> None:
    before = case.baseline()
    plans = [case.plan(D.NO_ANSWER, baseline=before) for _ in range(35)]
    case.land(*plans[:2])
    case.land(*plans[25:], *plans[2:25])
    assert {result.status for result in case.results().values()} == {ResultStatus.COMPLETED}
    late = [case.result(plan).steps[2].outcome for plan in plans[2:25]]
    assert late == [StepOutcome.SUPERSEDED] * 23
    assert (case.row["medx_attemptcount"], case.row["medx_lastsessionid"]) == (35, plans[-1].session_id)
    assert len(case.simulator.rows("phonecalls")) == 35
    case.check()


def test_W4_a_writer_that_does_not_know_what_was_requeued_puts_plans_behind_earlier_ones_that_are_there(
    case: Case,
) -> None:
    """Its group has committed nothing, or lost what it had: the earlier ones may be copies of requeued plans."""
    before = case.baseline()
    plans = [case.plan(D.NO_ANSWER, baseline=before) for _ in range(8)]
    case.land(*plans[:2], *plans[5:], *plans[2:5])
    assert {step.outcome for plan in plans for step in case.result(plan).steps[2:3]} == {StepOutcome.UPDATED}
    assert (case.row["medx_attemptcount"], case.row["medx_lastsessionid"]) == (8, plans[-1].session_id)
    case.check()


def test_W3_an_opt_out_reaches_the_row_even_in_a_conflict(case: Case) -> None:
    before = case.baseline()
    case.edit(medx_notes="by hand")
    case.land(opt_out := case.plan(D.DO_NOT_CALL, baseline=before))
    case.land(after := case.plan(D.NO_ANSWER))
    assert case.result(opt_out).conflicts == ("medx_notes",)
    assert "do-not-call was set" in str(case.result(opt_out).message)
    assert case.result(after).status is ResultStatus.COMPLETED
    assert case.row["medx_donotcall"] is True


def test_W7_do_not_call_that_a_person_set_during_the_call_is_a_conflict(case: Case) -> None:
    before = case.baseline()
    case.edit(medx_donotcall=True)
    case.land(
        call := case.plan(D.CALL_BACK_LATER, baseline=before), opt_out := case.plan(D.DO_NOT_CALL, baseline=before)
    )
    assert case.result(call).conflicts == ("medx_donotcall",)
    assert case.result(opt_out).status is ResultStatus.COMPLETED
    assert case.simulator.rows("tasks") == []
    case.check()
