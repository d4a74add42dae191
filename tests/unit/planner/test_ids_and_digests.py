import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from planner.core.digests import digest
from planner.core.dispositions import EFFECTS
from planner.core.next_attempt import next_attempt
from planner.core.planning import Policy, plan
from planner.core.record_ids import record_id
from planner.core.times import iso
from schemas.records import Baseline, Disposition, Operation
from tests.support.factories import NOON, make_baseline, make_outcome
from tests.unit.planner.strategies import a_source, example_crm, outcomes

GOLDEN = Path(__file__).parents[2] / "golden" / "planner" / "ids.json"


def test_record_ids_never_change():
    golden = json.loads(GOLDEN.read_text())
    assert {f"{s} {o}": record_id(s, Operation(o)) for s, o in (key.split() for key in golden)} == golden


def test_a_record_id_is_a_uuid_of_version_8():
    made = UUID(record_id("sess-000001", Operation.CREATE_TASK))
    assert (made.version, made.variant) == (8, "specified in RFC 4122")


@given(st.text(), st.text(), st.sampled_from(list(Operation)), st.sampled_from(list(Operation)))
def test_sessions_and_operations_never_share_an_id(one, other, this, that):
    same = (one, this) == (other, that)
    assert (record_id(one, this) == record_id(other, that)) is same


@given(outcomes(), outcomes())
def test_W2_a_changed_outcome_of_a_session_never_gets_other_ids(one, other):
    """Nothing of the outcome but its session decides an id: the CRM would hold two records of one call otherwise."""
    changed = replace(other, session_id=one.session_id)
    ids = [
        {each.operation: each.record_id for each in plan(outcome, a_source(), example_crm(), Policy()).steps}
        for outcome in (one, changed)
    ]
    created = {Operation.CREATE_PHONE_CALL, Operation.CREATE_TASK}
    assert all(ids[0][operation] == ids[1][operation] for operation in ids[0].keys() & ids[1].keys() & created)


@given(outcomes(), outcomes())
def test_P1_outcomes_have_the_same_digest_exactly_if_they_are_the_same(one, other):
    assert (digest(one) == digest(other)) is (one == other)
    assert digest(one) == digest(replace(one))


def test_P1_null_and_zero_and_false_are_different_outcomes():
    counts = [make_outcome(baseline=make_baseline(attempt_count=count)) for count in (None, 0, 1)]
    flags = [make_outcome(baseline=make_baseline(do_not_call=flag)) for flag in (None, False)]
    notes = [make_outcome(baseline=make_baseline(preserved=each)) for each in ({}, {"a": None}, {"a": False}, {"a": 0})]
    assert len({digest(each) for each in counts}) == 3
    assert len({digest(each) for each in flags}) == 2
    assert len({digest(each) for each in notes}) == 4


def test_P1_a_field_that_a_later_schema_adds_does_not_change_the_digest():
    """Fields that hold their default are left out, so the digest of an older outcome stays what it was."""
    told = {"captured_at": 0, "etag": "e"}
    assert digest(Baseline(captured_at=datetime(1970, 1, 1, tzinfo=UTC), etag="e")) == (
        sha256(json.dumps(told, separators=(",", ":")).encode()).hexdigest()
    )


def test_times_are_told_as_the_crm_keeps_them():
    assert iso(datetime(2026, 11, 20, 12, 0, 0, 999_000, tzinfo=UTC)) == "2026-11-20T12:00:00Z"


def test_the_next_attempt_waits_for_the_delay_or_for_the_moment_that_was_asked_for():
    delays = {Disposition.CALL_BACK_LATER: timedelta(hours=1), Disposition.NO_ANSWER: timedelta(hours=2)}

    def due(disposition, **overrides):
        outcome = make_outcome(disposition=disposition, **overrides)
        return next_attempt(outcome, disposition, EFFECTS[disposition], delays)

    ended = make_outcome().ended_at
    assert due(Disposition.NO_ANSWER) == ended + timedelta(hours=2)
    assert due(Disposition.CALL_BACK_LATER) == ended + timedelta(hours=1)
    assert due(Disposition.CALL_BACK_LATER, callback_at=NOON + timedelta(days=3)) == NOON + timedelta(days=3)
    assert due(Disposition.CALL_BACK_LATER, callback_at=NOON) == ended + timedelta(hours=1)
    assert due(Disposition.VOICEMAIL) is None
    assert due(Disposition.WRONG_NUMBER) is None
