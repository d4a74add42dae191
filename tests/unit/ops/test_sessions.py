"""What state a session is in follows from its plan, its last result and what the group has committed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ops.core.sessions import Committed, Frontier, PlanSeen, ResultSeen, Status, frontier_of, state_of
from schemas.records import ResultStatus
from writer.core.history import Settled
from writer.core.ledger import encode_settled

PLAN = PlanSeen(2, 100)
COMPLETED, BLOCKED, RESUME = ResultStatus.COMPLETED, ResultStatus.BLOCKED, ResultStatus.RESUME_NEEDED


def result(status: ResultStatus, settled: Settled | None = None, offset: int = 100) -> ResultSeen:
    return ResultSeen(status, settled, 2, offset)


@pytest.mark.parametrize(
    ("plan", "told", "committed", "status", "unsettled"),
    [
        (PLAN, None, Committed.UNSETTLED, Status.QUEUED, True),
        (PLAN, None, Committed.NOT_SAID, Status.QUEUED, True),
        (PLAN, None, Committed.SETTLED, Status.PASSED_OVER, False),
        (PLAN, result(RESUME), Committed.UNSETTLED, Status.RESUME_NEEDED, True),
        (PLAN, result(RESUME), Committed.NOT_SAID, Status.RESUME_NEEDED, True),
        (PLAN, result(RESUME), Committed.SETTLED, Status.PASSED_OVER, False),
        (PLAN, result(COMPLETED, Settled.LANDED), Committed.SETTLED, Status.COMPLETED, False),
        (PLAN, result(COMPLETED, Settled.LANDED), Committed.UNSETTLED, Status.COMPLETED, True),
        (PLAN, result(BLOCKED), Committed.UNSETTLED, Status.BLOCKED, True),
        (PLAN, result(BLOCKED), Committed.NOT_SAID, Status.BLOCKED, False),
        (PLAN, result(BLOCKED, offset=99), Committed.NOT_SAID, Status.BLOCKED, True),
        (PLAN, result(ResultStatus.CLOSED, Settled.CLOSED), Committed.SETTLED, Status.CLOSED, False),
        (PLAN, result(ResultStatus.DRY_RUN), Committed.UNSETTLED, Status.QUEUED, True),
        (PlanSeen(2, 100, retired=True), None, Committed.UNSETTLED, Status.RETIRED, False),
        (None, result(COMPLETED, Settled.LANDED), Committed.UNSETTLED, Status.COMPLETED, False),
    ],
)
def test_unsettled_comes_from_committed_offsets_and_from_results_only_where_those_are_silent(
    plan: PlanSeen | None, told: ResultSeen | None, committed: Committed, status: Status, unsettled: bool
) -> None:
    state = state_of(plan, told, committed, opt_out=False)
    assert (state.status, state.unsettled, state.opt_out_open) == (status, unsettled, False)


@pytest.mark.parametrize(
    ("told", "is_open"),
    [
        (None, True),
        (result(RESUME), True),
        (result(BLOCKED, Settled.NOT_WRITTEN), True),
        (result(BLOCKED, Settled.CALL_ONLY), True),
        (result(BLOCKED, Settled.OPT_OUT_ONLY), False),
        (result(COMPLETED, Settled.LANDED), False),
        (result(COMPLETED, Settled.SUPERSEDED), False),
        (result(ResultStatus.CLOSED, Settled.CLOSED), True),
        (replace(result(ResultStatus.CLOSED, Settled.CLOSED), opt_out_decided=True), False),
    ],
)
def test_an_opt_out_is_open_until_do_not_call_is_on_the_row_or_a_person_decided_about_it(
    told: ResultSeen | None, is_open: bool
) -> None:
    assert state_of(PLAN, told, Committed.UNSETTLED, opt_out=True).opt_out_open is is_open
    assert state_of(PLAN, told, Committed.UNSETTLED, opt_out=False).opt_out_open is False


def test_a_note_that_was_cut_is_silent_about_the_rest_and_a_foreign_one_says_that_all_is_unsettled() -> None:
    ranges = [(offset, offset + 1) for offset in (102 + each * each for each in range(1, 60))]
    whole, cut = encode_settled(100, [(105, 107)]), encode_settled(100, ranges, limit=60)
    assert frontier_of(100, whole) == Frontier(100, [(105, 107)], complete=True)
    assert not frontier_of(100, cut).complete
    assert frontier_of(100, "somebody else's") == Frontier(100, [], complete=True)
    assert frontier_of(100, encode_settled(90, [(105, 107)])) == Frontier(100, [], complete=True)
    assert frontier_of(None, None) == Frontier(None)
