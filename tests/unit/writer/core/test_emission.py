"""What leaves for the CRM: nothing that is not in the plan, and nothing without a precondition."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.records import ActivityParties, ActivityParty, Caller, OwnerCandidate, OwnerKind, PartyKind, Value
from tests.support.factories import an_id
from tests.unit.writer.core.crm_model import ATTEMPTS, BEFORE, FLAG, ITEM, plan_for
from writer.core.batch import Request
from writer.core.emission import (
    Observed,
    Read,
    at_limit,
    baseline_row,
    call_activity,
    full,
    get,
    late,
    of_steps,
    reads,
    update_step,
)
from writer.core.replies import Sent, sent_with

ETAG = 'W/"1001"'
PLAN = plan_for(1, ETAG, task=True)
OWNER = OwnerCandidate(
    kind=OwnerKind.USER, record_id=an_id("u"), column="ownerid@odata.bind", value="/systemusers(u)", override=False
)


def test_W3_a_plan_is_one_change_set_in_its_own_order_under_the_right_preconditions() -> None:
    emission = full(PLAN, {3: OWNER}, Observed(ETAG, BEFORE))

    sent = [(r.method, r.path.partition("(")[0], dict(r.headers)) for r in emission.change_set.requests]
    assert sent == [
        ("PATCH", "phonecalls", {"If-None-Match": "*"}),
        ("PATCH", "phonecalls", {"If-Match": "*"}),
        ("PATCH", "medx_callqueueitems", {"If-Match": ETAG}),
        ("PATCH", "tasks", {"If-None-Match": "*"}),
    ]
    assert emission.steps == PLAN.steps


def test_W9_the_chosen_owner_is_set_on_its_step_alone() -> None:
    bodies = [request.body or {} for request in full(PLAN, {3: OWNER}, Observed(ETAG, BEFORE)).change_set.requests]

    assert [OWNER.column in body for body in bodies] == [False, False, False, True]
    assert bodies[3][OWNER.column] == OWNER.value


ROW = Observed(ETAG, {ATTEMPTS: 4})


@given(st.sets(st.integers(0, 3)))
def test_W7_only_columns_of_the_plan_are_ever_sent(steps: set[int]) -> None:
    emission = of_steps(PLAN, steps, {}, ROW)

    assert [step.step_index for step in emission.steps] == sorted(steps)
    for step, request in zip(emission.steps, emission.change_set.requests, strict=True):
        assert (request.body or {}).keys() == step.attributes.keys() | step.increments.keys()
        assert request.headers


@pytest.mark.parametrize("etag", ["*", "", "17", '"', 'W/"1" , *', None])
def test_W7_a_plan_whose_etag_is_none_to_write_under_is_read_first(etag: str | None) -> None:
    assert baseline_row(plan_for(1, etag)) is None
    assert baseline_row(plan_for(1, ETAG)) == Observed(ETAG, BEFORE)


def test_an_attempt_is_counted_on_what_the_row_holds_so_a_counter_nobody_read_is_read_first() -> None:
    unknown = {name: value for name, value in BEFORE.items() if name != ATTEMPTS}

    assert baseline_row(plan_for(1, ETAG, baseline=unknown)) is None
    assert baseline_row(plan_for(1, ETAG, baseline=unknown, call=False)) is not None, "nothing is counted"


@pytest.mark.parametrize(
    ("held", "limit", "sent"),
    [(None, None, 1), (0, None, 1), (4, None, 5), (4, 5, 5), (5, 5, 5), (9, 5, 9), (None, 0, 0)],
)
def test_an_attempt_adds_to_what_a_person_corrected_and_stays_at_the_maximum(
    held: Value, limit: int | None, sent: int
) -> None:
    row, limits = Observed(ETAG, {ATTEMPTS: held}), {} if limit is None else {ATTEMPTS: limit}

    [request] = of_steps(PLAN, [2], {}, row, limits).change_set.requests

    assert (request.body or {})[ATTEMPTS] == sent
    assert at_limit(update_step(PLAN), row, limits) == (() if sent == (held or 0) + 1 else (ATTEMPTS,))  # type: ignore[operator]


@pytest.mark.parametrize("etag", ["*", "", "17"])
def test_W7_the_queue_item_is_never_patched_without_an_etag(etag: str) -> None:
    for row in (None, Observed(etag, {})):
        with pytest.raises(ValueError, match="etag"):
            of_steps(PLAN, [2], {}, row)


@given(st.sets(st.integers(0, 3)))
def test_W3_in_a_conflict_nothing_but_the_call_is_sent(steps: set[int]) -> None:
    assert {step.step_index for step in call_activity(PLAN, steps).steps} == steps & {0, 1}


OPT_OUT = plan_for(1, ETAG, opt_out=True)


def test_W3_in_a_conflict_of_an_opt_out_do_not_call_alone_is_set_with_the_call() -> None:
    emission = call_activity(OPT_OUT, [0, 1], ROW)

    assert [step.step_index for step in emission.steps] == [0, 1, 2]
    last = emission.change_set.requests[-1]
    assert (last.body, last.headers) == ({FLAG: True}, {"If-Match": ETAG})


def test_a_late_plan_counts_and_sets_do_not_call_and_leaves_the_rest() -> None:
    emission = late(OPT_OUT, [0, 1], {}, ROW, counts=True, sets_do_not_call=True)

    assert [step.step_index for step in emission.steps] == [0, 1, 2]
    assert emission.change_set.requests[-1].body == {ATTEMPTS: 5, FLAG: True}


def test_a_late_plan_keeps_its_steps_in_order_and_may_leave_the_queue_item_alone() -> None:
    whole = late(PLAN, [0, 1, 3], {3: OWNER}, ROW, counts=True, sets_do_not_call=False)
    nothing = late(PLAN, [3], {3: OWNER}, ROW, counts=False, sets_do_not_call=False)

    assert [step.step_index for step in whole.steps] == [0, 1, 2, 3]
    assert [step.step_index for step in nothing.steps] == [3]


def test_W2_reading_back_looks_at_every_record_once_with_what_it_is_known_by() -> None:
    call, row, task = reads(PLAN)

    assert (call.step_index, call.columns) == (0, ("medx_idempotencykey",))
    assert (row.step_index, row.record_id) == (2, ITEM)
    update = update_step(PLAN)
    assert set(row.columns) == {*PLAN.baseline.columns, *update.attributes, *update.increments, FLAG}
    assert (task.step_index, task.columns) == (3, ("medx_idempotencykey",))


def test_W2_the_call_is_read_with_the_moments_that_tell_it_from_another() -> None:
    times = {"actualstart": "2026-11-20T12:00:00Z", "actualend": "2026-11-20T12:03:00Z", "due": "2026-11-21T12:00:00Z"}
    call = replace(PLAN.steps[0], attributes={**PLAN.steps[0].attributes, **times})

    assert reads(replace(PLAN, steps=(call, *PLAN.steps[1:])))[0].columns == (
        "medx_idempotencykey",
        "actualstart",
        "actualend",
    )


def test_a_read_asks_for_the_properties_that_show_the_columns() -> None:
    read = Read(0, "phonecalls", "1", ("regarding@odata.bind", "subject"))

    assert get(read, {"regarding@odata.bind": "_regarding_value"}) == Request(
        "GET", "phonecalls(1)?$select=_regarding_value,subject", {"Accept": "application/json"}
    )
    assert get(Read(0, "tasks", "1", ()), {}).path == "tasks(1)"


def test_a_plan_without_an_update_is_refused() -> None:
    with pytest.raises(ValueError, match="unpack"):
        update_step(replace(PLAN, steps=PLAN.steps[:2]))


QUEUE = ActivityParty(
    kind=PartyKind.QUEUE, record_id=an_id("q"), participation=1, column="partyid_queue@odata.bind", value="/queues(q)"
)
CALLER = Caller(object_id=an_id("object"), record_id=an_id("user"), entity_set="systemusers")
PARTIES = ActivityParties(
    collection="phonecall_activity_parties", entity_set="activityparties", id_column="activityid", members=(QUEUE,)
)


def test_W2_a_call_with_parties_is_a_post_that_names_its_id_since_only_a_post_takes_them() -> None:
    """A PATCH that creates is an upsert, of which nobody documents that it takes related rows."""
    [create, *_] = PLAN.steps
    plan = replace(PLAN, steps=(replace(create, activity_parties=PARTIES), *PLAN.steps[1:]))
    [sent, *others] = full(plan, {3: OWNER}, Observed(ETAG, BEFORE)).change_set.requests
    assert (sent.method, sent.path, dict(sent.headers)) == ("POST", "phonecalls", {})
    assert sent.body == {
        **create.attributes,
        "activityid": create.record_id,
        "phonecall_activity_parties": [{"partyid_queue@odata.bind": "/queues(q)", "participationtypemask": 1}],
    }
    assert sent_with(sent) is Sent.MUST_NOT_EXIST
    assert others == list(full(PLAN, {3: OWNER}, Observed(ETAG, BEFORE)).change_set.requests[1:])


def test_W2_a_call_that_is_recorded_alone_has_its_parties_too() -> None:
    [create, *_] = PLAN.steps
    plan = replace(PLAN, steps=(replace(create, activity_parties=PARTIES), *PLAN.steps[1:]))
    assert call_activity(plan, (0, 1)).change_set.requests[0].method == "POST"


@pytest.mark.parametrize("parties", [None, PARTIES])
def test_each_operation_says_itself_on_whose_behalf_it_is(parties: ActivityParties | None) -> None:
    """So that plans of several callers share a request."""
    create, complete, *others = PLAN.steps
    calls = (replace(create, caller=CALLER, activity_parties=parties), replace(complete, caller=CALLER))
    sent = full(replace(PLAN, steps=(*calls, *others)), {3: OWNER}, Observed(ETAG, BEFORE)).change_set.requests
    assert [each.headers.get("CallerObjectId") for each in sent] == [CALLER.object_id, CALLER.object_id, None, None]
    assert sent[1].headers["If-Match"] == "*"
