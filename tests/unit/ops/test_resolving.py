"""Both sides of a blocked session, who may decide what, and what the second person reads."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ops.core.mapping_text import meanings_of
from ops.core.resolving import (
    Choice,
    Sides,
    against,
    came_of,
    etag_of,
    exit_of_case,
    opt_out_left,
    sides,
    waits_for,
    what_leaving_means,
    with_meanings,
)
from planner import mapping
from schemas.records import BlockReason, Decision, ResultStatus
from tests.support.factories import make_result
from tests.unit.writer.core.crm_model import ATTEMPTS, BEFORE, FLAG, SESSION, plan_for
from writer.core.emission import Observed
from writer.core.history import Settled

ETAG = 'W/"1001"'
CONFLICT = BlockReason.CONFLICT_DETECTED
AT = datetime(2026, 11, 28, 20, tzinfo=UTC)


class Known(dict[str, Settled]):
    def of(self, session_id: str) -> Settled | None:
        return self.get(session_id)


def a_row(**overrides: Any) -> dict[str, Any]:
    return {
        "status": "blocked", "reason": CONFLICT, "unsettled": 0, "asked": None, "plan_offset": 3, "message": None,
        "opt_out": 0, "opt_out_open": 0, "queue_item": "item-1",
    } | overrides  # fmt: skip


def test_both_sides_are_shown_column_by_column_and_texts_as_their_length() -> None:
    plan = plan_for(1, ETAG)
    row = {**BEFORE, "medx_notes": "ask for Kim", "medx_callstatus": 2, ATTEMPTS: 4}
    found = sides(plan, Observed('W/"1007"', row), Known())
    shown = {each.name: (each.expected, each.now, each.planned, each.changed) for each in found.columns}
    assert shown["medx_notes"] == ("(empty)", "(text, 11 characters)", "", True)
    assert shown["medx_callstatus"] == ("1", "2", "0", True)
    assert shown[ATTEMPTS] == ("0", "4", "+1", False), "counters are added to, whatever they hold"
    assert [each.name for each in found.columns][:2] == ["medx_callstatus", "medx_notes"], "changes come first"
    assert (found.version, found.written_by, found.opts_out) == ("1007", None, False)


def test_what_our_earlier_sessions_wrote_is_expected_and_a_later_session_is_named() -> None:
    first = plan_for(1, ETAG)
    second = plan_for(2, ETAG, preceding=(first,))
    row = BEFORE | dict(first.steps[2].attributes) | {ATTEMPTS: 1}
    found = sides(second, Observed('W/"1007"', row), Known({"sess-000001": Settled.LANDED}))
    assert (found.written_by, [each.name for each in found.columns if each.changed]) == (None, [])
    later = sides(first, Observed('W/"1008"', row | {SESSION: "sess-000009"}), Known({"sess-000009": Settled.LANDED}))
    assert later.written_by == "sess-000009"
    before = plan_for(1, ETAG)
    before = replace(
        before, baseline=replace(before.baseline, columns={**before.baseline.columns, SESSION: "sess-000009"})
    )
    since = sides(before, Observed('W/"1008"', row | {SESSION: "sess-000009"}), Known({"sess-000009": Settled.LANDED}))
    assert since.written_by is None, "the row showed that session when the call was taken"
    by_a_person = sides(first, Observed('W/"1008"', row | {SESSION: "by hand"}), Known())
    assert by_a_person.written_by is None


def test_a_row_that_is_not_there_and_an_etag_of_another_form() -> None:
    plan = plan_for(1, ETAG, opt_out=True)
    assert sides(plan, None, Known()) == Sides(None, opts_out=True)
    found = sides(plan, Observed('"abc"', BEFORE | {FLAG: True}), Known())
    assert (found.version, found.opted_out) == ('"abc"', True)
    assert (etag_of("1007"), etag_of('"abc"')) == ('W/"1007"', '"abc"')


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (None, "nothing is known of this session"),
        (a_row(status=None), "nothing is known of this session"),
        (a_row(unsettled=1), "wait until it is settled"),
        (a_row(unsettled=1, asked="leave"), "kim asked at noon; the writer has yet to carry that out"),
        (a_row(status="completed"), "this session is completed: there is nothing left to decide"),
        (a_row(status="closed", opt_out_open=1), "set do-not-call there"),
        (a_row(reason=BlockReason.ELIGIBILITY), "no call was placed"),
        (a_row(plan_offset=None), "has no plan any more"),
        (a_row(), None),
    ],
)
def test_a_decision_is_about_a_session_that_waits_for_one(row: dict[str, Any] | None, said: str | None) -> None:
    found = waits_for(row, "kim asked at noon")
    assert found is None if said is None else said in str(found)


SIDES = Sides(ETAG, opts_out=True)


@pytest.mark.parametrize(
    ("choice", "reason", "found", "seen", "said"),
    [
        (Choice.LEAVE, BlockReason.METADATA, None, None, None),
        (Choice.APPLY, BlockReason.METADATA, SIDES, "1001", "`writeback replan` makes a new one"),
        (Choice.APPLY, CONFLICT, None, None, "the queue item could not be read"),
        (Choice.APPLY, CONFLICT, Sides(None), None, "there is no such queue item"),
        (Choice.OPT_OUT, CONFLICT, replace(SIDES, opts_out=False), None, "the contact did not opt out"),
        (
            Choice.OPT_OUT,
            CONFLICT,
            replace(SIDES, opted_out=True),
            None,
            "do-not-call is set on the queue item already",
        ),
        (Choice.OPT_OUT, CONFLICT, SIDES, "1000", "decide with --seen 1001"),
        (Choice.APPLY, CONFLICT, SIDES, ETAG, None),
        (Choice.APPLY, CONFLICT, SIDES, None, None),
    ],
)
def test_why_a_choice_cannot_be_made_comes_with_what_helps(
    choice: Choice, reason: str, found: Sides | None, seen: str | None, said: str | None
) -> None:
    why = against(choice, a_row(reason=reason), found, seen)
    assert why is None if said is None else said in str(why)


OPTED_OUT = a_row(opt_out=1, opt_out_open=1)


@pytest.mark.parametrize(
    ("row", "found", "said"),
    [
        (OPTED_OUT, SIDES, "set do-not-call alone with --apply --opt-out-only --seen 1001"),
        (a_row(opt_out=1, reason=BlockReason.METADATA), SIDES, "set do-not-call on the queue item in the CRM"),
        (OPTED_OUT, None, "nobody knows whether do-not-call is set"),
        (OPTED_OUT, replace(SIDES, opted_out=True), None),
        (OPTED_OUT, Sides(None, opts_out=True), None),
        (a_row(), replace(SIDES, opts_out=False), None),
        (a_row(), None, None),
    ],
)
def test_no_session_is_left_whose_opt_out_is_not_known_to_be_on_its_row(
    row: dict[str, Any], found: Sides | None, said: str | None
) -> None:
    why = against(Choice.LEAVE, row, found, None)
    assert why is None if said is None else said in str(why)
    if said is not None:
        assert "--leave --opt-out-withdrawn" in str(why)
        assert against(Choice.WITHDRAWN, row, found, None) is None


def test_an_opt_out_is_withdrawn_only_where_there_is_one_that_is_not_on_its_row() -> None:
    assert "did not opt out" in str(against(Choice.WITHDRAWN, a_row(), SIDES, None))
    assert "give --leave alone" in str(against(Choice.WITHDRAWN, OPTED_OUT, replace(SIDES, opted_out=True), None))


def test_what_leaving_means_for_the_opt_out_and_for_the_item_is_said_with_the_next_step() -> None:
    withdrawn, item = what_leaving_means(Choice.WITHDRAWN, OPTED_OUT, replace(SIDES, claimed=True))
    assert "the contact may be called again" in withdrawn
    assert item.startswith("The queue item keeps its claim (status in_progress) and everything else.")
    assert item.endswith("writeback release --queue-item item-1")
    on_row, item = what_leaving_means(Choice.LEAVE, OPTED_OUT, replace(SIDES, opted_out=True))
    assert ("it stays there" in on_row, "keeps its status" in item) == (True, True)
    [gone] = what_leaving_means(Choice.LEAVE, OPTED_OUT, Sides(None, opts_out=True))
    assert "from another one" in gone
    [item] = what_leaving_means(Choice.LEAVE, a_row(), None)
    assert "in_progress" in item
    assert opt_out_left(OPTED_OUT, None) is None


@pytest.mark.parametrize(
    ("row", "decides", "code"),
    [
        (a_row(), False, 1),
        (a_row(status="completed"), False, 0),
        (a_row(status="closed"), False, 0),
        (a_row(status="closed", opt_out_open=1), False, 1),
        (a_row(status="queued", unsettled=1), False, 2),
        (a_row(status=None), False, 1),
        (a_row(status="completed"), True, 1),
    ],
)
def test_a_session_that_is_shown_ends_with_the_code_of_its_state(row: dict[str, Any], decides: bool, code: int) -> None:
    assert exit_of_case(row, decides=decides) == code


def test_numbers_of_options_are_shown_with_their_meaning_from_the_mapping() -> None:
    row = {**BEFORE, "medx_callstatus": 4}
    found = sides(plan_for(1, ETAG), Observed('W/"1007"', row), Known())
    labels = meanings_of(mapping.read(Path(__file__).parents[3] / "ops" / "demo" / "mapping.json"))
    [status] = [each for each in with_meanings(found, labels).columns if each.name == "medx_callstatus"]
    assert (status.expected, status.now, status.planned) == ("1 (In Progress)", "4 (Do Not Call)", "0 (Ready)")
    assert with_meanings(found, {}) == found


def test_the_mark_of_a_claim_is_named_as_one_and_the_row_as_claimed() -> None:
    row = {**BEFORE, "medx_lastdisposition": "claimed dialler-3-000001 2026-01-02T03:04:05Z after failed"}
    found = sides(plan_for(1, ETAG), Observed('W/"1007"', row), Known())
    [shown] = [each.now for each in found.columns if each.name == "medx_lastdisposition"]
    assert shown == "(the mark of a claim: token dialler-3-000001, at 2026-01-02T03:04:05Z)"
    assert found.claimed
    assert not sides(plan_for(1, ETAG), Observed('W/"1007"', BEFORE), Known()).claimed


def test_the_second_person_reads_who_decided_first_and_why() -> None:
    decision = Decision(what="leave", by="lee", reason="a duplicate", at=AT)
    result = make_result(status=ResultStatus.CLOSED, decision=decision)
    assert came_of({"status": "closed", "message": None}, result, by="lee", at="2026-11-28T20:00:00Z") == (
        True,
        "done (leave): the session is closed",
    )
    assert came_of({"status": "closed", "message": None}, result, by="kim", at="2026-11-28T20:00:01Z") == (
        False,
        (
            "your decision changed nothing: lee decided first, at 2026-11-28T20:00:00Z, to leave (a duplicate); "
            "the session is closed"
        ),
    )
    rest = came_of({"status": "blocked", "message": None}, result, by="lee", at="2026-11-28T20:00:00Z")
    assert rest[1].endswith("the rest of it still waits for a decision")


@pytest.mark.parametrize("result", [None, make_result(status=ResultStatus.BLOCKED)])
def test_a_decision_that_was_not_carried_out_says_why(result: Any) -> None:
    row = {"status": "blocked", "message": "The queue item has changed."}
    assert came_of(row, result, by="kim", at="2026-11-28T20:00:01Z") == (
        False,
        "your decision was not carried out: the session is blocked. The queue item has changed.",
    )
