"""W6: what every plan meets is the installation's trouble, and blocks nobody."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.records import BlockReason, Operation, PlannedWriteback, PlanPosition, ResultStatus, StepOutcome
from tests.support.factories import NOON, an_id, make_plan, make_step
from writer.core import results
from writer.core.emission import Observed
from writer.core.gate import Gap
from writer.core.reconcile import Late
from writer.core.refusals import HANDFUL, Credits, Refusal, has_landed, held, named_by, of_whole, refusal_of, taken
from writer.core.replies import Judgement, Kind, Meaning, Sent, judge
from writer.core.results import ResultContext
from writer.core.retry import (
    AskAPerson,
    Landing,
    Requeue,
    ResumeNeeded,
    Retry,
    RetryLimits,
    RetryPolicy,
)

DENIED = Judgement(Kind.PERMANENT, Meaning.NOT_ALLOWED, 403, "0x80040220", by_the_crm=True)


def plan(number: int = 0, *, task: bool = False) -> PlannedWriteback:
    made = make_plan(session_id=f"sess-{number}", queue_item_id=an_id(f"item {number}"))
    if not task:
        return made
    extra = make_step(step_index=3, operation=Operation.CREATE_TASK, entity_set="tasks", session_column=None)
    return replace(made, steps=(*made.steps, extra))


def telling(of: PlannedWriteback) -> ResultContext:
    position = PlanPosition(partition=0, offset=0, digest=of.digest)
    return ResultContext(plan=of, position=position, attempts=1, settled_at=NOON, written_by="test")


def refusal(of: PlannedWriteback, judgement: Judgement = DENIED, failing: int | None = None) -> Refusal:
    found = refusal_of(of, results.refused(telling(of), judgement, failing))
    assert found is not None
    return found


def names_of(of: PlannedWriteback, sent_at: float) -> Landing:
    return Landing(named_by(of, {step.step_index for step in of.steps}), sent_at)


def test_W6_a_privilege_that_is_lost_blocks_a_handful_and_holds_the_others() -> None:
    patience = RetryPolicy()
    verdicts = [patience.refused(f"s{n}", refusal(plan(n)), 0.0) for n in range(300)]

    assert verdicts.count(AskAPerson()) == HANDFUL
    assert patience.outage
    assert patience.held(1.0) == {"permanent_other": 300 - HANDFUL}


def test_W6_what_fails_while_its_like_lands_is_the_plans_own() -> None:
    patience = RetryPolicy()
    for n in range(50):
        assert patience.refused(f"bad{n}", refusal(plan(n)), float(n)) == AskAPerson()
        patience.blocked(f"bad{n}", float(n))
        patience.landed(f"good{n}", n + 0.5, names_of(plan(n), n + 0.1))


def test_W6_what_is_suspect_in_the_whole_plan_is_about_all_its_steps_together() -> None:
    assert of_whole(plan(task=True)) == (frozenset(step.operation for step in plan(task=True).steps),)


def test_W6_a_missing_privilege_for_tasks_holds_plans_with_tasks_while_the_others_land() -> None:
    patience, verdicts = RetryPolicy(), []
    for n in range(50):
        verdicts.append(patience.refused(f"task{n}", refusal(plan(n, task=True), failing=3), float(n)))
        patience.landed(f"good{n}", n + 0.5, names_of(plan(n), n + 0.1))

    assert verdicts.count(AskAPerson()) == HANDFUL
    assert not patience.outage
    patience.landed("with a task", 60.0, names_of(plan(task=True), 59.0))
    assert patience.refused("task0", refusal(plan(task=True), failing=3), 61.0) == AskAPerson()


def test_W6_what_was_on_its_way_before_the_refusal_proves_nothing() -> None:
    patience = RetryPolicy()
    for n in range(HANDFUL):
        patience.refused(f"s{n}", refusal(plan(n)), 10.0)
    for n in range(100):
        patience.landed(f"straggler{n}", 10.5, names_of(plan(n), 9.9))

    assert patience.refused("next", refusal(plan()), 11.0) != AskAPerson()


def test_W6_that_the_crm_answers_does_not_end_an_outage_of_refusals() -> None:
    patience = RetryPolicy()
    for n in range(20):
        patience.refused(f"s{n}", refusal(plan(n)), 0.0)
    patience.answered("conflict", 1.0)
    patience.blocked("s0", 1.0)

    assert patience.outage
    patience.landed("s1", 2.0, names_of(plan(1), 1.5))
    assert not patience.outage


def test_W6_a_refusal_ends_an_outage_in_which_the_crm_was_away() -> None:
    patience = RetryPolicy()
    for n in range(5):
        patience.failed(f"s{n}", 0.0)
    assert patience.refused("s0", refusal(plan()), 1.0) == AskAPerson()
    patience.blocked("s0", 1.0)

    assert not patience.outage


def test_W6_any_answer_ends_an_outage_in_which_the_crm_was_away() -> None:
    patience = RetryPolicy()
    for n in range(5):
        patience.failed(f"s{n}", 0.0)
    patience.answered("s0", 1.0)

    assert not patience.outage


def test_W6_a_held_plan_that_settles_is_not_held_any_more_and_old_news_is_none() -> None:
    patience = RetryPolicy(RetryLimits(longest_absence=10.0))
    for n in range(5):
        patience.refused(f"s{n}", refusal(plan(n)), 0.0)
    assert patience.held(1.0) == {"permanent_other": 2}
    patience.forget("s3")

    assert patience.held(1.0) == {"permanent_other": 1}
    assert not patience.held(20.0)


def test_B3_what_is_remembered_of_held_plans_and_of_refusals_is_bounded() -> None:
    patience, left = RetryPolicy(), Credits()
    for n in range(3000):
        patience.refused(f"s{n}", refusal(plan(n)), 0.0)
        left.take([frozenset({str(n)})], 0.0)
        left.landed(frozenset(), 1.0)
    for n in range(1500):
        left.landed(frozenset(), 1.0)
        left.take([frozenset({f"x{n}"})], 0.0)

    assert patience.held(0.0).total() == 1000
    assert len(left._used) <= 1000


def gaps(*found: Gap, of: PlannedWriteback | None = None) -> Refusal:
    of = of or plan(task=True)
    refused = refusal_of(of, results.metadata(telling(of), found))
    assert refused is not None
    return refused


UPDATES = "medx_callqueueitems"


def test_W6_a_gap_is_about_its_table_its_column_or_the_option_value_that_is_gone() -> None:
    update = plan().steps[2]
    status = update.attributes["medx_callstatus"]

    found = gaps(
        Gap(2, UPDATES, "medx_lasterror", "a column that exists"),
        Gap(2, UPDATES, "medx_callstatus", "one of the options [1]"),
        Gap(3, "tasks", None, "a table that exists"),
        Gap(9, "elsewhere", "name", "a column that exists"),
    )

    assert [set(one) for one in found.about] == [
        {f"{UPDATES}.medx_lasterror"},
        {f"{UPDATES}.medx_callstatus={status}"},
        {"tasks"},
        {"elsewhere.name"},
    ]
    assert found.reason == "metadata"
    assert {*found.about[0], *found.about[1], *found.about[2]} <= named_by(plan(task=True), {0, 1, 2, 3}) | found.about[
        0
    ]


def test_W6_a_text_that_is_too_long_is_its_own_plans_trouble_as_soon_as_others_write_the_column() -> None:
    patience, too_long = RetryPolicy(), gaps(Gap(0, "phonecalls", "subject", "at most 200 characters"), of=plan())
    for n in range(HANDFUL):
        patience.refused(f"s{n}", too_long, 0.0)
    assert patience.refused("long", too_long, 0.0) != AskAPerson()
    patience.landed("short", 1.0, names_of(plan(), 0.5))

    assert patience.refused("long", too_long, 2.0) == AskAPerson()


def test_W6_a_conflict_an_eligibility_block_and_a_landing_are_no_refusals() -> None:
    landed = results.landed(telling(plan()), [0, 1, 2], Judgement(Kind.DONE, Meaning.LANDED, 204))

    assert refusal_of(plan(), landed) is None
    assert has_landed(landed)
    already = results.landed(telling(plan()), [])
    assert not has_landed(already)
    conflict = replace(results.refused(telling(plan()), DENIED), block_reason=BlockReason.CONFLICT_DETECTED)
    assert refusal_of(plan(), conflict) is None
    assert refusal_of(plan(), results.refused(telling(plan()), Judgement(Kind.PERMANENT, Meaning.INVALID))) is None


def test_W6_a_landing_proves_only_the_steps_that_the_crm_took() -> None:
    """A plan that came late leaves the queue item alone: it says nothing of those whose update is refused."""
    found = Late((0, 1), Observed('W/"2"', {}), counts=False, sets_do_not_call=False)
    result = results.late(telling(plan()), found, {0, 1}, Judgement(Kind.DONE, Meaning.LANDED, 204))

    assert has_landed(result)
    assert taken(result) == {0, 1}
    assert not any(UPDATES in name or name == "update_queue_item" for name in named_by(plan(), taken(result)))
    dry = replace(result, steps=tuple(replace(s, outcome=StepOutcome.PLANNED) for s in result.steps))
    assert taken(dry) == {0, 1, 2}


def test_W8_a_dry_run_lands_what_it_would_have_sent() -> None:
    landed = results.landed(telling(plan()), [0])

    assert has_landed(replace(landed, status=ResultStatus.DRY_RUN))
    assert not has_landed(replace(landed, status=ResultStatus.DRY_RUN, block_reason=BlockReason.METADATA))


def test_W6_a_held_plan_says_that_it_is_queued_and_what_to_do() -> None:
    said = held(results.refused(telling(plan()), DENIED, 2))

    assert (said.status, said.block_reason) == (ResultStatus.RESUME_NEEDED, None)
    assert {step.outcome for step in said.steps} == {StepOutcome.PLANNED}
    assert "Still queued" in str(said.message)
    assert "privilege" in str(said.message)
    assert said.last_reply is not None
    assert said.last_reply.http_status == 403


# No reply whatever makes more than a handful of plans blocked while none lands.

CODES = [0x80040220, 0x80040265, 0x80044331, 0x8004418A, 0x80040216, 0x80040333, 0x80FFFFFF, 0x80048543]
BODIES = st.one_of(
    st.binary(max_size=20),
    st.sampled_from(
        [0x80040220, 0x80040265, 0x80044331, 0x8004418A, 0x80040216, 0x80040333, 0x80FFFFFF, 0x80048543]
    ).map(lambda code: json.dumps({"error": {"code": hex(code), "message": "no"}}).encode()),
    st.just(b'{"error":{"code":"","message":"no"}}'),
)
REPLIES = st.tuples(st.integers(300, 599), BODIES, st.sampled_from(Sent), st.sampled_from([None, 0, 2]))
SCENARIOS = st.lists(REPLIES, min_size=1, max_size=6)


@cache
def refused_with(session: int, task: bool, reply: tuple[int, bytes, Sent, int | None]) -> Refusal:
    status, body, sent, failing = reply
    return refusal(plan(session, task=task), judge(status, {}, body, sent=sent), failing)


def one_attempt(
    patience: RetryPolicy, n: int, task: bool, reply: tuple[int, bytes, Sent, int | None], now: float, replays: int
) -> Retry | ResumeNeeded | Requeue | AskAPerson:
    """What the writer does with this reply: what is permanent, or too large alone, would block the plan."""
    status, body, sent, _ = reply
    judgement = judge(status, {}, body, sent=sent)
    if judgement.kind is Kind.THROTTLED:
        return Retry(now + 5.0)
    if judgement.kind is Kind.PERMANENT or judgement.meaning is Meaning.TOO_LARGE:
        return patience.refused(f"s{n}", refused_with(n, task, reply), now, requeues=replays)
    suspect = (frozenset({"create_phone_call"}),) if judgement.meaning is Meaning.SUSPECT else ()
    return patience.failed(f"s{n}", now, suspect=suspect, requeues=replays)


@settings(max_examples=60, deadline=None)
@given(SCENARIOS, st.booleans())
def test_W6_no_reply_whatever_blocks_more_than_a_handful_of_plans_while_none_lands(
    replies: list[tuple[int, bytes, Sent, int | None]], tasks: bool
) -> None:
    patience, blocked, now = RetryPolicy(), 0, 0.0
    waiting = dict.fromkeys(range(12), (0.0, 0))
    for turn in range(100):
        now += 1.0
        for n, (at, replays) in list(waiting.items()):
            if now < at:
                continue
            match one_attempt(patience, n, tasks and n % 2 == 0, replies[(turn + n) % len(replies)], now, replays):
                case AskAPerson():
                    patience.blocked(f"s{n}", now)
                    blocked += 1
                    del waiting[n]
                case Requeue(seconds):
                    waiting[n] = (now + seconds, replays + 1)
                case Retry(when) | ResumeNeeded(when):
                    waiting[n] = (when, replays)
    assert blocked <= HANDFUL


@pytest.mark.parametrize("lands_after", [1, 60, 600])
def test_W6_once_the_trouble_is_over_every_held_plan_lands(lands_after: int) -> None:
    patience, landed, blocked = RetryPolicy(), 0, 0
    waiting = dict.fromkeys(range(40), 0.0)
    for now in map(float, range(lands_after + 100)):
        for n in [n for n, at in waiting.items() if at <= now and patience.probe_at(now) is None]:
            if now >= lands_after:
                patience.landed(f"s{n}", now, names_of(plan(n), now))
                landed += 1
                del waiting[n]
                continue
            verdict = patience.refused(f"s{n}", refusal(plan(n)), now)
            if isinstance(verdict, AskAPerson):
                blocked += 1
                del waiting[n]
            else:
                assert isinstance(verdict, Retry | ResumeNeeded)
                waiting[n] = verdict.at
    assert (blocked, landed) == (HANDFUL, 40 - HANDFUL)
