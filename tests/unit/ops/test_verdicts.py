"""One rule says for every command whether a person must act, something is still queued, or all is well."""

from __future__ import annotations

from typing import Any

import pytest

from ops.core.jobs import exit_of_job
from ops.core.replaying import Replayed, ReplayProgress
from ops.core.story import Story
from ops.core.verdicts import CommandVerdict, counts_need_a_person, exit_of_counts, row_needs_a_person
from runtime.exit_codes import Exit


def a_row(**overrides: Any) -> dict[str, Any]:
    return {"status": "completed", "reason": None, "unsettled": 0, "opt_out_open": 0} | overrides


@pytest.mark.parametrize(
    ("row", "act", "code"),
    [
        (a_row(), False, 0),
        (a_row(status="blocked", reason="conflict_detected"), True, 1),
        (a_row(status="blocked", reason="eligibility"), False, 0),
        (a_row(status="blocked", reason="metadata", unsettled=1), False, 2),
        (a_row(status="passed_over"), True, 1),
        (a_row(status="closed"), False, 0),
        (a_row(status="closed", opt_out_open=1), True, 1),
        (a_row(status="queued", unsettled=1, opt_out_open=1), False, 2),
        (a_row(status="retired"), False, 0),
    ],
)
def test_the_same_state_gives_the_same_code_of_a_session_and_of_counts(
    row: dict[str, Any], act: bool, code: int
) -> None:
    assert row_needs_a_person(row) is act
    assert Story("s", None, row, ()).exit_code == code
    counts = {**row, "sessions": 1, "opt_outs_open": row["opt_out_open"]}
    assert exit_of_counts([counts]) == code


def test_of_several_sessions_a_person_comes_before_what_waits() -> None:
    waits = {"status": "queued", "reason": None, "sessions": 3, "unsettled": 3, "opt_outs_open": 0}
    blocked = {"status": "blocked", "reason": "metadata", "sessions": 3, "unsettled": 2, "opt_outs_open": 0}
    assert counts_need_a_person(blocked), "one of the three is not tried again"
    assert exit_of_counts([waits, blocked]) == 1
    assert exit_of_counts([waits]) == 2
    assert exit_of_counts([]) == 0
    assert Story("s", None, None, ()).exit_code == 1, "never planned"


def replayed(**overrides: Any) -> ReplayProgress:
    given: dict[str, Any] = {
        "sessions": 1, "sent": True, "gone": False, "unsettled": False, "status": "completed", "reason": None,
        "new_result": True, "settled_as": None,
    }  # fmt: skip
    return ReplayProgress((Replayed(**given | overrides),))


@pytest.mark.parametrize(
    ("came", "code"),
    [
        (replayed(), 0),
        (replayed(unsettled=True, status="blocked", reason="metadata"), 2),
        (replayed(status="blocked", reason="conflict_detected"), 1),
        (replayed(sent=False, unsettled=True, status="queued"), 1),
        (ReplayProgress(()), 0),
    ],
)
def test_a_job_waits_needs_a_person_or_is_done(came: ReplayProgress, code: int) -> None:
    assert exit_of_job(came) == code


def test_the_verdicts_are_the_exit_codes() -> None:
    assert [int(each) for each in CommandVerdict] == [int(each) for each in (Exit.OK, Exit.ACT, Exit.WAIT)]
