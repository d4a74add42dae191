"""Whether a rejected record can be published again, and what helps, is known for every reason there is."""

from __future__ import annotations

from typing import Any

import pytest

from ops.core.remedies import _REMEDIES, Again, is_open_opt_out, planned_since, remedies, remedies_of, remedy
from planner.core.rejection_reasons import REASONS


def test_every_remedy_is_of_a_reason_that_exists() -> None:
    of_the_writer = {"too_large"}
    assert _REMEDIES.keys() <= {*REASONS, *of_the_writer}


@pytest.mark.parametrize("code", REASONS)
def test_every_reason_has_a_remedy(code: str) -> None:
    again, what = remedy(code)
    assert again in Again
    assert what


def test_of_several_reasons_the_least_hopeful_decides_and_each_remedy_is_named_once() -> None:
    assert remedies(["misplaced", "unknown_schema"])[0] is Again.OTHER_KEY
    again, what = remedies(["invalid_id", "text_too_long", "misplaced"])
    assert again is Again.NO
    assert len(what) == 2
    assert remedies([]) == (Again.NO, ())


def a_row(**overrides: Any) -> dict[str, Any]:
    return {
        "codes": "invalid_id", "opt_out": 1, "since_status": None, "since_opt_out": None, "rejected_again": 0,
    } | overrides  # fmt: skip


@pytest.mark.parametrize(
    ("row", "since", "is_open", "said"),
    [
        (a_row(), False, True, "the same session id may be used, it has no plan"),
        (a_row(since_status="completed", since_opt_out=1), True, False, "nothing is left to do here"),
        (a_row(since_status="completed", since_opt_out=0), False, True, "its session has another plan"),
        (a_row(rejected_again=1), False, False, "the same session id may be used"),
        (a_row(opt_out=0, since_status="queued"), True, False, "nothing is left to do here"),
        (a_row(opt_out=0, since_status="queued", codes="mismatch"), False, False, "the session has its plan"),
    ],
)
def test_what_was_published_again_since_and_planned_is_shown_as_such_and_is_no_open_opt_out(
    row: dict[str, Any], since: bool, is_open: bool, said: str
) -> None:
    assert (planned_since(row), is_open_opt_out(row)) == (since, is_open)
    assert any(said in each for each in remedies_of(row)[1])
