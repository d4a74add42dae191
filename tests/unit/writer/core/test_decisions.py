"""W2, W7: what a person decides about a session is done once, onto the row as they have seen it, or said not to be."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.core.rows import opt_out_decided
from schemas.headers import ACCEPTED_ETAG, LEAVE, REPLAN, REPLAY, Headers
from schemas.records import BlockReason, Decision, PlannedWriteback, ResultStatus, StepOutcome, WritebackResult
from tests.unit.writer.core.crm_model import ATTEMPTS, BEFORE, FLAG, ITEM, SESSION, plan_for
from tests.unit.writer.core.engine_kit import CALLS, ITEMS, LOST
from tests.unit.writer.workbench import World
from writer.core import messages
from writer.core.decisions import Accepted, Left, OptOutLeft, decision_of
from writer.core.exchanges import Exchange, same_for_all
from writer.core.history import Settled

NOTES = "medx_notes"
AT = datetime(2026, 11, 28, 20, 0, tzinfo=UTC)


def marked(name: str, **said: Any) -> list[tuple[str, bytes]]:
    whole = {"by": "kim@desk", "why": "the note is newer", "at": "2026-11-28T20:00:00Z", **said}
    return [(name, json.dumps(whole).encode())]


def accepting(etag: str, **said: Any) -> list[tuple[str, bytes]]:
    return marked(ACCEPTED_ETAG, etag=etag, **said)


def decided(what: str) -> Decision:
    return Decision(what=what, by="kim@desk", reason="the note is newer", at=AT)


@pytest.fixture
def world() -> World:
    world = World()
    world.assign(0)
    return world


def etag(world: World) -> str:
    return str(world.crm.rows[ITEMS][ITEM]["@odata.etag"])


def edit(world: World, **columns: Any) -> str:
    """By a person; returns the row's new etag."""
    row = {name: value for name, value in world.crm.rows[ITEMS][ITEM].items() if name != "@odata.etag"}
    return world.crm.seed(ITEMS, ITEM, **row | columns)


def in_conflict(world: World, *, note: bool = True, **plan: Any) -> PlannedWriteback:
    """A session whose call is recorded, and whose queue item somebody changed; its result is published."""
    planned = plan_for(1, world.crm.seed(ITEMS, ITEM, **BEFORE), **{"task": True, **plan})
    edit(world, **{NOTES: "by hand"} if note else {FLAG: False, NOTES: "by hand", "medx_priority": 9})
    world.arrive(planned)
    assert world.results[-1].block_reason is BlockReason.CONFLICT_DETECTED
    return planned


def send(world: World, plan: PlannedWriteback, headers: Headers, offset: int = 1) -> WritebackResult:
    world.arrive(plan, offset=offset, headers=list(headers))
    world.wait(1)
    return world.results[-1]


def calls(world: World) -> int:
    return len(world.crm.rows[CALLS])


def row(world: World, *names: str) -> list[Any]:
    return [world.crm.rows[ITEMS][ITEM].get(name) for name in names]


def test_W7_the_plan_is_applied_onto_the_row_that_was_seen_counted_once_with_its_task_and_no_second_call(
    world: World,
) -> None:
    plan = in_conflict(world)
    result = send(world, plan, accepting(etag(world)))
    assert (result.status, result.decision) == (ResultStatus.COMPLETED, decided("apply"))
    assert [step.outcome for step in result.steps] == [
        StepOutcome.ALREADY_THERE, StepOutcome.ALREADY_THERE, StepOutcome.UPDATED, StepOutcome.CREATED,
    ]  # fmt: skip
    assert row(world, SESSION, ATTEMPTS, NOTES) == [plan.session_id, 1, "by hand"]
    assert (calls(world), len(world.crm.rows["tasks"])) == (1, 1)


def test_W7_a_row_that_changed_after_it_was_seen_conflicts_anew_and_says_so(world: World) -> None:
    plan = in_conflict(world)
    seen = etag(world)
    edit(world, medx_priority=7)
    result = send(world, plan, accepting(seen))
    assert (result.status, result.block_reason) == (ResultStatus.BLOCKED, BlockReason.CONFLICT_DETECTED)
    assert (result.conflicts, result.decision) == ((NOTES, "medx_priority"), None)
    assert "has changed once more since a person decided to apply this session" in str(result.message)
    assert "writeback resolve sess-000001" in str(result.message)
    assert row(world, SESSION, ATTEMPTS) == [None, 0]
    edit(world, **{NOTES: None, "medx_priority": 3})
    assert send(world, plan, accepting(seen), 2).message.startswith(  # type: ignore[union-attr]
        "The queue item has changed once more since a person decided to apply this session, so that was not done. The"
    ), "and it is asked again even if the row is back at its baseline"


def test_W7_a_change_between_our_read_and_our_write_conflicts_anew(world: World) -> None:
    plan = in_conflict(world)
    seen, edited = etag(world), []

    def just_before_the_write(send: messages.Send) -> Exchange | None:
        if send.operation == "write" and not edited:
            edited.append(edit(world, medx_priority=8))
        return None

    world.instead = just_before_the_write
    result = send(world, plan, accepting(seen))
    assert (edited != [], result.conflicts) == (True, (NOTES, "medx_priority"))
    assert row(world, ATTEMPTS, "medx_priority") == [0, 8]


def test_W2_an_application_whose_reply_is_lost_is_found_landed(world: World) -> None:
    plan = in_conflict(world)
    lost: list[messages.Send] = []

    def swallow(send: messages.Send) -> Exchange | None:
        if send.operation == "write" and not lost:
            lost.append(send)
            world._answered(send)  # it took effect, and nobody heard
            return same_for_all(send.parts, LOST)
        return None

    world.instead = swallow
    result = send(world, plan, accepting(etag(world)))
    assert (result.status, result.decision) == (ResultStatus.COMPLETED, decided("apply"))
    assert (row(world, ATTEMPTS), calls(world)) == ([1], 1)


def test_W2_two_applications_at_once_count_once_and_the_second_changes_nothing(world: World) -> None:
    plan = in_conflict(world)
    seen = etag(world)
    send(world, plan, accepting(seen))
    world.arrive(plan, offset=2, headers=accepting(seen, by="lee@desk"))
    assert row(world, ATTEMPTS) == [1]
    assert world.results[-1].decision == decided("apply"), "the first is the last word"
    assert (world.ended[-1], world.frontier()) == ("settled before", 3)


@pytest.mark.parametrize("first", [LEAVE, ACCEPTED_ETAG])
def test_W2_of_two_people_who_decide_differently_the_first_decides(world: World, first: str) -> None:
    plan = in_conflict(world)
    decisions = {LEAVE: marked(LEAVE), ACCEPTED_ETAG: accepting(etag(world))}
    result = send(world, plan, decisions.pop(first))
    [second] = decisions.values()
    assert send(world, plan, second, 2) == result
    assert row(world, ATTEMPTS) == [int(first == ACCEPTED_ETAG)]


def test_W2_what_a_person_leaves_is_closed_with_who_and_why_and_the_crm_is_not_asked(world: World) -> None:
    plan = in_conflict(world)
    before = len(world.requests)
    result = send(world, plan, marked(LEAVE))
    assert (result.status, result.block_reason, result.decision) == (ResultStatus.CLOSED, None, decided("leave"))
    assert [step.outcome for step in result.steps] == [
        StepOutcome.ALREADY_THERE, StepOutcome.ALREADY_THERE, StepOutcome.SKIPPED, StepOutcome.SKIPPED,
    ]  # fmt: skip
    assert "the call itself is recorded" in str(result.message)
    assert (len(world.requests), world.frontier()) == (before, 2)
    assert world.index.known[plan.session_id] is Settled.CLOSED
    world.arrive(plan, offset=2, headers=marked(REPLAY))
    assert (len(world.requests), world.ended[-1]) == (before, "settled before"), "a replay changes nothing"


def test_W2_a_session_of_which_nothing_was_written_can_be_left_too(world: World) -> None:
    plan = plan_for(1, world.crm.seed(ITEMS, ITEM, **BEFORE), opt_out=True)
    world.index.known[plan.session_id] = Settled.NOT_WRITTEN
    result = send(world, plan, marked(LEAVE), 0)
    assert {step.outcome for step in result.steps} == {StepOutcome.SKIPPED}
    assert str(result.message).startswith("A person decided to leave the queue item as it is. Nothing was written.")
    assert "make sure that nobody calls this contact again" in str(result.message)


def test_W2_a_decision_waits_until_it_is_known_how_the_session_settled(world: World) -> None:
    plan = plan_for(1, world.crm.seed(ITEMS, ITEM, **BEFORE))
    world.index.read = False
    world.arrive(plan, headers=marked(LEAVE))
    assert world.results == []
    world.index.known[plan.session_id], world.index.read = Settled.LANDED, True
    world.tell(messages.ResultsRead(0, world.epochs[0]))
    assert (world.results, world.ended) == ([], ["settled before"]), "what landed is not closed"


def an_opt_out_in_conflict(world: World) -> PlannedWriteback:
    """A person has set do-not-call back, so the conflict did not set it."""
    plan = plan_for(
        1, world.crm.seed(ITEMS, ITEM, **BEFORE | {FLAG: None}), opt_out=True, baseline=BEFORE | {FLAG: None}
    )
    edit(world, **{FLAG: False, NOTES: "calls are welcome"})
    world.arrive(plan)
    assert world.results[-1].conflicts == (FLAG, NOTES)
    assert row(world, FLAG) == [False]
    return plan


def test_an_opt_out_can_be_applied_alone_and_the_rest_stays_to_be_decided(world: World) -> None:
    plan = an_opt_out_in_conflict(world)
    result = send(world, plan, accepting(etag(world), only="opt-out"))
    assert row(world, FLAG, SESSION, ATTEMPTS, "medx_callstatus") == [True, None, 0, 1]
    assert (result.status, result.decision) == (ResultStatus.BLOCKED, decided("apply the opt-out alone"))
    assert str(result.message).startswith("A person decided to apply the opt-out of this session alone")
    assert "do-not-call was set" in str(result.message)
    assert world.index.known[plan.session_id] is Settled.OPT_OUT_ONLY
    whole = send(world, plan, accepting(etag(world)), 2)
    assert (whole.status, row(world, SESSION, ATTEMPTS)) == (ResultStatus.COMPLETED, [plan.session_id, 1])


@pytest.mark.parametrize("only", [None, "opt-out"])
def test_an_opt_out_lands_though_the_item_was_called_again_since(world: World, only: str | None) -> None:
    plan = an_opt_out_in_conflict(world)
    later = {SESSION: "sess-later", ATTEMPTS: 5, "medx_lastdisposition": "voicemail", "medx_callstatus": 0}
    seen = edit(world, **later)
    world.index.known["sess-later"] = Settled.LANDED
    result = send(world, plan, accepting(seen, only=only))
    assert row(world, FLAG) == [True]
    if only:
        assert (row(world, SESSION, ATTEMPTS), result.status) == (["sess-later", 5], ResultStatus.BLOCKED)
    else:
        assert (row(world, SESSION, ATTEMPTS), result.status) == ([plan.session_id, 6], ResultStatus.COMPLETED)


def test_an_opt_out_that_is_set_already_is_set_whatever_else_has_changed(world: World) -> None:
    plan = an_opt_out_in_conflict(world)
    seen = etag(world)
    edit(world, **{FLAG: True})
    sent = len(world.requests)
    result = send(world, plan, accepting(seen, only="opt-out"))
    assert result.decision == decided("apply the opt-out alone")
    assert len(world.requests) == sent + 1, "it was read, and nothing was written"
    assert world.index.known[plan.session_id] is Settled.OPT_OUT_ONLY


def test_a_stale_opt_out_is_not_set_against_a_person_who_has_just_changed_it_and_is_asked_again(world: World) -> None:
    plan = an_opt_out_in_conflict(world)
    seen = etag(world)
    edit(world, medx_priority=5)
    result = send(world, plan, accepting(seen, only="opt-out"))
    assert (row(world, FLAG), result.decision) == ([False], None)
    assert "has changed once more" in str(result.message)


def test_a_session_without_an_opt_out_has_none_to_apply(world: World) -> None:
    plan = in_conflict(world)
    result = send(world, plan, accepting(etag(world), only="opt-out"))
    assert (result.status, row(world, FLAG, ATTEMPTS)) == (ResultStatus.BLOCKED, [False, 0])


def test_what_landed_whole_by_its_task_is_not_applied_again(world: World) -> None:
    plan = in_conflict(world)
    send(world, plan, accepting(etag(world)))
    del world.index.known[plan.session_id]
    result = send(world, plan, accepting(edit(world, **{SESSION: "by hand"})), 2)
    assert (result.status, row(world, ATTEMPTS)) == (ResultStatus.COMPLETED, [1])


@pytest.mark.parametrize(
    ("headers", "status"),
    [(marked(LEAVE), ResultStatus.DRY_RUN), (accepting('W/"1001"', only="opt-out"), ResultStatus.BLOCKED)],
    ids=["leave", "apply"],
)
def test_W8_a_dry_run_carries_out_no_decision(headers: Headers, status: ResultStatus) -> None:
    world = World(write=False)
    world.assign(0)
    plan = plan_for(1, world.crm.seed(ITEMS, ITEM, **BEFORE), opt_out=True)
    assert etag(world) == 'W/"1001"'
    world.index.known[plan.session_id] = Settled.CALL_ONLY
    result = send(world, plan, headers, 0)
    assert (result.status, result.decision, row(world, FLAG)) == (status, None, [False])


PLAN_ANEW = [(REPLAN, b"d" * 64)]


@pytest.mark.parametrize("known", [None, Settled.NOT_WRITTEN])
def test_W2_a_plan_in_the_place_of_another_lands_where_nothing_was_written(world: World, known: Settled | None) -> None:
    plan = plan_for(1, world.crm.seed(ITEMS, ITEM, **BEFORE))
    if known:
        world.index.known[plan.session_id] = known
    assert send(world, plan, PLAN_ANEW, 0).status is ResultStatus.COMPLETED


@pytest.mark.parametrize("known", [one for one in Settled if one is not Settled.NOT_WRITTEN])
def test_W8_a_dry_run_says_of_a_plan_in_the_place_of_another_that_nothing_is_sent(known: Settled) -> None:
    world = World(write=False)
    world.assign(0)
    plan = plan_for(1, world.crm.seed(ITEMS, ITEM, **BEFORE))
    world.index.known[plan.session_id] = known
    result = send(world, plan, PLAN_ANEW, 0)
    assert (result.status, "Nothing would be written" in str(result.message)) == (ResultStatus.DRY_RUN, True)


@pytest.mark.parametrize("known", [one for one in Settled if one is not Settled.NOT_WRITTEN])
def test_W2_a_plan_in_the_place_of_another_is_never_sent_where_something_was_written(
    world: World, known: Settled
) -> None:
    plan = plan_for(1, world.crm.seed(ITEMS, ITEM, **BEFORE))
    world.index.known[plan.session_id] = known
    world.arrive(plan, headers=PLAN_ANEW)
    world.wait(1)
    assert (world.requests, world.results, world.frontier()) == ([], [], 1)


def test_W2_a_plan_in_the_place_of_one_that_wrote_something_meanwhile_is_not_sent_on(world: World) -> None:
    """The results became known while its first request was on its way."""
    plan = plan_for(1, 'W/"1"', task=True)
    world.crm.seed(ITEMS, ITEM, **BEFORE | {NOTES: "by hand"})
    world.hold_requests = True
    world.arrive(plan, headers=PLAN_ANEW)
    world.index.known[plan.session_id] = Settled.CALL_ONLY
    world.answer()
    world.answer()
    assert (world.results, world.ended, world.crm.rows.get(CALLS, {})) == ([], ["settled before"], {})


@pytest.mark.parametrize("damaged", [b"", b"[1]", b"\xff", b'{"by": 3, "at": "soon"}'])
def test_a_damaged_decision_is_none_to_write_on(damaged: bytes) -> None:
    accepted, left = decision_of([(ACCEPTED_ETAG, damaged)]), decision_of([(LEAVE, damaged)])
    assert isinstance(accepted, Accepted)
    assert (accepted.etag, accepted.opt_out_only) == ("None", False), "no row has this etag"
    assert isinstance(left, Left)
    assert left.decision.at.year == 1970
    assert decision_of([("replay", damaged)]) is None


EVENTS = ["edit", "apply", "apply what was seen before", "opt-out", "leave", "replay"]
LAST_WORD = {"apply": ResultStatus.COMPLETED, "leave": ResultStatus.CLOSED}


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(EVENTS), st.booleans()), max_size=8))
def test_W2_W7_whatever_people_decide_and_change_in_whatever_order_and_whichever_replies_are_lost(
    events: list[tuple[str, bool]],
) -> None:
    """Only a decision on the row as it is lands, once; what people wrote after it was seen stays; the first final word
    is the last."""
    world = World()
    world.assign(0)
    plan = an_opt_out_in_conflict(world)
    seen_before, final = etag(world), None
    edit(world, medx_priority=100)
    lose = swallows_replies(world)
    for offset, (event, lost) in enumerate(events, 1):
        before, now = dict(world.crm.rows[ITEMS][ITEM]), etag(world)
        lose[:] = [True] if lost else []
        if event == "edit":
            seen_before = now
            edit(world, medx_priority=offset)
            continue
        headers = {
            "apply": accepting(now), "apply what was seen before": accepting(seen_before),
            "opt-out": accepting(now, only="opt-out"), "leave": marked(LEAVE), "replay": marked(REPLAY),
        }  # fmt: skip
        result = send(world, plan, headers[event], offset)
        changed = {name for name, value in world.crm.rows[ITEMS][ITEM].items() if before.get(name) != value}
        if final is not None:
            assert (result, changed) == (final, set()), "nothing follows a final word"
        elif event in LAST_WORD:
            assert result.status is LAST_WORD[event]
            final = result
        else:
            assert result.status is ResultStatus.BLOCKED
            assert changed <= {FLAG, "@odata.etag"}, "of the row no more than do-not-call"
        assert row(world, "medx_priority", NOTES) == [before["medx_priority"], "calls are welcome"]
    applied = final is not None and final.status is ResultStatus.COMPLETED
    assert (row(world, ATTEMPTS), calls(world)) == ([int(applied)], 1)


def swallows_replies(world: World) -> list[bool]:
    """While the list is not empty, the next write takes effect and nobody hears of it."""
    lose: list[bool] = []

    def swallow(send: messages.Send) -> Exchange | None:
        if not (lose and send.operation == "write"):
            return None
        lose.clear()
        world._answered(send)
        return same_for_all(send.parts, LOST)

    world.instead = swallow
    return lose


@pytest.mark.parametrize("left", [*OptOutLeft, None])
def test_a_session_that_opted_out_is_closed_with_what_the_person_knew_of_the_opt_out(
    world: World, left: OptOutLeft | None
) -> None:
    plan = an_opt_out_in_conflict(world)
    result = send(world, plan, marked(LEAVE, **{} if left is None else {"opt_out": left}))
    assert (result.status, result.decision) == (ResultStatus.CLOSED, decided(left or "leave"))
    said = {
        OptOutLeft.WITHDRAWN: "withdrew that since, as this person says",
        OptOutLeft.ON_ROW: "do-not-call was on the queue item",
        OptOutLeft.NO_ROW: "its queue item is gone",
        None: "do-not-call was not set: make sure that nobody calls this contact again.",
    }
    assert said[left] in str(result.message)
    assert opt_out_decided(result) is (left is not None)


def test_closing_a_session_whose_do_not_call_was_set_before_settles_its_opt_out(world: World) -> None:
    plan = in_conflict(world, opt_out=True)
    assert opt_out_decided(send(world, plan, marked(LEAVE)))


def test_an_unknown_word_about_an_opt_out_says_nothing() -> None:
    decision = decision_of(marked(LEAVE, opt_out="maybe"))
    assert isinstance(decision, Left)
    assert (decision.opt_out, decision.decision.what) == (None, "leave")
