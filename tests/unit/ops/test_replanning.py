"""Which sessions are planned anew, from what, and what comes of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ops.core.actions import Asked
from ops.core.replanning import Copy, OutcomePlace, ReplanSelection, came_of, header, kept_until, place_of, why_not
from schemas.headers import ASKED, REPLAN, REPLAY, TRACEPARENT, plan_to_replace
from writer.core.history import Settled

PERSON = Asked(True, "kim@desk", "status corrected")
COPY = Copy("sess-1", "a" * 64, partition=2, offset=70)


def a_row(**overrides: Any) -> dict[str, Any]:
    return {
        "status": "blocked", "reason": "metadata", "unsettled": 0, "settled_as": Settled.NOT_WRITTEN, "plan_offset": 3,
        "retired_ms": None, "digest": "a" * 64,
    } | overrides  # fmt: skip


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (a_row(), None),
        (a_row(plan_offset=None), "no plan any more"),
        (a_row(retired_ms=1), "no plan any more"),
        (a_row(unsettled=1), "not settled yet: wait for the writer's result"),
        (a_row(status="completed"), "completed, not blocked"),
        (a_row(settled_as=Settled.IN_DOUBT), "`writeback replay` finds that out"),
        (a_row(settled_as=Settled.CALL_ONLY), "that is for `writeback resolve`"),
        (a_row(settled_as=Settled.OPT_OUT_ONLY), "that is for `writeback resolve`"),
        (a_row(settled_as=Settled.LANDED), "that is for `writeback resolve`"),
    ],
)
def test_P1_only_a_blocked_session_of_which_nothing_was_written_is_planned_anew(
    row: dict[str, Any], said: str | None
) -> None:
    found = why_not(row)
    assert found is None if said is None else said in str(found)


def test_an_outcome_is_found_by_its_plan_or_it_is_said_until_when_it_was_kept() -> None:
    assert place_of("a/b/3/17") == OutcomePlace("a/b", 3, 17)
    assert str(place_of("call-outcomes/3/17")) == "call-outcomes/3/17"
    assert kept_until(0, 86_400_000) == "until about 1970-01-02T00:00:00Z"
    assert kept_until(0, -1) == "without end"
    assert kept_until(0, None) == "for as long as its topic keeps outcomes"


def test_the_copy_carries_the_digest_who_asks_and_why_beside_what_its_sender_had_put_there() -> None:
    sent = header([(TRACEPARENT, b"t"), (REPLAY, b"x"), (REPLAN, b"old"), (ASKED, b"old")], "a" * 64, PERSON)
    assert [name for name, _ in sent] == [TRACEPARENT, REPLAN, ASKED]
    assert plan_to_replace(sent) == "a" * 64
    assert json.loads(sent[2][1]) == {"by": "kim@desk", "why": "status corrected"}


def test_what_is_left_out_and_what_is_gone_is_said_before_anything_is_done() -> None:
    preview = ReplanSelection(["sess-1", "sess-2"], {"sess-3": "until noon"}, {"completed": 4}).preview("all")
    assert preview.lines() == [
        "replan: 2 sessions, about 4 requests to the CRM; selected: all",
        "4 more are left out: completed",
        (
            "sess-3 cannot be planned anew: its outcome was kept until noon. Have the call system publish it again, "
            "under a new session id"
        ),
    ]
    assert preview.as_json()["sessions"] == ["sess-1", "sess-2"]


@pytest.mark.parametrize(
    ("row", "planner_at", "rejected", "said", "done", "ok"),
    [
        (a_row(), 70, None, "the planner has yet to read it", False, True),
        (a_row(), 71, None, "not planned anew: the planner's mapping gives the very same plan", True, False),
        (a_row(), 71, "text_too_long", "rejected (text_too_long); the old plan stays", True, False),
        (None, 71, None, "retired or forgotten", True, False),
        (a_row(plan_offset=None), 71, None, "retired or forgotten", True, False),
        (a_row(digest="b" * 64, unsettled=1), 0, None, "the writer has yet to settle it", False, True),
        (a_row(digest="b" * 64, status="completed", reason=None), 0, None, "planned anew: completed", True, True),
        (a_row(digest="b" * 64), 0, None, "planned anew: blocked metadata", True, False),
    ],
)
def test_what_came_of_it(
    row: dict[str, Any] | None, planner_at: int, rejected: str | None, said: str, done: bool, ok: bool
) -> None:
    found = came_of(COPY, row, planner_at=planner_at, rejected=rejected)
    assert said in found.what
    assert (found.done, found.ok) == (done, ok)
