"""What results say of sessions that settled before."""

from __future__ import annotations

import itertools

import pytest

from schemas.records import Operation, ResultStatus, StepOutcome, StepResult
from tests.factories import make_result
from writer.core.history import Settled, latest, settled_as


def update(outcome: StepOutcome) -> tuple[StepResult, ...]:
    call = StepResult(step_index=0, operation=Operation.CREATE_PHONE_CALL, outcome=StepOutcome.CREATED, record_id="c")
    return call, StepResult(step_index=2, operation=Operation.UPDATE_QUEUE_ITEM, outcome=outcome, record_id="i")


@pytest.mark.parametrize(
    ("status", "outcome", "conflicts", "settled"),
    [
        (ResultStatus.COMPLETED, StepOutcome.UPDATED, (), Settled.LANDED),
        (ResultStatus.COMPLETED, StepOutcome.ALREADY_THERE, (), Settled.LANDED),
        (ResultStatus.BLOCKED, StepOutcome.UPDATED, (), Settled.LANDED),
        (ResultStatus.COMPLETED, StepOutcome.SUPERSEDED, (), Settled.SUPERSEDED),
        (ResultStatus.BLOCKED, StepOutcome.BLOCKED, ("medx_notes",), Settled.NOT_LANDED),
        (ResultStatus.BLOCKED, StepOutcome.UPDATED, ("medx_notes",), Settled.OPT_OUT_ONLY),
        (ResultStatus.CLOSED, StepOutcome.BLOCKED, (), Settled.CLOSED),
        (ResultStatus.RESUME_NEEDED, StepOutcome.PLANNED, (), None),
        (ResultStatus.DRY_RUN, StepOutcome.PLANNED, (), None),
    ],
)
def test_a_result_says_how_its_session_settled(
    status: ResultStatus, outcome: StepOutcome, conflicts: tuple[str, ...], settled: Settled | None
) -> None:
    assert settled_as(make_result(status=status, steps=update(outcome), conflicts=conflicts)) is settled


def test_a_result_without_an_update_of_the_queue_item_left_nothing_there() -> None:
    assert settled_as(make_result(steps=update(StepOutcome.UPDATED)[:1])) is Settled.NOT_LANDED


@pytest.mark.parametrize(("known", "heard"), list(itertools.product(Settled, Settled)))
def test_W2_no_final_result_becomes_less_true(known: Settled, heard: Settled) -> None:
    assert latest(known, heard) is (known if known.needs_nothing and not heard.needs_nothing else heard)
    assert latest(known, heard).needs_nothing >= known.needs_nothing
