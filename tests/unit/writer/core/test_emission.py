"""What leaves for the CRM: nothing that is not in the plan, and nothing without a precondition."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.records import OwnerCandidate, OwnerKind
from tests.factories import an_id
from tests.unit.writer.core.crm_model import ITEM, plan_for
from writer.core.batch import Request
from writer.core.emission import Read, call_activity, first_etag, full, get, of_steps, reads, update_step

ETAG = 'W/"1001"'
PLAN = plan_for(1, ETAG, task=True)
OWNER = OwnerCandidate(
    kind=OwnerKind.USER, record_id=an_id("u"), column="ownerid@odata.bind", value="/systemusers(u)", override=False
)


def test_W3_a_plan_is_one_change_set_in_its_own_order_under_the_right_preconditions() -> None:
    emission = full(PLAN, {3: OWNER}, ETAG)

    sent = [(r.method, r.path.partition("(")[0], dict(r.headers)) for r in emission.change_set.requests]
    assert sent == [
        ("PATCH", "phonecalls", {"If-None-Match": "*"}),
        ("PATCH", "phonecalls", {"If-Match": "*"}),
        ("PATCH", "medx_callqueueitems", {"If-Match": ETAG}),
        ("PATCH", "tasks", {"If-None-Match": "*"}),
    ]
    assert emission.steps == PLAN.steps


def test_W9_the_chosen_owner_is_set_on_its_step_alone() -> None:
    bodies = [request.body or {} for request in full(PLAN, {3: OWNER}, ETAG).change_set.requests]

    assert [OWNER.column in body for body in bodies] == [False, False, False, True]
    assert bodies[3][OWNER.column] == OWNER.value


@given(st.sets(st.integers(0, 3)))
def test_W7_only_columns_of_the_plan_are_ever_sent(steps: set[int]) -> None:
    emission = of_steps(PLAN, steps, {}, ETAG)

    assert [step.step_index for step in emission.steps] == sorted(steps)
    for step, request in zip(emission.steps, emission.change_set.requests, strict=True):
        assert request.body == step.attributes
        assert request.headers


@pytest.mark.parametrize("etag", ["*", "", "17", '"', 'W/"1" , *', None])
def test_W7_a_plan_whose_etag_is_none_to_write_under_is_read_first(etag: str | None) -> None:
    assert first_etag(plan_for(1, etag)) is None
    assert first_etag(plan_for(1, ETAG)) == ETAG


@pytest.mark.parametrize("etag", [None, "*", "", "17"])
def test_W7_the_queue_item_is_never_patched_without_an_etag(etag: str | None) -> None:
    with pytest.raises(ValueError, match="etag"):
        of_steps(PLAN, [2], {}, etag)


@given(st.sets(st.integers(0, 3)))
def test_W3_in_a_conflict_nothing_but_the_call_is_sent(steps: set[int]) -> None:
    assert {step.step_index for step in call_activity(PLAN, steps).steps} == steps & {0, 1}


def test_W2_reading_back_looks_at_every_record_once_with_what_it_is_known_by() -> None:
    call, row, task = reads(PLAN)

    assert (call.step_index, call.columns) == (0, ("medx_idempotencykey", "statecode", "statuscode"))
    assert (row.step_index, row.record_id) == (2, ITEM)
    assert set(row.columns) == {*PLAN.baseline.columns, *update_step(PLAN).attributes}
    assert (task.step_index, task.columns) == (3, ("medx_idempotencykey",))


def test_a_read_asks_for_the_properties_that_show_the_columns() -> None:
    read = Read(0, "phonecalls", "1", ("regarding@odata.bind", "subject"))

    assert get(read, {"regarding@odata.bind": "_regarding_value"}) == Request(
        "GET", "phonecalls(1)?$select=_regarding_value,subject", {"Accept": "application/json"}
    )
    assert get(Read(0, "tasks", "1", ()), {}).path == "tasks(1)"


def test_a_plan_without_an_update_is_refused() -> None:
    with pytest.raises(ValueError, match="unpack"):
        update_step(replace(PLAN, steps=PLAN.steps[:2]))
