import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.core.dispositions import EFFECTS
from planner.core.planning import Policy, Rejected, own_columns, plan
from planner.core.preceding import NO_HISTORY
from planner.core.resolution import Lookup, PartyColumns
from planner.core.validation import Envelope
from schemas.codec import single_object
from schemas.records import (
    Account,
    ActivityParty,
    Caller,
    Disposition,
    EligibilityRule,
    HumanReviewReason,
    Operation,
    OwnerKind,
    PartyKind,
    PlannedStep,
    PlannedWriteback,
    Precondition,
    QueueStatus,
    Utterance,
)
from schemas.records import Warning as Notice
from tests.support.factories import NOON, an_id, make_baseline, make_outcome
from tests.unit.planner.strategies import POLICIES, a_source, an_earlier, example_crm, is_uuid, known, outcomes

CRM = example_crm()
GOLDEN = Path(__file__).parents[2] / "golden" / "planner" / "plans.json"
EXPECTED = {
    # disposition: (phone call, status value, do-not-call, task), from domain.md's table
    "interested_callback_requested": (True, 0, None, "Callback for Example Clinic"),
    "interested_email_captured": (True, 2, None, "Callback for Example Clinic"),
    "not_interested": (True, 2, None, None),
    "call_back_later": (True, 0, None, "Callback for Example Clinic"),
    "wrong_number": (True, 3, None, None),
    "no_answer": (True, 0, None, None),
    "voicemail": (True, 0, None, None),
    "do_not_call": (True, 4, True, None),
    "needs_human_review": (True, 3, None, "Review legal_request for Example Clinic"),
    "failed": (True, 0, None, None),
    "blocked": (False, None, None, None),
}


def outcome_of(disposition: str, **overrides):
    rules = (EligibilityRule("f"), EligibilityRule("d")) if disposition == "blocked" else ()
    reason = HumanReviewReason.LEGAL_REQUEST if disposition == "needs_human_review" else None
    given = {"disposition": Disposition(disposition), "failing_rules": rules, "human_review_reason": reason}
    return make_outcome(**given | overrides)


def planned(outcome, *, policy: Policy | None = None, earlier=(), crm=CRM, offset: int = 7) -> PlannedWriteback:
    before = known(outcome, a_source(offset), earlier)
    found = plan(outcome, a_source(offset), crm, policy or Policy(), before)
    assert isinstance(found, PlannedWriteback), found
    return found


def step(found: PlannedWriteback, operation: Operation) -> PlannedStep | None:
    return next((each for each in found.steps if each.operation is operation), None)


def update_of(found: PlannedWriteback) -> PlannedStep:
    return step(found, Operation.UPDATE_QUEUE_ITEM)


@pytest.mark.parametrize("disposition", EXPECTED)
def test_every_disposition_does_what_the_table_says(disposition):
    call, status, do_not_call, task = EXPECTED[disposition]
    found = planned(outcome_of(disposition))
    assert (step(found, Operation.CREATE_PHONE_CALL) is not None) is call
    assert (step(found, Operation.COMPLETE_PHONE_CALL) is not None) is call
    assert own_columns(found).get("medx_callstatus") == status
    assert own_columns(found).get("medx_donotcall") is do_not_call
    made = step(found, Operation.CREATE_TASK)
    assert (made.attributes["subject"] if made else None) == task
    assert update_of(found).increments == ({"medx_attemptcount": 1} if call else {})


def test_the_table_covers_every_disposition():
    assert EFFECTS.keys() == set(Disposition)
    assert EXPECTED.keys() == set(Disposition)


@pytest.mark.parametrize("disposition", [each for each in EXPECTED if each != "blocked"])
def test_an_opt_out_beats_everything(disposition):
    found = planned(outcome_of(disposition, opt_out=True, voicemail_left=True))
    assert found.disposition is Disposition.DO_NOT_CALL
    assert own_columns(found)["medx_callstatus"] == 4
    assert own_columns(found)["medx_donotcall"] is True
    assert own_columns(found)["medx_lastdisposition"] == "do_not_call"
    assert step(found, Operation.CREATE_TASK) is None
    assert step(found, Operation.CREATE_PHONE_CALL).attributes["medx_disposition"] == "do_not_call"


def test_an_opt_out_of_a_session_without_a_call_records_no_call_and_consumes_no_attempt():
    found = planned(outcome_of("blocked", opt_out=True, baseline=make_baseline(attempt_count=4)))
    assert [each.operation for each in found.steps] == [Operation.UPDATE_QUEUE_ITEM]
    assert own_columns(found)["medx_donotcall"] is True
    assert own_columns(found)["medx_callstatus"] == 4
    assert update_of(found).increments == {}


@given(outcomes(), POLICIES)
def test_do_not_call_is_never_written_false(outcome, policy):
    assert own_columns(planned(outcome, policy=policy)).get("medx_donotcall", True) is True


@given(outcomes(), POLICIES)
def test_P2_the_same_input_gives_the_same_bytes(outcome, policy):
    codec = single_object(PlannedWriteback)
    again = single_object(type(outcome))
    copy = again.decode(again.encode(outcome))
    assert codec.encode(planned(outcome, policy=policy)) == codec.encode(planned(copy, policy=policy))


def test_P2_the_same_bytes_in_another_process_with_another_hash_seed():
    script = (
        "from tests.unit.planner.test_planning import EXPECTED, outcome_of, planned\n"
        "from schemas.codec import single_object\n"
        "from schemas.records import PlannedWriteback\n"
        "print([single_object(PlannedWriteback).encode(planned(outcome_of(each))).hex() for each in EXPECTED])\n"
    )
    root = Path(__file__).parents[3]
    seen = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(root)},
            cwd=root,
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(seen) == 1


def test_P2_the_bytes_of_plans_do_not_change_from_release_to_release():
    """If this fails on purpose (a new column, another rule), write the golden file again and say so to users."""
    codec = single_object(PlannedWriteback)
    golden = json.loads(GOLDEN.read_text())
    assert {each: codec.encode(planned(outcome_of(each)))[10:].hex() for each in EXPECTED} == golden


@given(outcomes(), POLICIES)
def test_P3_a_plan_names_all_that_its_writes_need(outcome, policy):
    found = planned(outcome, policy=policy)
    assert found.mapping_fingerprint == CRM.fingerprint
    for each in found.steps:
        assert is_uuid(each.record_id)
        assert each.entity_set in ("phonecalls", "tasks", "medx_callqueueitems")
        shows_whose_it_is = each.operation is not Operation.COMPLETE_PHONE_CALL
        assert (each.attributes.get(each.session_column) == outcome.session_id) is shows_whose_it_is
        assert all(value is None or isinstance(value, bool | int | float | str) for value in each.attributes.values())


@given(outcomes(), POLICIES)
def test_P4_steps_are_numbered_in_the_order_of_their_emission(outcome, policy):
    found = planned(outcome, policy=policy)
    order = list(Operation)
    assert [each.step_index for each in found.steps] == list(range(len(found.steps)))
    assert [order.index(each.operation) for each in found.steps] == sorted(
        order.index(each.operation) for each in found.steps
    )


@given(outcomes())
def test_the_queue_item_is_updated_exactly_once(outcome):
    assert sum(each.operation is Operation.UPDATE_QUEUE_ITEM for each in planned(outcome).steps) == 1


@given(outcomes(), POLICIES)
def test_preconditions_make_every_step_safe_to_repeat(outcome, policy):
    wanted = {
        Operation.CREATE_PHONE_CALL: Precondition.MUST_NOT_EXIST,
        Operation.COMPLETE_PHONE_CALL: Precondition.MUST_EXIST,
        Operation.UPDATE_QUEUE_ITEM: Precondition.MUST_MATCH_BASELINE,
        Operation.CREATE_TASK: Precondition.MUST_NOT_EXIST,
    }
    for each in planned(outcome, policy=policy).steps:
        assert each.precondition is wanted[each.operation]


@given(outcomes(), POLICIES)
def test_W7_only_columns_approved_for_update_are_written_and_preserved_ones_never(outcome, policy):
    approved = {
        "medx_callstatus", "medx_lastdisposition", "medx_lastsessionid", "medx_attemptcount",
        "medx_donotcall", "medx_lasterror", "medx_nextattemptat",
    }  # fmt: skip
    written = set(own_columns(planned(outcome, policy=policy)))
    assert written <= approved
    assert not written & CRM.preserved


@given(outcomes(), POLICIES)
def test_texts_never_exceed_their_columns(outcome, policy):
    limits = {"subject": 200, "description": 2000, "medx_lasterror": 4000, "medx_lastdisposition": 200}
    for each in planned(outcome, policy=policy).steps:
        for name in limits.keys() & each.attributes.keys():
            assert len((each.attributes[name] or "").encode("utf-16-le")) // 2 <= limits[name]


@pytest.mark.parametrize("count", [None, 0, 4])
def test_an_attempt_is_an_increment_and_the_baseline_says_what_it_is_added_to(count):
    found = planned(outcome_of("no_answer", baseline=make_baseline(attempt_count=count)))
    assert update_of(found).increments == {"medx_attemptcount": 1}
    assert "medx_attemptcount" not in own_columns(found)
    assert found.baseline.columns["medx_attemptcount"] == count


def test_an_attempt_adds_one_whatever_our_earlier_plans_did():
    earlier = [an_earlier("a", 1, medx_callstatus=0), an_earlier("b", 2, medx_callstatus=0)]
    found = planned(outcome_of("voicemail", baseline=make_baseline(attempt_count=4)), earlier=earlier)
    assert update_of(found).increments == {"medx_attemptcount": 1}
    assert not any("medx_attemptcount" in each.columns for each in found.preceding)


def test_eligibility_letters_are_named_in_order():
    found = planned(outcome_of("blocked"))
    assert own_columns(found)["medx_lastdisposition"] == "blocked_by_eligibility: d,f"
    assert "medx_callstatus" not in own_columns(found)


def test_last_error_is_set_from_warnings_and_cleared_when_there_are_none():
    noticed = outcome_of("no_answer", warnings=(Notice(code="a", message="one"), Notice(code="b", message="two")))
    assert own_columns(planned(noticed))["medx_lasterror"] == "a:one; b:two"
    assert own_columns(planned(outcome_of("no_answer")))["medx_lasterror"] is None


def test_a_phone_number_not_in_e164_is_kept_and_warned_about():
    found = planned(outcome_of("no_answer", phone_number="(530) 555-0123"))
    assert step(found, Operation.CREATE_PHONE_CALL).attributes["phonenumber"] == "(530) 555-0123"
    assert [each.code for each in found.warnings] == ["non_e164_phone"]
    assert own_columns(found)["medx_lasterror"].startswith("non_e164_phone:")


def test_P7_words_in_the_phone_number_are_redacted():
    found = planned(outcome_of("no_answer", phone_number="ask kim@example.com"))
    assert step(found, Operation.CREATE_PHONE_CALL).attributes["phonenumber"] == "ask [REDACTED]"


def test_a_warning_that_the_call_system_gave_already_is_not_doubled():
    given_already = Notice(code="non_e164_phone", field="phone_number", message="odd")
    found = planned(outcome_of("no_answer", phone_number="555-0123", warnings=(given_already,)))
    assert found.warnings == (given_already,)


def test_the_phone_call_says_what_happened():
    outcome = outcome_of("voicemail", voicemail_left=True, ended_at=NOON + timedelta(seconds=150))
    call = step(planned(outcome), Operation.CREATE_PHONE_CALL)
    account = f"/accounts({outcome.account.id})"
    assert call.attributes == {
        "subject": "Disposition: voicemail.",
        "description": "Disposition: voicemail.",
        "phonenumber": "+15305550123",
        "directioncode": True,
        "actualstart": "2026-11-20T12:00:00Z",
        "actualend": "2026-11-20T12:02:30Z",
        "actualdurationminutes": 3,
        "regardingobjectid_account_phonecall@odata.bind": account,
        "leftvoicemail": True,
        "medx_idempotencykey": "sess-000001",
        "medx_disposition": "voicemail",
    }
    assert call.session_column == "medx_idempotencykey"


def test_the_phone_call_is_completed_under_its_own_id():
    found = planned(outcome_of("no_answer"))
    done = step(found, Operation.COMPLETE_PHONE_CALL)
    assert done.record_id == step(found, Operation.CREATE_PHONE_CALL).record_id
    assert done.attributes == {"statecode": 1, "statuscode": 2}


def test_a_callback_task_says_when_and_how_and_is_due_when_the_contact_asked_for_it():
    outcome = outcome_of(
        "interested_callback_requested",
        callback_window="tomorrow after 3 pm",
        callback_at=NOON + timedelta(days=1, hours=3),
        captured_email="kim@example.com",
        captured_email_verified=True,
    )
    task = step(planned(outcome), Operation.CREATE_TASK)
    assert task.attributes == {
        "subject": "Callback for Example Clinic",
        "description": "Verified email: kim@example.com\nCallback window: tomorrow after 3 pm.",
        "scheduledend": "2026-11-21T15:00:00Z",
        "regardingobjectid_account_task@odata.bind": f"/accounts({outcome.account.id})",
        "medx_idempotencykey": "sess-000001",
    }


def test_P7_an_unverified_address_goes_nowhere_and_a_verified_one_into_the_task_alone():
    for verified in (True, False):
        outcome = outcome_of("call_back_later", captured_email="kim@example.com", captured_email_verified=verified)
        found = planned(outcome)
        task = step(found, Operation.CREATE_TASK)
        assert ("kim@example.com" in task.attributes["description"]) is verified
        everything_else = [each for each in found.steps if each is not task]
        assert "kim@example.com" not in repr(everything_else) + repr(found.warnings) + task.attributes["subject"]


def test_a_long_callback_window_never_cuts_the_verified_address():
    given = {"captured_email": "kim@example.com", "captured_email_verified": True}
    outcome = outcome_of("call_back_later", callback_window="any day " * 249, **given)
    (task,) = [each for each in planned(outcome).steps if each.operation is Operation.CREATE_TASK]
    assert "Verified email: kim@example.com" in task.attributes["description"].splitlines()


def test_a_subject_has_at_most_two_hundred_characters_whatever_a_tenant_has_room_for():
    columns = CRM.phone_call
    roomy = replace(CRM, phone_call=replace(columns, subject=replace(columns.subject, limit=1_000)))
    call = plan(make_outcome(summary="x" * 900), a_source(0), roomy, Policy()).steps[0]
    assert len(call.attributes["subject"]) == 200


def test_P7_something_that_only_claims_to_be_a_verified_address_is_redacted():
    outcome = outcome_of(
        "call_back_later", captured_email="kim@example.com or 530-555-0123", captured_email_verified=True
    )
    assert step(planned(outcome), Operation.CREATE_TASK).attributes["description"] == (
        "Verified email: [REDACTED] or [REDACTED]"
    )


def test_a_callback_that_lies_before_the_call_is_warned_about():
    found = planned(outcome_of("call_back_later", callback_at=NOON - timedelta(hours=2)))
    assert [each.code for each in found.warnings] == ["callback_in_the_past"]


def test_a_review_task_names_the_reason_and_goes_to_the_review_owner():
    task = step(planned(outcome_of("needs_human_review")), Operation.CREATE_TASK)
    assert task.attributes["description"] == "Review reason: legal_request."
    assert [each.record_id for each in task.owner_candidates] == ["33333333-aaaa-4bbb-8ccc-000000000012"]


def test_the_owner_override_comes_first_and_the_default_owner_behind_it():
    override = an_id("somebody")
    first, second = step(
        planned(outcome_of("call_back_later", owner_override=override)), Operation.CREATE_TASK
    ).owner_candidates
    assert (first.record_id, first.override, first.kind) == (override, True, OwnerKind.USER)
    assert first.value == f"/systemusers({override})"
    assert (second.record_id, second.override) == ("33333333-aaaa-4bbb-8ccc-000000000011", False)


@pytest.mark.parametrize("crm", [CRM, replace(CRM, owner_overrides=False)])
def test_an_override_that_cannot_be_used_leaves_the_default_owner_and_a_warning(crm):
    override = "not-an-id" if crm.owner_overrides else an_id("somebody")
    found = planned(outcome_of("call_back_later", owner_override=override), crm=crm)
    (owner,) = step(found, Operation.CREATE_TASK).owner_candidates
    assert not owner.override
    assert [each.code for each in found.warnings] == ["task_owner_override_unverifiable"]


def test_a_team_may_own_tasks():
    teams = replace(CRM, default_owners={kind: (OwnerKind.TEAM, an_id("team")) for kind in CRM.default_owners})
    (owner,) = step(planned(outcome_of("call_back_later"), crm=teams), Operation.CREATE_TASK).owner_candidates
    assert (owner.kind, owner.column, owner.value) == (OwnerKind.TEAM, "ownerid@odata.bind", f"/teams({an_id('team')})")


def test_without_an_account_nothing_is_regarded_and_the_task_says_so():
    found = planned(outcome_of("call_back_later", account=None))
    assert step(found, Operation.CREATE_TASK).attributes["subject"] == "Callback for unknown account"
    assert "account_missing" in [each.code for each in found.warnings]
    assert not [name for each in found.steps for name in each.attributes if name.startswith("regarding")]


def test_without_a_phone_number_none_is_written():
    call = step(planned(outcome_of("no_answer", phone_number=None)), Operation.CREATE_PHONE_CALL)
    assert "phonenumber" not in call.attributes


def test_an_unmapped_disposition_column_is_left_alone():
    crm = replace(CRM, phone_call=replace(CRM.phone_call, disposition=None))
    assert (
        "medx_disposition"
        not in step(planned(outcome_of("no_answer"), crm=crm), Operation.CREATE_PHONE_CALL).attributes
    )


def test_the_next_attempt_is_set_by_policy_and_by_default_left_alone():
    policy = Policy(delays={Disposition.NO_ANSWER: timedelta(hours=4)})
    outcome = outcome_of("no_answer")
    assert own_columns(planned(outcome, policy=policy))["medx_nextattemptat"] == "2026-11-20T16:03:00Z"
    assert "medx_nextattemptat" not in own_columns(planned(outcome))
    unmapped = replace(CRM, queue_item=replace(CRM.queue_item, next_attempt_at=None))
    assert "medx_nextattemptat" not in own_columns(planned(outcome, policy=policy, crm=unmapped))


def test_the_baseline_is_copied_in_the_crms_own_words():
    baseline = make_baseline(
        status=QueueStatus.IN_PROGRESS,
        last_session_id="sess-000000",
        attempt_count=2,
        preserved={
            "medx_notes": "VIP",
            "medx_priority": 3,
            "medx_lasterror": None,
            "medx_nextattemptat": "2026-11-19T00:00:00Z",
        },
    )
    found = planned(outcome_of("no_answer", baseline=baseline))
    assert found.baseline.etag == 'W/"1001"'
    assert found.baseline.columns == {
        "medx_attemptcount": 2,
        "medx_callstatus": 1,
        "medx_donotcall": False,
        "medx_lasterror": None,
        "medx_lastsessionid": "sess-000000",
        "medx_notes": "VIP",
        "medx_priority": 3,
    }


@given(outcomes(), POLICIES)
def test_the_baseline_holds_nothing_that_the_plan_neither_writes_nor_preserves(outcome, policy):
    found = planned(outcome, policy=policy)
    concerned = own_columns(found).keys() | update_of(found).increments.keys() | CRM.preserved | {"medx_donotcall"}
    assert found.baseline.columns.keys() <= concerned


@given(outcomes(), POLICIES)
def test_the_baseline_always_says_what_was_known_of_do_not_call_and_of_the_attempts(outcome, policy):
    """A do-not-call that a person set in between is a conflict for every plan, though few write that column."""
    found = planned(outcome, policy=policy)
    assert found.baseline.columns["medx_donotcall"] is outcome.baseline.do_not_call
    for name in update_of(found).increments:
        assert found.baseline.columns[name] == outcome.baseline.attempt_count


def test_an_empty_status_is_a_known_null():
    found = planned(outcome_of("no_answer", baseline=make_baseline(status=None)))
    assert found.baseline.columns["medx_callstatus"] is None


def test_a_transcript_goes_no_further_unless_it_was_asked_for():
    turns = (Utterance(role="agent", text="Hello"), Utterance(role="contact", text="Mail kim@example.com please"))
    outcome = outcome_of("no_answer", transcript=turns)
    assert "Hello" not in repr(planned(outcome))
    full = step(planned(outcome, policy=Policy(transcript="full")), Operation.CREATE_PHONE_CALL)
    assert full.attributes["description"] == (
        "Disposition: no_answer.\n\nTranscript:\nagent: Hello\ncontact: Mail [REDACTED] please"
    )
    assert full.attributes["subject"] == "Disposition: no_answer."


def test_redaction_can_be_switched_off_by_name():
    outcome = outcome_of("no_answer", summary="Mail kim@example.com")
    unredacted = step(planned(outcome, policy=Policy(redaction="none")), Operation.CREATE_PHONE_CALL)
    assert unredacted.attributes["subject"] == "Mail kim@example.com"
    redacted = step(planned(outcome), Operation.CREATE_PHONE_CALL)
    assert redacted.attributes["subject"] == "Mail [REDACTED]"


def test_P7_the_accounts_name_is_free_text_too():
    outcome = outcome_of("call_back_later", account=Account(id=an_id("a"), name="Clinic, call 530-555-0123"))
    assert step(planned(outcome), Operation.CREATE_TASK).attributes["subject"] == "Callback for Clinic, call [REDACTED]"


def test_P6_an_invalid_outcome_is_rejected_with_every_reason_and_no_plan():
    outcome = make_outcome(session_id="a\nb", failing_rules=(EligibilityRule("a"),), ended_at=NOON - timedelta(hours=1))
    found = plan(outcome, a_source(), CRM, Policy(), NO_HISTORY, Envelope(b"", NOON))
    assert isinstance(found, Rejected)
    assert [each.code for each in found.reasons] == [
        "invalid_id",
        "failing_rules_without_block",
        "ends_before_it_starts",
        "empty_key",
    ]


@given(outcomes(), st.integers(0, 1000))
def test_the_digest_covers_the_writes(outcome, attempts):
    baseline = replace(outcome.baseline, attempt_count=attempts)
    one, other = planned(outcome), planned(replace(outcome, baseline=baseline))
    same = (one.steps, one.baseline, one.preceding) == (other.steps, other.baseline, other.preceding)
    assert (one.digest == other.digest) is same


def test_P3_fixed_values_are_pinned_in_the_plan_of_the_records_that_are_created():
    crm = replace(
        CRM,
        phone_call=replace(CRM.phone_call, fixed={"medx_channel": 3, "subject": "never this"}),
        task=replace(CRM.task, fixed={"medx_urgent": True}),
    )
    plan_with, plan_without = (planned(outcome_of("call_back_later"), crm=each) for each in (crm, CRM))
    added = [
        {k: v for k, v in ours.attributes.items() if k not in theirs.attributes}
        for ours, theirs in zip(plan_with.steps, plan_without.steps, strict=True)
    ]
    assert added == [{"medx_channel": 3}, {}, {}, {"medx_urgent": True}]
    assert plan_with.steps[0].attributes["subject"] == plan_without.steps[0].attributes["subject"]
    assert plan_with.digest != plan_without.digest


SENDER = ActivityParty(
    kind=PartyKind.QUEUE, record_id=an_id("q"), participation=1, column="partyid_queue@odata.bind", value="/queues(q)"
)
PARTIES = PartyColumns(
    collection="phonecall_activity_parties",
    entity_set="activityparties",
    id_column="activityid",
    sender=SENDER,
    recipient=Lookup("partyid_account@odata.bind", "/accounts(", ")"),
    recipient_type=2,
)
WITH_PARTIES = replace(CRM, phone_call=replace(CRM.phone_call, parties=PARTIES))


def test_P3_the_parties_of_a_call_are_pinned_on_the_step_that_creates_it():
    [call, *others] = planned(outcome_of("call_back_later"), crm=WITH_PARTIES).steps
    account = an_id("account 1")
    assert call.activity_parties.members[0] == SENDER
    assert call.activity_parties.members[1] == ActivityParty(
        kind=PartyKind.CUSTOMER,
        record_id=account,
        participation=2,
        column="partyid_account@odata.bind",
        value=f"/accounts({account})",
    )
    assert [each.activity_parties for each in others] == [None] * 3


def test_a_call_to_nobody_that_is_known_has_no_recipient_and_without_a_sender_no_parties():
    without_account = outcome_of("no_answer", account=None)
    [call, *_] = planned(without_account, crm=WITH_PARTIES).steps
    assert call.activity_parties.members == (SENDER,)
    no_sender = replace(CRM, phone_call=replace(CRM.phone_call, parties=replace(PARTIES, sender=None)))
    assert planned(without_account, crm=no_sender).steps[0].activity_parties is None


def test_P3_a_call_is_created_and_completed_on_behalf_of_its_caller_and_nothing_else_is():
    caller = Caller(object_id=an_id("o"), record_id=an_id("u"), entity_set="systemusers")
    crm = replace(CRM, phone_call=replace(CRM.phone_call, caller=caller))
    assert [each.caller for each in planned(outcome_of("call_back_later"), crm=crm).steps] == [
        caller,
        caller,
        None,
        None,
    ]


def test_the_digest_says_who_takes_part_and_on_whose_behalf():
    """P1: a plan that names nobody has the digest that it had before there were parties and callers."""
    caller = Caller(object_id=an_id("o"), record_id=an_id("u"), entity_set="systemusers")
    crms = [
        CRM,
        WITH_PARTIES,
        replace(WITH_PARTIES, phone_call=replace(WITH_PARTIES.phone_call, caller=caller)),
        replace(CRM, phone_call=replace(CRM.phone_call, caller=caller)),
        replace(CRM, phone_call=replace(CRM.phone_call, caller=replace(caller, object_id=an_id("p")))),
    ]
    assert len({planned(outcome_of("no_answer"), crm=each).digest for each in crms}) == 5
