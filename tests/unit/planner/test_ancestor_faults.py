"""The faults of the ancestor that the planner decides about (domain.md, last section), by their numbers there."""

import asyncio
from datetime import timedelta

import pytest

from planner.core.deciding import Planned, Refused
from planner.core.planning import Policy, own_columns
from planner.core.validation import reasons
from planner.errors import NotPublished
from planner.pins.memory import MemoryPins
from schemas.records import Disposition, Operation, OwnerKind, Precondition
from schemas.records import Warning as Notice
from tests.support.factories import an_id, make_baseline, make_outcome
from tests.unit.planner.test_batch import a_decider, decided, incoming
from tests.unit.planner.test_planning import EXPECTED, outcome_of, planned, step, update_of
from tests.unit.planner.test_service import MEMBER, FakePublisher, a_service


@pytest.mark.parametrize("disposition", EXPECTED)
def test_fault_01_ids_come_from_the_session_so_that_a_repeat_meets_the_record_itself(disposition):
    """Records that are created under random ids are created twice when a reply gets lost."""
    once, again = planned(outcome_of(disposition)), planned(outcome_of(disposition))
    assert [each.record_id for each in once.steps] == [each.record_id for each in again.steps]
    other = planned(outcome_of(disposition, session_id="sess-000002"))
    created = [each for each in other.steps if each.precondition is Precondition.MUST_NOT_EXIST]
    assert not {each.record_id for each in created} & {each.record_id for each in once.steps}


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


def test_fault_06_what_is_to_be_written_is_saved_before_anything_counts_as_done():
    """The ancestor saved it after all writes had succeeded. Here the plan is acknowledged first, then pinned, and then
    the outcome is done: a failure in between leaves everything to be done again."""
    pins, publisher = MemoryPins(), FakePublisher(NotPublished("REQUEST_TIMED_OUT"))
    service, _ = a_service(pins=pins, publisher=publisher)
    batch = [incoming(outcome_of("no_answer"))]
    with pytest.raises(NotPublished):
        asyncio.run(service.handle(batch, MEMBER))
    publisher.error = None
    asyncio.run(service.handle(batch, MEMBER))
    assert [each.key for each in publisher.published] == [b"sess-000001"]
    assert pins.digest(0, "sess-000001")


def test_fault_06_an_outcome_is_not_done_before_its_plan_is_acknowledged():
    async def run():
        acknowledged, publisher = asyncio.Event(), FakePublisher()

        async def publish(records, progress=None):
            await acknowledged.wait()
            return await FakePublisher.publish(publisher, records, progress)

        publisher.publish = publish
        service, _ = a_service(publisher=publisher)
        handling = asyncio.ensure_future(service.handle([incoming(outcome_of("no_answer"))], MEMBER))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not handling.done()
        acknowledged.set()
        await handling
        return publisher.published

    assert len(asyncio.run(run())) == 1


def test_fault_06_a_plan_is_complete_before_anything_is_written():
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
    decisions = decided(a_decider(), [incoming(bad), incoming(make_outcome(session_id="good"), 1)])
    assert isinstance(decisions[0], Refused)
    assert len(decisions[0].reasons) == len(reasons(bad)) == 2
    assert isinstance(decisions[1], Planned)
    assert update_of(decisions[1].plan).increments == {"medx_attemptcount": 1}
    assert decisions[1].plan.preceding == ()


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


@pytest.mark.parametrize("opt_out", [False, True])
@pytest.mark.parametrize("disposition", EXPECTED)
def test_fault_19_one_source_of_truth_for_summary_and_disposition(disposition, opt_out):
    """The disposition that was decided, after opt-out was weighed, is the one that every text and column shows."""
    found = planned(outcome_of(disposition, opt_out=opt_out))
    disposed = "do_not_call" if opt_out else disposition
    told = own_columns(found)["medx_lastdisposition"]
    assert found.disposition == disposed
    assert told == ("blocked_by_eligibility: d,f" if disposed == "blocked" else disposed)
    if call := step(found, Operation.CREATE_PHONE_CALL):
        assert call.attributes["medx_disposition"] == disposed
        assert call.attributes["subject"].startswith(f"Disposition: {disposed}")
        assert call.attributes["description"] == call.attributes["subject"]
