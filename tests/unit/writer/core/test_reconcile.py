"""Every row of the conflict rules: what stands in the CRM, and what is left to do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from schemas.records import Operation, PlannedWriteback, ResolvedBaseline, Value
from tests.factories import an_id
from tests.unit.writer.core.crm_model import BEFORE, SESSION, plan_for
from writer.core.emission import reads
from writer.core.reconcile import (
    Conflict,
    Finding,
    Landed,
    Missing,
    Observed,
    SomebodyElses,
    Superseded,
    changed_columns,
    reconcile,
    same,
)

ETAG = 'W/"1001"'
FRESH = 'W/"2002"'
PLAN = plan_for(1, ETAG, task=True)
UPDATE = dict(PLAN.steps[2].attributes)
CALL = {"medx_idempotencykey": "sess-000001", "statecode": 1, "statuscode": 2}
TASK = {"medx_idempotencykey": "sess-000001"}
AFTER = BEFORE | UPDATE


def found(
    row: dict[str, Value] | None,
    *,
    call: dict[str, Value] | None = None,
    task: dict[str, Value] | None = None,
    etag: str = FRESH,
    plan: PlannedWriteback = PLAN,
) -> Finding:
    seen: dict[int, dict[str, Value] | None] = {0: call, 2: row, 3: task}
    wanted = {read.step_index for read in reads(plan)}
    return reconcile(plan, {i: None if c is None else Observed(etag, c) for i, c in seen.items() if i in wanted})


def test_W2_nothing_stands_and_the_row_is_at_its_baseline() -> None:
    assert found(BEFORE) == Missing((0, 1, 2, 3), FRESH)


def test_W2_everything_stands() -> None:
    assert found(AFTER, call=CALL, task=TASK) == Landed()


def test_W2_what_a_person_deleted_after_the_landing_is_not_written_again() -> None:
    assert found(AFTER, call=CALL) == Landed()
    assert found(AFTER) == Landed()


def test_W2_a_later_session_of_ours_on_top_is_no_conflict() -> None:
    later = AFTER | {SESSION: "sess-000002", "medx_attemptcount": 2}

    assert found(later, call=CALL, task=TASK) == Landed()


def test_W2_under_a_later_session_a_conflict_looks_like_a_landing_so_what_was_told_stands() -> None:
    later = AFTER | {SESSION: "sess-000002", "medx_attemptcount": 2}

    assert found(later, call=CALL, plan=plan_for(1, ETAG)) == Superseded()


def test_W2_a_later_session_does_not_prove_a_call_that_is_not_there() -> None:
    later = AFTER | {SESSION: "sess-000002", "medx_attemptcount": 2}

    assert isinstance(found(later, plan=plan_for(1, ETAG)), Conflict)
    assert isinstance(found(later, call=CALL), Conflict), "the task would be there"


def test_W2_an_ineligible_session_that_was_overtaken_is_over() -> None:
    assert found(AFTER | {SESSION: "sess-000002"}, plan=plan_for(1, ETAG, call=False)) == Superseded()


def test_W2_an_ineligible_session_updates_the_queue_item_only() -> None:
    assert found(BEFORE, plan=plan_for(1, ETAG, call=False)) == Missing((2,), FRESH)


def test_W3_after_a_conflict_was_set_right_the_rest_is_sent() -> None:
    assert found(BEFORE, call=CALL) == Missing((2, 3), FRESH)


def test_W3_a_call_left_open_is_completed_with_the_rest() -> None:
    assert found(BEFORE, call=CALL | {"statecode": 0, "statuscode": 1}) == Missing((1, 2, 3), FRESH)


def test_W3_in_a_conflict_the_call_alone_is_recorded() -> None:
    changed = BEFORE | {"medx_notes": "by hand"}

    assert found(changed) == Conflict(("medx_notes",), (0, 1))
    assert found(changed, call=CALL) == Conflict(("medx_notes",), ())


@pytest.mark.parametrize("column", [name for name in BEFORE if name != SESSION])
def test_W7_a_change_in_any_column_that_is_written_or_preserved_is_a_conflict(column: str) -> None:
    assert found(BEFORE | {column: "another"}) == Conflict((column,), (0, 1))


def test_W7_every_changed_column_is_named() -> None:
    changed = BEFORE | {"medx_notes": "x", "medx_callstatus": 2}

    assert found(changed) == Conflict(("medx_callstatus", "medx_notes"), (0, 1))


def test_W7_a_value_that_was_cleared_is_a_change() -> None:
    assert found(BEFORE | {"medx_priority": None}) == Conflict(("medx_priority",), (0, 1))


def test_W7_a_change_in_another_column_is_no_conflict() -> None:
    assert found(BEFORE | {"medx_timezone": "CET"}) == Missing((0, 1, 2, 3), FRESH)


def test_W7_a_deleted_row_is_a_conflict_and_never_created_again() -> None:
    assert found(None) == Conflict((), (0, 1), deleted=True)
    assert found(None, call=CALL) == Conflict((), (), deleted=True)


def test_W2_a_row_deleted_after_the_landing_changes_nothing() -> None:
    assert found(None, call=CALL, task=TASK) == Landed()


def test_W7_a_change_during_an_outage_is_judged_by_the_plans_own_baseline() -> None:
    before_the_outage = found(BEFORE)
    assert isinstance(before_the_outage, Missing)

    assert found(BEFORE | {"medx_attemptcount": 9}, etag='W/"3003"') == Conflict(("medx_attemptcount",), (0, 1))


def test_W7_the_baselines_etag_says_that_nothing_changed() -> None:
    unread = replace(
        PLAN, baseline=ResolvedBaseline(captured_at=PLAN.baseline.captured_at, etag=ETAG, columns={SESSION: None})
    )

    assert found(BEFORE | {"medx_lasterror": "old"}, etag=ETAG, plan=unread) == Missing((0, 1, 2, 3), ETAG)
    assert found(BEFORE | {"medx_lasterror": "old"}, plan=unread) == Conflict(
        ("medx_callstatus", "medx_attemptcount", "medx_lasterror"), (0, 1)
    )


def test_W7_a_column_nobody_read_may_be_empty_or_already_right() -> None:
    known = {SESSION: None, "medx_notes": None}
    plan = replace(PLAN, baseline=ResolvedBaseline(captured_at=PLAN.baseline.captured_at, columns=known))
    row = {**dict.fromkeys(BEFORE), "medx_callstatus": UPDATE["medx_callstatus"]}

    assert found(row, plan=plan) == Missing((0, 1, 2, 3), FRESH)


SECOND = plan_for(2, ETAG, preceding=(plan_for(1, ETAG),))


@pytest.mark.parametrize("row", [BEFORE, BEFORE | dict(plan_for(1, ETAG).steps[2].attributes)])
def test_W7_our_own_preceding_plan_is_no_conflict_landed_or_not(row: dict[str, Value]) -> None:
    assert found(row, plan=SECOND) == Missing((0, 1, 2), FRESH)


def test_W7_a_change_after_our_own_preceding_plan_is_named_against_that_plan() -> None:
    row = BEFORE | dict(plan_for(1, ETAG).steps[2].attributes) | {"medx_notes": "by hand"}

    assert found(row, plan=SECOND) == Conflict(("medx_notes",), (0, 1))


def test_W7_a_column_that_only_a_preceding_plan_knows_is_none_of_this_plans_business() -> None:
    [earlier] = SECOND.preceding
    knows_more = replace(earlier, columns={**earlier.columns, "medx_nextattemptat": "2026-11-21T09:00:00Z"})
    row = BEFORE | dict(plan_for(1, ETAG).steps[2].attributes)

    assert found(row, plan=replace(SECOND, preceding=(knows_more,))) == Missing((0, 1, 2), FRESH)


def test_W7_a_change_before_our_own_preceding_plan_is_named_against_the_baseline() -> None:
    assert found(BEFORE | {"medx_notes": "by hand"}, plan=SECOND) == Conflict(("medx_notes",), (0, 1))


def test_W7_a_mixture_of_two_accepted_states_is_in_neither() -> None:
    assert isinstance(found(BEFORE | {"medx_callstatus": 0}, plan=SECOND), Conflict)


@pytest.mark.parametrize(("call", "task", "step"), [({}, None, 0), (CALL, {"medx_idempotencykey": "other"}, 3)])
def test_W2_a_record_of_another_queue_item_under_our_id_blocks(call: Any, task: Any, step: int) -> None:
    assert found(AFTER, call=call, task=task) == SomebodyElses(step)


def without_session(plan: PlannedWriteback) -> PlannedWriteback:
    steps = tuple(
        replace(s, attributes={k: v for k, v in s.attributes.items() if k != SESSION})
        if s.operation is Operation.UPDATE_QUEUE_ITEM
        else s
        for s in plan.steps
    )
    return replace(plan, steps=steps)


def test_W2_without_a_session_column_the_row_must_show_all_that_was_written() -> None:
    plan = without_session(plan_for(1, ETAG))

    assert found(AFTER, call=CALL, plan=plan) == Landed()
    assert found(AFTER, plan=plan) == Conflict(
        ("medx_callstatus", "medx_lastdisposition", SESSION, "medx_attemptcount"), (0, 1)
    )
    assert found(BEFORE, call=CALL, plan=plan) == Missing((2,), FRESH)


def test_W2_a_session_column_that_held_our_session_before_proves_nothing() -> None:
    claimed = BEFORE | {SESSION: "sess-000001"}
    plan = replace(PLAN, baseline=ResolvedBaseline(captured_at=PLAN.baseline.captured_at, columns=claimed))

    assert found(claimed, plan=plan) == Missing((0, 1, 2, 3), FRESH)


def test_W2_an_unknown_session_proves_nothing_if_the_baseline_did_not_read_the_column() -> None:
    known = {k: v for k, v in BEFORE.items() if k != SESSION}
    plan = replace(plan_for(1, ETAG), baseline=ResolvedBaseline(captured_at=PLAN.baseline.captured_at, columns=known))

    assert found(BEFORE | {SESSION: "sess-000009"}, call=CALL, plan=plan) == Conflict((SESSION,), ())


def test_changed_columns_of_an_untouched_row_are_none() -> None:
    assert changed_columns(PLAN, Observed(FRESH, BEFORE)) == ()


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        (None, None, True), (3, None, False), (0, None, False), ("", None, False), (3, 3, True), (3, 4, False),
        ("a", "a", True), ("a", "A", False), ("3", 3, False),
        ("2026-11-20T12:00:00Z", "2026-11-20T13:00:00+01:00", True),
        ("2026-11-20T12:00:00Z", "2026-11-20T12:00:00.000Z", True),
        ("2026-11-20T12:00:00Z", "2026-11-20T12:00:01Z", False),
        ("2026-11-20T99:00:00Z", "2026-11-20T98:00:00Z", False),
        (f"/accounts({an_id('a').upper()})", f"accounts({an_id('a')})", True),
        (f"/accounts({an_id('a')})", f"/accounts({an_id('b')})", False),
        (f"/accounts({an_id('a')})", f"/contacts({an_id('a')})", False),
        (f"/accounts({an_id('a')})", "accounts", False),
        (f"/accounts({an_id('a')})", an_id("a").upper(), True), (an_id("a").upper(), an_id("a"), True),
        (an_id("a"), an_id("b"), False), (f"{an_id('a')})", an_id("a"), False),
    ],
)  # fmt: skip
def test_values_are_equal_as_the_crm_means_it(one: Value, other: Value, equal: bool) -> None:
    assert same(one, other) is same(other, one) is equal
