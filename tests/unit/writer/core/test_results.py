"""What is told: once per session, and for everything blocked, what a person has to do."""

from __future__ import annotations

import shlex
from dataclasses import replace

import pytest

from schemas import records
from schemas.records import BlockReason, Caller, Disposition, PlanPosition, ResultStatus, StepOutcome, WritebackResult
from tests.support.factories import NOON, make_plan
from tests.unit.writer.core.crm_model import plan_for
from writer.core.emission import Observed
from writer.core.gate import Gap
from writer.core.history import Settled, settled_as
from writer.core.reconcile import Conflict, Late, NoQueueItem
from writer.core.replies import ON_BEHALF, Judgement, Kind, Meaning, Privilege, lost, never_sent, not_signed_in
from writer.core.results import (
    Doubt,
    ResultContext,
    at_maximum,
    conflict,
    dry_run,
    dry_run_late,
    dry_run_settled,
    foreign_record,
    landed,
    late,
    metadata,
    no_queue_item,
    refused,
    resume_needed,
    why_it_waits,
    would_be_blocked,
)
from writer.core.sign_in import SignInFault, SignInTrouble

PLAN = replace(
    plan_for(1, 'W/"1"', task=True),
    warnings=(records.Warning(code="non_e164_phone", field="phone_number", message="is not in E.164 form"),),
)
FALLBACK = records.Warning(code="task_owner_override_unverifiable", field="ownerid", message="default used")
POSITION = PlanPosition(partition=2, offset=7, digest=PLAN.digest)
TELLING = ResultContext(PLAN, POSITION, 2, NOON, "0.1.0 writer-0", (FALLBACK,))
ALL = {0, 1, 2, 3}
DONE = Judgement(Kind.DONE, Meaning.LANDED, 204, request_id="1111-2222")
C, U, A, B, S, P = (
    StepOutcome.CREATED, StepOutcome.UPDATED, StepOutcome.ALREADY_THERE,
    StepOutcome.BLOCKED, StepOutcome.SKIPPED, StepOutcome.PLANNED,
)  # fmt: skip


def outcomes(result: WritebackResult) -> list[StepOutcome]:
    return [step.outcome for step in result.steps]


def test_a_landed_plan_is_completed_and_names_every_step() -> None:
    result = landed(TELLING, ALL, DONE)

    assert (result.status, result.block_reason, result.message) == (ResultStatus.COMPLETED, None, None)
    assert outcomes(result) == [C, U, U, C]
    assert [(s.http_status, s.request_id, s.error_code) for s in result.steps] == [(204, "1111-2222", None)] * 4
    assert (result.session_id, result.plan, result.attempts) == (PLAN.session_id, POSITION, 2)
    assert [warning.code for warning in result.warnings] == ["non_e164_phone", "task_owner_override_unverifiable"]


def test_W2_what_stood_there_before_is_told_as_such() -> None:
    assert outcomes(landed(TELLING, (), None)) == [A, A, A, A]
    assert outcomes(landed(TELLING, {2, 3}, DONE)) == [A, A, U, C]


def test_an_ineligible_session_is_blocked_when_it_has_landed() -> None:
    plan = replace(plan_for(1, 'W/"1"', call=False), disposition=Disposition.BLOCKED)

    result = landed(replace(TELLING, plan=plan), {2}, DONE)

    assert (result.status, result.block_reason) == (ResultStatus.BLOCKED, BlockReason.ELIGIBILITY)
    assert outcomes(result) == [U]


def test_W3_a_conflict_names_the_columns_and_what_was_recorded() -> None:
    result = conflict(TELLING, Conflict(("medx_notes", "medx_callstatus"), (0, 1)), {0, 1}, DONE)

    assert (result.block_reason, result.conflicts) == (
        BlockReason.CONFLICT_DETECTED,
        ("medx_notes", "medx_callstatus"),
    )
    assert outcomes(result) == [C, U, B, S]
    assert "medx_notes, medx_callstatus" in str(result.message)


def test_R4_a_conflict_says_what_helps() -> None:
    told = str(conflict(TELLING, Conflict(("medx_notes",), ()), ()).message)

    assert "writeback resolve sess-000001. Its --apply writes this session onto the queue item" in told
    assert "its --leave closes the session" in told


OPT_OUT = replace(TELLING, plan=plan_for(1, 'W/"1"', opt_out=True))


@pytest.mark.parametrize(
    ("found", "sent", "outcome", "words"),
    [
        (Conflict(("a",), (0, 1), Observed('W/"2"', {})), {0, 1, 2}, U, "do-not-call was set"),
        (Conflict(("a",), (), opted_out=True), set(), A, "do-not-call is set"),
        (Conflict(("medx_donotcall",), ()), set(), B, "somebody changed medx_donotcall itself"),
    ],
)
def test_W3_a_conflict_says_what_became_of_an_opt_out(
    found: Conflict, sent: set[int], outcome: StepOutcome, words: str
) -> None:
    result = conflict(OPT_OUT, found, sent, DONE)

    assert result.steps[2].outcome is outcome
    assert words in str(result.message)
    assert settled_as(result) is (Settled.CALL_ONLY if outcome is B else Settled.OPT_OUT_ONLY)


def test_a_conflict_without_a_call_does_not_say_that_one_is_recorded() -> None:
    ineligible = replace(TELLING, plan=plan_for(1, 'W/"1"', call=False))

    assert "No call was placed" in str(conflict(ineligible, Conflict(("a",), ()), ()).message)


@pytest.mark.parametrize(
    ("etag", "found", "sent", "steps", "words"),
    [
        ('W/"1"', NoQueueItem((0, 1)), {0, 1}, [C, U, B, S], "deleted after the call was taken, or its id is wrong"),
        ('W/"1"', NoQueueItem((), call_stands=True), (), [A, A, B, S], "The call itself is recorded"),
        (None, NoQueueItem((), call_stands=True), (), [A, A, B, S], "The call itself is recorded"),
        (None, NoQueueItem(()), (), [S, S, B, S], "Nothing was recorded"),
    ],
)
def test_W7_a_missing_queue_item_is_told_as_far_as_it_is_known(
    etag: str | None, found: NoQueueItem, sent: set[int], steps: list[StepOutcome], words: str
) -> None:
    result = no_queue_item(replace(TELLING, plan=plan_for(1, etag, task=True)), found, sent, DONE)

    assert outcomes(result) == steps
    assert words in str(result.message)
    assert result.block_reason is BlockReason.CONFLICT_DETECTED


def test_R5_a_late_plan_is_told_as_superseded() -> None:
    found = Late((0, 1, 3), Observed('W/"2"', {}), counts=True, sets_do_not_call=False)
    result = late(TELLING, found, {0, 1, 2, 3}, DONE)

    assert (result.status, outcomes(result)) == (ResultStatus.COMPLETED, [C, U, StepOutcome.SUPERSEDED, C])
    assert "recorded and counted" in str(result.message)
    assert settled_as(result) is Settled.SUPERSEDED


def test_R5_a_late_plan_at_the_counters_maximum_does_not_say_that_it_was_counted() -> None:
    found = Late((0, 1, 3), Observed('W/"2"', {}), counts=True, sets_do_not_call=False)
    told = str(late(replace(TELLING, warnings=(at_maximum("medx_attemptcount"),)), found, {0, 1, 2, 3}, DONE).message)

    assert "recorded, but not counted (medx_attemptcount is at its maximum)" in told
    assert "recorded and counted" not in told


def test_R5_a_late_plan_whose_call_stood_already_says_what_that_may_mean() -> None:
    """With nothing known of it, it may be the call of another queue item: one session id was used twice."""
    found = Late((3,), Observed('W/"2"', {}), counts=False, sets_do_not_call=False, found_call=True)
    told = str(late(TELLING, found, {3}, DONE).message)

    assert "existed already, so none was recorded or counted now" in told
    assert "used this session id for two queue items" in told
    known = str(late(TELLING, replace(found, found_call=False), {3}, DONE).message)
    assert "this call is recorded, and" in known
    assert known.endswith("Nothing to do.")


@pytest.mark.parametrize(
    ("before", "words"),
    [
        (None, "Nothing was written"),
        (Settled.NOT_WRITTEN, "Nothing was written"),
        (Settled.CALL_ONLY, "the call itself is recorded, since an earlier attempt"),
        (Settled.OPT_OUT_ONLY, "the call is recorded and do-not-call is set"),
    ],
)
def test_W2_a_replay_that_writes_nothing_does_not_deny_what_a_conflict_had_recorded(
    before: Settled | None, words: str
) -> None:
    telling, gap = replace(TELLING, before=before), Gap(2, "items", "a", "a column that exists")

    for result in (metadata(telling, [gap]), foreign_record(telling, 3)):
        assert words in str(result.message)
        assert settled_as(result) is Settled.NOT_WRITTEN
    kept = str(refused(telling, Judgement(Kind.PERMANENT, Meaning.INVALID, 400), 2).message)
    assert ("The call itself is recorded, since an earlier attempt." in kept) is (before in _RECORDED)


_RECORDED = (Settled.CALL_ONLY, Settled.OPT_OUT_ONLY)


def test_R5_a_late_opt_out_says_that_do_not_call_is_set() -> None:
    found = Late((), Observed('W/"2"', {}), counts=False, sets_do_not_call=False)
    result = late(OPT_OUT, found, ())

    assert outcomes(result) == [A, A, StepOutcome.SUPERSEDED]
    assert "do-not-call is set" in str(result.message)


def test_R5_a_late_ineligible_session_stays_blocked_for_eligibility() -> None:
    plan = replace(plan_for(1, 'W/"1"', call=False), disposition=Disposition.BLOCKED)
    found = Late((), Observed('W/"2"', {}), counts=False, sets_do_not_call=False)

    result = late(replace(TELLING, plan=plan), found, ())

    assert result.block_reason is BlockReason.ELIGIBILITY
    assert settled_as(result) is Settled.SUPERSEDED


def test_W9_missing_metadata_names_every_gap() -> None:
    gaps = (Gap(2, "items", "a", "a column that exists"), Gap(3, "tasks", None, "a table that exists"))

    result = metadata(TELLING, gaps)

    assert result.block_reason is BlockReason.METADATA
    assert outcomes(result) == [S, S, B, B]
    assert all(str(gap) in str(result.message) for gap in gaps)


def test_W2_a_record_of_another_call_is_told_as_such() -> None:
    result = foreign_record(TELLING, 3)

    assert result.block_reason is BlockReason.PERMANENT_OTHER
    assert outcomes(result) == [S, S, S, B]


@pytest.mark.parametrize("meaning", list(Meaning))
def test_a_refusal_gives_the_evidence_and_what_to_do(meaning: Meaning) -> None:
    judgement = Judgement(Kind.PERMANENT, meaning, 400, "0x80044331", "1111-2222")

    result = refused(TELLING, judgement, 2)

    assert result.block_reason is (BlockReason.METADATA if meaning is Meaning.DRIFT else BlockReason.PERMANENT_OTHER)
    assert outcomes(result) == [S, S, B, S]
    assert result.steps[2].error_code == "0x80044331"
    assert "at step 2 (status 400, code 0x80044331)" in str(result.message)


def test_R3_a_refusal_behind_a_request_without_an_answer_says_that_it_may_still_arrive() -> None:
    result = refused(TELLING, Judgement(Kind.PERMANENT, Meaning.DRIFT, 400, "0x80044331"), 2, Doubt.MAY_ARRIVE)

    assert result.may_have_landed
    assert "may still arrive, and a replay finds that out" in str(result.message)
    assert "replan" not in str(result.message)


def test_a_refusal_that_names_no_step_blocks_them_all() -> None:
    result = refused(TELLING, Judgement(Kind.PERMANENT, Meaning.INVALID, 418))

    assert outcomes(result) == [B, B, B, B]
    assert "(status 418)" in str(result.message)


@pytest.mark.parametrize(
    ("judgement", "last"), [(lost(), "no answer"), (Judgement(Kind.TRANSIENT, Meaning.TROUBLE, 503), "status 503")]
)
def test_W6_resume_needed_is_no_outcome_and_names_the_last_reply(judgement: Judgement, last: str) -> None:
    result = resume_needed(TELLING, judgement)

    assert (result.status, result.block_reason) == (ResultStatus.RESUME_NEEDED, None)
    assert outcomes(result) == [P, P, P, P]
    assert last in str(result.message)


def test_W8_a_dry_run_tells_what_it_would_have_sent() -> None:
    result = dry_run(TELLING, {2, 3})

    assert result.status is ResultStatus.DRY_RUN
    assert outcomes(result) == [A, A, P, P]


def test_every_blocked_result_says_what_to_do() -> None:
    blocked = [
        conflict(TELLING, Conflict(("a",), ()), ()),
        metadata(TELLING, (Gap(0, "a", None, "b"),)),
        refused(TELLING, Judgement(Kind.PERMANENT, Meaning.INVALID, 400)),
    ]

    assert all(result.status is ResultStatus.BLOCKED for result in blocked)
    for result, named in zip(blocked, ("resolve", "replay --session", "replay --session"), strict=True):
        assert f"writeback {named} sess-000001" in str(result.message), "the exact command"


@pytest.mark.parametrize("before", [None, *Settled])
def test_P1_a_new_plan_is_named_only_where_nothing_was_written(before: Settled | None) -> None:
    context = replace(TELLING, before=before)
    drift = Judgement(Kind.PERMANENT, Meaning.DRIFT, 400)
    told = [refused(context, drift).message, metadata(context, (Gap(0, "a", None, "b"),)).message]

    for message in told:
        assert ("writeback replan --session sess-000001" in str(message)) is (before in (None, Settled.NOT_WRITTEN))


def test_commands_in_messages_are_real_ones_whatever_characters_a_session_has() -> None:
    context = replace(TELLING, plan=replace(TELLING.plan, session_id="a;b'c"))
    for command in ("resolve", "replay --session", "replan --session"):
        _, *arguments = shlex.split(context.command(command))
        assert arguments == [*command.split(), "a;b'c"]


def test_W8_a_dry_run_tells_what_would_block_and_that_nothing_was_written() -> None:
    result = would_be_blocked(conflict(TELLING, Conflict(("a",), (0, 1)), {0, 1}))

    assert outcomes(result) == [P, P, B, S]
    assert str(result.message).startswith("Checked against the CRM; nothing was written. The plan would be blocked:")


def test_W8_a_dry_run_plans_no_step_that_would_not_be_sent() -> None:
    stands = would_be_blocked(conflict(TELLING, Conflict(("a",), ()), ()))
    foreign = would_be_blocked(foreign_record(TELLING, 0))
    never_read = no_queue_item(replace(TELLING, plan=plan_for(1, None, task=True)), NoQueueItem(()), ())

    assert outcomes(stands) == [A, A, B, S], "the call was recorded before"
    assert outcomes(foreign) == [B, S, S, S]
    assert outcomes(would_be_blocked(never_read)) == [S, S, B, S]


def test_W8_a_dry_run_of_a_conflict_plans_the_opt_out_and_does_not_claim_that_it_was_set() -> None:
    found = Conflict(("a",), (0, 1), Observed('W/"2"', {}))
    result = would_be_blocked(conflict(OPT_OUT, found, {0, 1, 2}))

    assert outcomes(result) == [P, P, P]
    assert str(result.message).endswith("In this dry run nothing of that was done.")


@pytest.mark.parametrize(
    ("counts", "sets", "words"),
    [
        (True, True, "the writer would only count this call and set do-not-call"),
        (False, True, "the writer would only set do-not-call"),
        (False, False, "nothing would be written"),
    ],
)
def test_W8_a_dry_run_of_a_late_plan_says_what_it_would_do_to_the_queue_item(
    counts: bool, sets: bool, words: str
) -> None:
    found = Late((0, 1), Observed('W/"2"', {}), counts=counts, sets_do_not_call=sets, left_out=(3,))
    result = dry_run_late(TELLING, found)

    assert (result.status, outcomes(result)) == (ResultStatus.DRY_RUN, [P, P, StepOutcome.SUPERSEDED, S])
    assert words in str(result.message)


@pytest.mark.parametrize(
    ("known", "there"),
    [
        (Settled.LANDED, [A, A, A, A]),
        (Settled.SUPERSEDED, [A, A, A, A]),
        (Settled.CALL_ONLY, [A, A, S, S]),
        (Settled.OPT_OUT_ONLY, [A, A, A, S]),
        (Settled.CLOSED, [S, S, S, S]),
    ],
)
def test_W8_a_dry_run_says_of_a_session_that_settled_that_nothing_is_left_to_do(
    known: Settled, there: list[StepOutcome]
) -> None:
    result = dry_run_settled(TELLING, known)

    assert (result.status, settled_as(result)) == (ResultStatus.DRY_RUN, None)
    assert outcomes(result) == there
    assert "Nothing would be written" in str(result.message)


def test_R5_a_callback_that_is_left_out_since_the_contact_opted_out_is_told_as_skipped() -> None:
    found = Late((0, 1), Observed('W/"2"', {}), counts=True, sets_do_not_call=False, left_out=(3,))
    result = late(TELLING, found, {0, 1, 2}, DONE)

    assert outcomes(result) == [C, U, StepOutcome.SUPERSEDED, S]
    assert "no callback task" in str(result.message)


def test_an_opt_out_that_finds_no_queue_item_says_that_somebody_must_see_to_it() -> None:
    told = no_queue_item(OPT_OUT, NoQueueItem((0, 1)), {0, 1}, DONE)
    other = no_queue_item(TELLING, NoQueueItem((0, 1)), {0, 1}, DONE)

    assert "check that this contact is not called again" in str(told.message)
    assert "opted out" not in str(other.message)


def test_what_we_know_ourselves_of_a_refusal_is_told_instead_of_the_crms_codes() -> None:
    fight = Judgement(Kind.TRANSIENT, Meaning.SUSPECT, 412, advice="Stop the flow.")

    assert refused(TELLING, fight).message == (
        "Stop the flow. Last reply: status 412. Then: writeback replay --session sess-000001."
    )
    assert why_it_waits(fight) == "Stop the flow. Last reply: status 412."


def test_a_counter_at_its_maximum_is_a_warning_that_names_the_column() -> None:
    assert at_maximum("medx_attemptcount").field == "medx_attemptcount"


@pytest.mark.parametrize(
    ("judgement", "says"),
    [
        (Judgement(Kind.TRANSIENT, Meaning.SIGN_IN, 401), "application user"),
        (not_signed_in(SignInFault(SignInTrouble.SECRET_EXPIRED, "AADSTS7000222")), "The client secret has expired."),
        (
            Judgement(Kind.PERMANENT, Meaning.NOT_ALLOWED, 403, privilege=Privilege("prvReadUser", "systemuser")),
            "Give the application user the privilege prvReadUser on the table systemuser",
        ),
        (Judgement(Kind.PERMANENT, Meaning.NOT_ALLOWED, 403), "Give the application user the missing privilege"),
        (Judgement(Kind.THROTTLED, Meaning.THROTTLED, 429), "asks the writer to wait"),
        (Judgement(Kind.TRANSIENT, Meaning.TROUBLE, 503), "reports trouble of its own"),
        (Judgement(Kind.TRANSIENT, Meaning.TOO_SLOW, 504), "reports trouble of its own"),
        (never_sent(), "could not be reached"),
        (never_sent("The certificate is unknown."), "The certificate is unknown."),
        (lost(), "could not be reached"),
        (Judgement(Kind.TRANSIENT, Meaning.SUSPECT, 418), "nothing certain"),
    ],
)
def test_what_makes_a_plan_wait_is_named_with_the_last_reply_and_what_a_person_must_do(
    judgement: Judgement, says: str
) -> None:
    said = why_it_waits(judgement)
    result = resume_needed(TELLING, judgement)

    assert says in said
    assert f"status {judgement.status}" in said or (judgement.status is None and "no answer" in said)
    assert said in str(result.message)
    assert result.last_reply is not None
    assert (result.last_reply.kind, result.last_reply.http_status) == (judgement.kind, judgement.status)


def test_a_refusal_names_the_privilege_that_is_missing() -> None:
    denied = Judgement(Kind.PERMANENT, Meaning.NOT_ALLOWED, 403, privilege=Privilege("prvCreateTask", "task"))

    said = str(refused(TELLING, denied).message)
    assert "Give the application user the privilege prvCreateTask on the table task" in said


@pytest.mark.parametrize(
    ("privilege", "who"),
    [
        (Privilege("prvCreateActivity", "phonecall"), "the application user, and the user u on whose behalf calls are"),
        (None, "the application user, and the user u on whose behalf calls are recorded, the missing privilege"),
        (ON_BEHALF, "the application user the privilege prvActOnBehalfOfAnotherUser"),
    ],
)
def test_a_call_on_behalf_of_somebody_needs_the_rights_of_both_and_the_result_names_both(
    privilege: Privilege | None, who: str
) -> None:
    call, *others = make_plan().steps
    caller = Caller(object_id="o", record_id="u", entity_set="systemusers")
    plan = make_plan(steps=(replace(call, caller=caller), *others))
    denied = Judgement(Kind.PERMANENT, Meaning.NOT_ALLOWED, 403, privilege=privilege)
    for failing in (None, 0):
        assert f"Give {who}" in str(refused(replace(TELLING, plan=plan), denied, failing).message)
    assert "on whose behalf" not in str(refused(replace(TELLING, plan=plan), denied, 2).message)
