"""What results say of sessions that settled before."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from schemas.records import BlockReason, Operation, ResultStatus, StepOutcome, StepResult, WritebackResult
from tests.support.factories import make_result
from tests.unit.writer.core.crm_model import MemoryHistory
from writer.core.history import Settled, latest, settled_as

A, B, S, U = StepOutcome.ALREADY_THERE, StepOutcome.BLOCKED, StepOutcome.SUPERSEDED, StepOutcome.UPDATED


def result(status: ResultStatus, update: StepOutcome | None, reason: BlockReason | None = None) -> WritebackResult:
    step = StepResult(step_index=2, operation=Operation.UPDATE_QUEUE_ITEM, outcome=update or B, record_id="r")
    made = make_result(status=status, block_reason=reason)
    return replace(made, steps=(*made.steps, step) if update else made.steps)


@pytest.mark.parametrize(
    ("told", "settled"),
    [
        (result(ResultStatus.COMPLETED, U), Settled.LANDED),
        (result(ResultStatus.COMPLETED, A), Settled.LANDED),
        (result(ResultStatus.BLOCKED, U, BlockReason.ELIGIBILITY), Settled.LANDED),
        (result(ResultStatus.COMPLETED, S), Settled.SUPERSEDED),
        (result(ResultStatus.BLOCKED, B, BlockReason.CONFLICT_DETECTED), Settled.CALL_ONLY),
        (result(ResultStatus.BLOCKED, U, BlockReason.CONFLICT_DETECTED), Settled.OPT_OUT_ONLY),
        (result(ResultStatus.BLOCKED, B, BlockReason.METADATA), Settled.NOT_WRITTEN),
        (result(ResultStatus.BLOCKED, None, BlockReason.PERMANENT_OTHER), Settled.NOT_WRITTEN),
        (replace(result(ResultStatus.BLOCKED, B), may_have_landed=True), Settled.IN_DOUBT),
        (result(ResultStatus.CLOSED, B), Settled.CLOSED),
        (result(ResultStatus.RESUME_NEEDED, B), None),
        (result(ResultStatus.DRY_RUN, A), None),
    ],
)
def test_a_session_settled_as_its_last_result_says(told: WritebackResult, settled: Settled | None) -> None:
    assert settled_as(told) is settled
    assert MemoryHistory([told]).of(told.session_id) is settled


def test_a_session_without_a_final_result_is_unknown() -> None:
    history = MemoryHistory([result(ResultStatus.COMPLETED, U)])
    history.add(result(ResultStatus.RESUME_NEEDED, B))

    assert history.of("sess-000001") is Settled.LANDED, "what settled stays settled"
    assert history.of("another") is None


@pytest.mark.parametrize("settled", list(Settled))
def test_W2_what_was_blocked_is_tried_again_by_a_replay_and_nothing_else_is(settled: Settled) -> None:
    again = {Settled.NOT_WRITTEN, Settled.IN_DOUBT, Settled.CALL_ONLY, Settled.OPT_OUT_ONLY}
    assert settled.needs_nothing is (settled not in again)


@pytest.mark.parametrize(("known", "heard"), list(itertools.product(Settled, Settled)))
def test_W2_no_final_result_becomes_less_true(known: Settled, heard: Settled) -> None:
    holds = latest(known, heard)
    landed = {Settled.LANDED, Settled.SUPERSEDED}
    recorded = landed | {Settled.CALL_ONLY, Settled.OPT_OUT_ONLY}
    assert holds in (known, heard)
    assert holds.needs_nothing >= known.needs_nothing
    assert (holds in landed) >= (known in landed), "what landed stays landed, though a person closes it"
    assert (holds in recorded | {Settled.CLOSED}) >= (known in recorded), "a replay takes back no recorded call"
    says_nothing = (Settled.NOT_WRITTEN, Settled.IN_DOUBT)
    assert holds is heard or known.needs_nothing or heard in says_nothing, "what is new and true counts"
    if Settled.IN_DOUBT in (known, heard):
        assert holds is not Settled.NOT_WRITTEN, "doubt stays until something is known"
