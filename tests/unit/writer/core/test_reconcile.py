"""Every rule of reconcile: what stands in the CRM, what results say, and what is left to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from schemas.records import Disposition, PlannedWriteback, PrecedingPlan, ResolvedBaseline, Value
from tests.support.factories import an_id
from tests.unit.writer.core.crm_model import ATTEMPTS, BEFORE, FLAG, SESSION, plan_for, update_of
from writer.core.emission import Observed, reads
from writer.core.history import Settled
from writer.core.reconcile import (
    Conflict,
    Finding,
    ForeignRecord,
    Landed,
    Late,
    Missing,
    NoQueueItem,
    changed_columns,
    reconcile,
    records_call_alone,
)
from writer.core.values import same

ETAG = 'W/"1001"'
FRESH = 'W/"2002"'
PLAN = plan_for(1, ETAG, task=True)
CALL = {"medx_idempotencykey": "sess-000001"}
TASK = {"medx_idempotencykey": "sess-000001"}
AFTER = BEFORE | dict(update_of(PLAN).attributes) | {ATTEMPTS: 1}
LATER = AFTER | {SESSION: "sess-000002", ATTEMPTS: 2}
Row = Mapping[str, Value]


class Known(dict[str, Settled]):
    """What results say, by session."""

    def of(self, session_id: str) -> Settled | None:
        return self.get(session_id)


SECOND_LANDED = Known({"sess-000002": Settled.LANDED})


def found(
    row: Row | None,
    *,
    call: Row | None = None,
    task: Row | None = None,
    etag: str = FRESH,
    plan: PlannedWriteback = PLAN,
    known: Known | None = None,
    unanswered: Finding | None = None,
) -> Finding:
    seen: dict[int, Row | None] = {0: call, 2: row, 3: task}
    wanted = {read.step_index for read in reads(plan)}
    observed = {i: None if c is None else Observed(etag, c) for i, c in seen.items() if i in wanted}
    return reconcile(plan, observed, known or Known(), call_may_exist=records_call_alone(unanswered))


def missing(row: Row, *steps: int, etag: str = FRESH) -> Missing:
    return Missing(steps, Observed(etag, row))


def test_W2_nothing_stands_and_the_row_is_at_its_baseline() -> None:
    assert found(BEFORE) == missing(BEFORE, 0, 1, 2, 3)


def test_W2_an_ineligible_session_updates_the_queue_item_only() -> None:
    assert found(BEFORE, plan=plan_for(1, ETAG, call=False)) == missing(BEFORE, 2)


@pytest.mark.parametrize("call", [CALL, None, {"medx_idempotencykey": "another"}])
def test_R1_a_row_that_shows_our_session_proves_the_plan_whatever_became_of_its_records(call: Row | None) -> None:
    assert found(AFTER, call=call, task=TASK) == Landed()
    assert found(AFTER | {"medx_notes": "by hand", "medx_callstatus": 2}, call=call) == Landed()


def test_R1_a_task_that_stands_proves_the_plan() -> None:
    assert found(BEFORE | {SESSION: "by hand"}, call=CALL, task=TASK) == Landed()
    assert found(None, call=CALL, task=TASK) == Landed()


@pytest.mark.parametrize("etag", [ETAG, FRESH])
def test_R6_a_task_beside_a_row_that_shows_what_it_showed_before_belongs_to_another_queue_item(etag: str) -> None:
    """One session, published again with the right queue item: its call and task stand with the wrong one."""
    assert found(BEFORE, call=CALL, task=TASK, etag=etag) == ForeignRecord(3)
    earlier = plan_for(2, ETAG)
    after = BEFORE | dict(update_of(earlier).attributes)
    plan = plan_for(1, ETAG, task=True, preceding=(earlier,))
    assert found(after, call=CALL, task=TASK, plan=plan) == ForeignRecord(3)


def test_R1_a_task_proves_the_plan_where_the_row_cannot_tell() -> None:
    unread = {name: value for name, value in BEFORE.items() if name != SESSION}
    claimed = BEFORE | {SESSION: "sess-000001"}
    for row, baseline in ((BEFORE, unread), (claimed, claimed)):
        assert found(row, call=CALL, task=TASK, plan=plan_for(1, None, task=True, baseline=baseline)) == Landed()
    no_column = replace(PLAN, steps=tuple(replace(step, session_column=None) for step in PLAN.steps))
    assert found(BEFORE, call=CALL, task=TASK, plan=no_column) == Landed()


def test_R3_what_an_opt_out_in_a_conflict_had_set_is_expected_after_a_person_has_closed_it() -> None:
    earlier = plan_for(2, ETAG, opt_out=True)
    plan, known = plan_for(1, ETAG, task=True, preceding=(earlier,)), Known({"sess-000002": Settled.CLOSED})

    assert found(BEFORE | {FLAG: True}, plan=plan, known=known) == missing(BEFORE | {FLAG: True}, 0, 1, 2, 3)
    assert found(BEFORE, plan=plan, known=known) == missing(BEFORE, 0, 1, 2, 3)
    person = BEFORE | {FLAG: True, "medx_callstatus": 4}
    assert found(person, plan=plan, known=known) == Conflict(("medx_callstatus",), (0, 1))


def test_R1_a_session_column_that_held_our_session_before_proves_nothing() -> None:
    claimed = BEFORE | {SESSION: "sess-000001"}
    plan = plan_for(1, None, task=True, baseline=claimed)

    assert found(claimed, plan=plan) == missing(claimed, 0, 1, 2, 3)


@pytest.mark.parametrize(("call", "task", "step"), [({}, None, 0), (CALL, {"medx_idempotencykey": "other"}, 3)])
def test_R2_a_record_of_another_session_under_our_id_is_foreign(call: Any, task: Any, step: int) -> None:
    assert found(BEFORE, call=call, task=task) == ForeignRecord(step)


def test_R2_two_session_ids_that_are_one_uuid_in_two_cases_are_two_sessions() -> None:
    session = an_id("session")
    plan = replace(PLAN, session_id=session, steps=tuple(_renamed(step, session) for step in PLAN.steps))

    assert found(AFTER | {SESSION: session.upper()}, plan=plan) == Conflict(
        ("medx_callstatus", "medx_lastdisposition", SESSION), (0, 1)
    )
    known = Known({session: Settled.CALL_ONLY})
    assert found(BEFORE, call={"medx_idempotencykey": session.upper()}, plan=plan, known=known) == ForeignRecord(0)
    assert found(BEFORE, call={"medx_idempotencykey": session}, plan=plan, known=known) == missing(BEFORE, 2, 3)


def _renamed(step: Any, session: str) -> Any:
    return replace(
        step, attributes={name: session if value == "sess-000001" else value for name, value in step.attributes.items()}
    )


STARTED = "2026-11-20T12:00:00Z"


def with_start(plan: PlannedWriteback) -> PlannedWriteback:
    call = replace(plan.steps[0], attributes={**plan.steps[0].attributes, "actualstart": STARTED})
    return replace(plan, steps=(call, *plan.steps[1:]))


@pytest.mark.parametrize("row", [BEFORE, LATER, BEFORE | {"medx_notes": "by hand"}])
def test_R2_a_call_that_began_at_another_moment_is_another_call(row: Row) -> None:
    call = CALL | {"actualstart": "2026-11-20T13:00:00Z"}

    assert found(row, call=call, plan=with_start(PLAN), known=SECOND_LANDED) == ForeignRecord(0)


@pytest.mark.parametrize("start", [None, "2026-11-20", "2026-11-20T13:00:00+01:00", STARTED])
def test_R2_a_moment_that_was_cleared_or_cut_to_the_day_says_nothing(start: Value) -> None:
    call = CALL | {"actualstart": start}

    assert found(BEFORE | {"medx_notes": "x"}, call=call, plan=with_start(PLAN)) == Conflict(("medx_notes",), ())


SECOND = plan_for(2, ETAG, preceding=(plan_for(1, ETAG),))


def test_R3_an_earlier_session_that_landed_is_laid_over_the_baseline() -> None:
    known = Known({"sess-000001": Settled.LANDED})
    row = AFTER | {"medx_notes": "by hand"}

    assert found(AFTER, plan=SECOND, known=known) == missing(AFTER, 0, 1, 2)
    assert found(row, plan=SECOND, known=known) == Conflict(("medx_notes",), (0, 1))
    assert found(BEFORE, plan=SECOND, known=known) == Conflict(
        ("medx_callstatus", "medx_lastdisposition", SESSION), (0, 1)
    )


def test_R3_a_row_that_shows_an_earlier_session_proves_that_one_before_its_result_is_known() -> None:
    assert found(AFTER, plan=SECOND) == missing(AFTER, 0, 1, 2)


FIRST_WROTE = PrecedingPlan(
    session_id="sess-000001", columns={"medx_callstatus": 3, "medx_notes": "by the first", SESSION: "sess-000001"}
)
SECOND_WROTE = PrecedingPlan(session_id="sess-000002", columns={"medx_callstatus": 2, SESSION: "sess-000002"})
THIRD = replace(plan_for(3, ETAG), preceding=(FIRST_WROTE, SECOND_WROTE))
IN_DOUBT = Known({"sess-000001": Settled.IN_DOUBT, "sess-000002": Settled.LANDED})


def in_conflict(row: Row, known: Known = IN_DOUBT) -> tuple[str, ...]:
    return changed_columns(THIRD, Observed(FRESH, BEFORE | row), known)


def test_R3_what_a_session_in_doubt_may_have_left_is_no_conflict_behind_a_later_one() -> None:
    second = SECOND_WROTE.columns
    blocked = Known({**IN_DOUBT, "sess-000001": Settled.NOT_WRITTEN})

    assert in_conflict(second) == ()
    assert in_conflict({**second, "medx_notes": "by the first"}) == ()
    assert in_conflict({**second, "medx_notes": "by the first"}, blocked) == ("medx_notes",)


def test_R3_W7_what_a_session_in_doubt_cannot_have_left_is_a_person_s() -> None:
    second = SECOND_WROTE.columns

    assert in_conflict({**second, "medx_notes": "by hand"}) == ("medx_notes",)
    assert in_conflict({**second, "medx_callstatus": 3}) == ("medx_callstatus",), "the second has written it since"
    assert in_conflict({"medx_notes": "by the first"}, Known({"sess-000001": Settled.IN_DOUBT})) == ("medx_notes",), (
        "had it landed, the row would show it"
    )


@pytest.mark.parametrize("settled", [None, Settled.CALL_ONLY, Settled.NOT_WRITTEN, Settled.CLOSED])
def test_R3_an_earlier_session_that_did_not_land_leaves_nothing_behind(settled: Settled | None) -> None:
    """A person who chooses the value that it had wanted is still a person."""
    known = Known({} if settled is None else {"sess-000001": settled})

    assert found(BEFORE, plan=SECOND, known=known) == missing(BEFORE, 0, 1, 2)
    assert found(BEFORE | {"medx_callstatus": 0}, plan=SECOND, known=known) == Conflict(("medx_callstatus",), (0, 1))


@pytest.mark.parametrize("settled", [Settled.OPT_OUT_ONLY, Settled.SUPERSEDED])
def test_R3_an_earlier_opt_out_that_set_do_not_call_alone_left_that_behind(settled: Settled) -> None:
    opted_out = plan_for(1, ETAG, opt_out=True)
    plan, known = plan_for(2, ETAG, preceding=(opted_out,)), Known({"sess-000001": settled})

    assert found(BEFORE | {FLAG: True}, plan=plan, known=known) == missing(BEFORE | {FLAG: True}, 0, 1, 2)
    assert found(BEFORE, plan=plan, known=known) == Conflict((FLAG,), (0, 1))
    assert found(BEFORE, plan=SECOND, known=known) == missing(BEFORE, 0, 1, 2), "one that is no opt-out left nothing"


@pytest.mark.parametrize("column", [name for name in BEFORE if name not in (SESSION, ATTEMPTS)])
def test_R4_W7_a_change_in_any_column_that_is_written_or_preserved_is_a_conflict(column: str) -> None:
    assert found(BEFORE | {column: "another"}) == Conflict((column,), (0, 1))


def test_R4_every_changed_column_is_named_and_no_other() -> None:
    assert found(BEFORE | {"medx_notes": "x", "medx_callstatus": 2, "medx_timezone": "CET", ATTEMPTS: 9}) == Conflict(
        ("medx_callstatus", "medx_notes"), (0, 1)
    )
    assert found(BEFORE | {"medx_priority": None}) == Conflict(("medx_priority",), (0, 1))


@pytest.mark.parametrize("attempts", [None, 0, 4, 47])
def test_R4_a_corrected_attempt_count_is_no_conflict(attempts: Value) -> None:
    row = BEFORE | {ATTEMPTS: attempts}

    assert found(row) == missing(row, 0, 1, 2, 3)


def test_R4_the_baselines_etag_says_that_nothing_changed() -> None:
    unread = replace(
        PLAN, baseline=ResolvedBaseline(captured_at=PLAN.baseline.captured_at, etag=ETAG, columns={SESSION: None})
    )
    row = BEFORE | {"medx_lasterror": "old"}

    assert found(row, etag=ETAG, plan=unread) == missing(row, 0, 1, 2, 3, etag=ETAG)
    assert found(row, plan=unread) == Conflict(("medx_callstatus", "medx_lasterror"), (0, 1))


def test_R4_a_column_nobody_read_may_be_empty_or_already_right() -> None:
    known = {SESSION: None, "medx_notes": None}
    plan = replace(PLAN, baseline=ResolvedBaseline(captured_at=PLAN.baseline.captured_at, columns=known))
    row = {**dict.fromkeys(BEFORE), "medx_callstatus": update_of(PLAN).attributes["medx_callstatus"]}

    assert found(row, plan=plan) == missing(row, 0, 1, 2, 3)


def test_R4_do_not_call_set_by_a_person_is_a_conflict_for_every_plan_but_an_opt_out() -> None:
    row, opted_out = BEFORE | {FLAG: True}, plan_for(1, ETAG, opt_out=True)

    assert found(row) == Conflict((FLAG,), (0, 1))
    assert found(row, plan=opted_out) == missing(row, 0, 1, 2)


def test_R5_under_a_later_session_the_call_is_recorded_and_counted_and_the_task_created() -> None:
    assert found(LATER, known=SECOND_LANDED) == Late(
        (0, 1, 3), Observed(FRESH, LATER), counts=True, sets_do_not_call=False
    )


@pytest.mark.parametrize("settled", list(Settled))
def test_R5_whatever_its_result_a_session_that_is_no_earlier_one_is_a_later_one(settled: Settled) -> None:
    assert isinstance(found(LATER, known=Known({"sess-000002": settled})), Late)


def test_R5_a_call_that_stands_was_counted_when_it_was_recorded() -> None:
    row = Observed(FRESH, LATER)

    assert found(LATER, call=CALL, known=SECOND_LANDED) == Late(
        (3,), row, counts=False, sets_do_not_call=False, found_call=True
    )
    assert found(LATER, call=CALL, task=TASK, known=SECOND_LANDED) == Late(
        (), row, counts=False, sets_do_not_call=False, found_call=True
    )


def test_R5_a_late_call_is_known_to_be_ours_from_a_result_or_from_an_unanswered_request() -> None:
    sent = Late((0, 1, 3), Observed(FRESH, LATER), counts=True, sets_do_not_call=False)
    in_conflict = SECOND_LANDED | {"sess-000001": Settled.CALL_ONLY}
    left = Late((3,), Observed(FRESH, LATER), counts=False, sets_do_not_call=False)

    assert found(LATER, call=CALL, known=SECOND_LANDED, unanswered=sent) == left
    assert found(LATER, call=CALL, known=Known(in_conflict)) == left


@pytest.mark.parametrize(
    ("read", "now", "later"),
    [('W/"1001"', 'W/"1000"', False), ('W/"1001"', 'W/"1002"', True), (None, 'W/"1"', True), ("opaque", 'W/"1"', True)],
)
def test_R5_an_older_version_of_the_row_than_was_read_shows_no_later_session(
    read: str | None, now: str, later: bool
) -> None:
    """The CRM was restored from a copy: an older session of ours is back on the row, which a person must see."""
    plan = plan_for(3, read, baseline=BEFORE | {SESSION: "sess-000002"})
    known = Known({"sess-000001": Settled.LANDED, "sess-000002": Settled.LANDED})
    restored = AFTER | {SESSION: "sess-000001"}

    judged = found(restored, etag=now, plan=plan, known=known)
    assert isinstance(judged, Late if later else Conflict)
    assert later or SESSION in judged.columns


def test_R5_a_late_opt_out_still_sets_do_not_call() -> None:
    plan, set_already = plan_for(1, ETAG, opt_out=True), LATER | {FLAG: True}

    assert found(LATER, plan=plan, known=SECOND_LANDED) == Late(
        (0, 1), Observed(FRESH, LATER), counts=True, sets_do_not_call=True
    )
    assert found(set_already, call=CALL, plan=plan, known=SECOND_LANDED) == Late(
        (), Observed(FRESH, set_already), counts=False, sets_do_not_call=False, found_call=True
    )


def test_R5_no_late_callback_for_who_asked_not_to_be_called() -> None:
    row = LATER | {FLAG: True}

    assert found(row, known=SECOND_LANDED) == Late(
        (0, 1), Observed(FRESH, row), counts=True, sets_do_not_call=False, left_out=(3,)
    )


def test_R5_a_late_review_is_for_a_person_whatever_the_contact_asked_for() -> None:
    row, review = LATER | {FLAG: True}, replace(PLAN, disposition=Disposition.NEEDS_HUMAN_REVIEW)

    assert found(row, plan=review, known=SECOND_LANDED) == Late(
        (0, 1, 3), Observed(FRESH, row), counts=True, sets_do_not_call=False
    )


def test_R5_a_late_session_without_a_call_sends_nothing() -> None:
    late = found(LATER, plan=plan_for(1, ETAG, call=False), known=SECOND_LANDED)

    assert late == Late((), Observed(FRESH, LATER), counts=False, sets_do_not_call=False)
    assert isinstance(late, Late)
    assert not late.touches_row


def test_R5_a_session_without_a_result_is_not_taken_for_a_later_one_of_ours() -> None:
    assert found(LATER) == Conflict(("medx_callstatus", "medx_lastdisposition", SESSION), (0, 1))


@pytest.mark.parametrize("shown", [None, "sess-000000"])
def test_R5_what_the_baseline_or_an_earlier_session_left_is_not_later(shown: str | None) -> None:
    before = BEFORE | {SESSION: shown}
    plan = plan_for(1, None, baseline=before)

    assert found(before, plan=plan, known=Known({"sess-000000": Settled.LANDED})) == missing(before, 0, 1, 2)


def test_R5_a_baseline_that_did_not_read_the_session_column_cannot_tell_earlier_from_later() -> None:
    known = {name: value for name, value in BEFORE.items() if name != SESSION}
    plan = plan_for(1, None, baseline=known)

    assert found(BEFORE | {SESSION: "sess-000002"}, plan=plan, known=SECOND_LANDED) == Conflict((SESSION,), (0, 1))


def test_R6_a_call_that_stands_without_a_conflict_belongs_to_another_queue_item() -> None:
    assert found(BEFORE, call=CALL) == ForeignRecord(0)
    assert found(BEFORE, call=CALL, known=Known({"sess-000001": Settled.NOT_WRITTEN})) == ForeignRecord(0)


@pytest.mark.parametrize("settled", [Settled.CALL_ONLY, Settled.OPT_OUT_ONLY])
def test_R6_after_a_conflict_was_set_right_the_rest_is_sent(settled: Settled) -> None:
    assert found(BEFORE, call=CALL, known=Known({"sess-000001": settled})) == missing(BEFORE, 2, 3)


@pytest.mark.parametrize("row", [Observed(FRESH, BEFORE), None])
def test_R6_a_call_that_an_unanswered_request_may_have_recorded_in_a_conflict_is_ours(row: Observed | None) -> None:
    """Its answer was lost, and a person put the row right before it was read back."""
    assert found(BEFORE, call=CALL, unanswered=Conflict(("medx_notes",), (0, 1), row)) == missing(BEFORE, 2, 3)


def test_R6_a_request_that_was_not_to_record_the_call_alone_proves_nothing() -> None:
    for unanswered in (None, Conflict(("medx_notes",), ()), Missing((0, 1, 2, 3), Observed(FRESH, BEFORE))):
        assert found(BEFORE, call=CALL, unanswered=unanswered) == ForeignRecord(0)


def test_W3_in_a_conflict_the_call_alone_is_recorded() -> None:
    changed = BEFORE | {"medx_notes": "by hand"}

    assert found(changed) == Conflict(("medx_notes",), (0, 1))
    assert found(changed, call=CALL) == Conflict(("medx_notes",), ())


def test_W3_an_opt_out_reaches_the_row_even_in_a_conflict() -> None:
    plan, changed = plan_for(1, ETAG, opt_out=True), BEFORE | {"medx_notes": "by hand"}
    cleared = plan_for(1, ETAG, opt_out=True, baseline=BEFORE | {FLAG: True})

    assert found(changed, plan=plan) == Conflict(("medx_notes",), (0, 1), Observed(FRESH, changed))
    set_already = changed | {FLAG: True}
    assert found(set_already, call=CALL, plan=plan) == Conflict(("medx_notes",), (), opted_out=True)
    assert found(BEFORE, plan=cleared) == Conflict((FLAG,), (0, 1)), "a person changed that very column"


def test_W3_a_call_that_a_person_cancelled_or_opened_again_is_left_as_it_is() -> None:
    """The call and its completion land together, so what stands was completed once."""
    known = Known({"sess-000001": Settled.CALL_ONLY})
    assert found(BEFORE, call=CALL | {"statecode": 2, "statuscode": 3}, known=known) == missing(BEFORE, 2, 3)


def test_W7_a_queue_item_that_is_gone_is_never_created() -> None:
    assert found(None) == NoQueueItem((0, 1))
    assert found(None, call=CALL) == NoQueueItem((), call_stands=True)


def test_W7_no_call_is_recorded_for_a_queue_item_that_nobody_read() -> None:
    assert found(None, plan=plan_for(1, None)) == NoQueueItem(())
    assert found(None, call=CALL, plan=plan_for(1, None)) == NoQueueItem((), call_stands=True)


def test_W7_a_change_during_an_outage_is_judged_by_the_plans_own_baseline() -> None:
    assert isinstance(found(BEFORE), Missing)

    assert found(BEFORE | {"medx_notes": "new"}, etag='W/"3003"') == Conflict(("medx_notes",), (0, 1))


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        (None, None, True), (3, None, False), (0, None, False), ("", None, True), (3, 3, True), (3, 4, False),
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
