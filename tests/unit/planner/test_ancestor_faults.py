"""The faults of the ancestor that the planner decides about (domain.md, last section), by their numbers there."""

from datetime import timedelta

import pytest

from planner.batch import Planned, Refused
from planner.core.planning import Policy, own_columns
from planner.core.validation import reasons
from schemas.records import Disposition, Operation, OwnerKind
from schemas.records import Warning as Notice
from tests.factories import an_id, make_baseline, make_outcome
from tests.unit.planner.test_batch import a_desk, incoming
from tests.unit.planner.test_planning import EXPECTED, outcome_of, planned, step, update_of


def test_fault_03_every_placed_call_counts_and_is_added_to_what_the_row_has():
    for disposition, (placed, *_) in EXPECTED.items():
        found = planned(outcome_of(disposition, baseline=make_baseline(attempt_count=4)))
        assert update_of(found).increments == ({"medx_attemptcount": 1} if placed else {})
        assert found.baseline.columns.get("medx_attemptcount", 4) == 4


def test_fault_04_the_next_attempt_time_advances_when_a_retry_policy_asks_for_it():
    policy = Policy(delays={Disposition.NO_ANSWER: timedelta(days=1)})
    assert own_columns(planned(outcome_of("no_answer"), policy=policy))["medx_nextattemptat"] > "2026-11-21"


@pytest.mark.parametrize("disposition", ["voicemail", "failed", "interested_callback_requested", "no_answer"])
def test_fault_05_an_opt_out_is_kept_however_the_call_ended(disposition):
    found = planned(outcome_of(disposition, opt_out=True))
    assert own_columns(found)["medx_donotcall"] is True
    assert own_columns(found)["medx_callstatus"] == 4


def test_fault_06_what_is_to_be_written_is_complete_before_anything_is_written():
    for disposition in EXPECTED:
        found = planned(outcome_of(disposition))
        assert all(each.record_id and each.entity_set and each.attributes for each in found.steps)
        assert found.digest
        assert found.mapping_fingerprint


def test_fault_11_the_baseline_is_the_plans_own_and_not_read_again_later():
    found = planned(outcome_of("no_answer", baseline=make_baseline(etag='W/"7"', attempt_count=2)))
    assert found.baseline.etag == 'W/"7"'
    assert found.baseline.columns["medx_attemptcount"] == 2


def test_fault_12_a_bad_payload_is_rejected_whole_and_consumes_no_attempt():
    bad = make_outcome(session_id="bad", captured_email_verified=True, queue_item_id="17")
    verdicts = a_desk().verdicts([incoming(bad), incoming(make_outcome(session_id="good"), 1)])
    assert isinstance(verdicts[0], Refused)
    assert len(verdicts[0].reasons) == len(reasons(bad)) == 2
    assert isinstance(verdicts[1], Planned)
    assert update_of(verdicts[1].plan).increments == {"medx_attemptcount": 1}
    assert verdicts[1].plan.preceding == ()


def test_fault_13_activities_and_tasks_regard_the_account_and_the_call_names_its_number():
    outcome = outcome_of("call_back_later")
    found = planned(outcome)
    bind = f"/accounts({outcome.account.id})"
    call, task = step(found, Operation.CREATE_PHONE_CALL), step(found, Operation.CREATE_TASK)
    assert call.attributes["regardingobjectid_account_phonecall@odata.bind"] == bind
    assert task.attributes["regardingobjectid_account_task@odata.bind"] == bind
    assert call.attributes["phonenumber"] == "+15305550123"


def test_fault_14_a_phone_number_is_redacted_whole_and_no_address_sits_in_a_subject():
    outcome = outcome_of(
        "call_back_later",
        summary="Call +15305550123 or write to kim@example.com",
        captured_email="kim@example.com",
        captured_email_verified=True,
    )
    found = planned(outcome)
    for each in found.steps:
        assert "example.com" not in str(each.attributes.get("subject"))
    assert step(found, Operation.CREATE_PHONE_CALL).attributes["subject"] == "Call [REDACTED] or write to [REDACTED]"


def test_fault_15_the_last_error_is_cleared_when_there_is_none():
    warned = planned(outcome_of("no_answer", warnings=(Notice(code="odd", message="thing"),)))
    assert own_columns(warned)["medx_lasterror"] == "odd:thing"
    assert own_columns(planned(outcome_of("no_answer")))["medx_lasterror"] is None


def test_fault_09_owners_are_named_before_anything_is_written():
    found = planned(outcome_of("call_back_later", owner_override=an_id("somebody")))
    owners = step(found, Operation.CREATE_TASK).owner_candidates
    assert [(each.kind, each.override) for each in owners] == [(OwnerKind.USER, True), (OwnerKind.USER, False)]


@pytest.mark.parametrize("disposition", EXPECTED)
def test_fault_19_one_source_of_truth_for_summary_and_disposition(disposition):
    found = planned(outcome_of(disposition))
    call = step(found, Operation.CREATE_PHONE_CALL)
    told = own_columns(found)["medx_lastdisposition"]
    assert told.split(":")[0] in (found.disposition, "blocked_by_eligibility")
    if call:
        assert call.attributes["medx_disposition"] == found.disposition == told
        assert found.disposition in call.attributes["subject"]
        assert call.attributes["description"].startswith(call.attributes["subject"])
