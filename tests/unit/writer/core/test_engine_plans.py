"""What the engine does with plans: what is said of each, when it is settled, and what is requeued."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from schemas import headers
from schemas.records import BlockReason, PlannedWriteback, ResultStatus
from tests.support.factories import NOON
from tests.unit.writer.core.engine_kit import (
    DENIED,
    ITEMS,
    LOST,
    NEVER_SENT,
    SUSPECT,
    THROTTLED,
    UNAVAILABLE,
    a_lane,
    a_plan,
    answers,
    landed,
    lands,
)
from tests.unit.writer.workbench import World
from writer.core import messages
from writer.core.attempt import PlanInFlight
from writer.core.exchanges import same_for_all
from writer.core.history import Settled
from writer.core.publishing import CopyOf, ResultOf
from writer.core.refusals import HANDFUL
from writer.core.replies import Judgement, Kind, Meaning
from writer.core.retry import RetryLimits

SHORT = RetryLimits(back_of_topic=5.0)


def a_world(**options: object) -> World:
    world = World(retry=SHORT, **options)  # type: ignore[arg-type]
    world.assign(0)
    return world


# W1: what settles a plan.


def test_W1_the_frontier_moves_after_the_result_is_acknowledged() -> None:
    world = a_world()
    world.hold_batches = True
    world.arrive(a_plan(world, 1))
    world.wait(1)
    assert landed(world) == ["sess-1"]
    assert (world.frontier(), world.engine.gauges(world.now).in_flight) == (0, 1)

    world.acknowledge()
    world.wait(1)

    assert (world.frontier(), world.engine.gauges(world.now).in_flight) == (1, 0)
    assert world.outcomes == [("sess-1", "completed")]


def test_W1_results_and_offsets_are_one_transaction() -> None:
    world = a_world()
    world.arrive(a_plan(world, 1), a_plan(world, 2))
    batch = next(batch for batch in world.batches if batch.publications)
    assert [(at.partition, at.offset) for at in batch.positions] == [(0, 1 if len(batch.publications) == 1 else 2)]
    assert batch.group == "generation"
    assert len(world.commits) == len(world.batches), "no offset goes another way"


def test_W1_what_was_aborted_goes_out_again_in_its_order_and_settles_nothing_before() -> None:
    world = a_world()
    world.endings = [messages.NotPublished("STALE_MEMBER_EPOCH")]
    world.arrive(*(a_plan(world, number) for number in (1, 2, 3)))
    assert (world.frontier(), world.results) == (0, [])
    world.wait(1)
    first, second, *_ = (batch.publications for batch in world.batches if batch.publications)
    assert second[: len(first)] == first
    assert world.frontier() == 3
    assert world.counts["commit_failures", ("STALE_MEMBER_EPOCH",)] == 1


@pytest.mark.parametrize("known", [Settled.LANDED, Settled.SUPERSEDED, Settled.CLOSED])
def test_W2_a_plan_that_settled_before_is_not_sent_again_and_its_lane_goes_on(known: Settled) -> None:
    world = a_world()
    world.index.known["sess-1"] = known
    first, second = a_lane(world, 1, 2)
    world.arrive(first, second)
    world.wait(1)
    assert world.outcomes == [("sess-2", "completed")]
    assert landed(world) == ["sess-2"]
    assert world.frontier() == 2
    [line] = [line for line in world.logs if line.event == "plan.settled_before"]
    assert line.fields == {"session_id": "sess-1", "partition": 0, "offset": 0, "settled_as": known}
    assert world.counts["settled_before", ()] == 1
    assert world.ended == ["settled before", "completed"]


def test_W2_a_plan_that_the_planner_published_twice_is_not_sent_again_though_nothing_was_set_back() -> None:
    world = a_world()
    world.arrive(a_plan(world, 1))
    world.arrive(a_plan(world, 1), offset=1)
    world.wait(1)
    assert (len(world.requests), world.outcomes, world.frontier()) == (1, [("sess-1", "completed")], 2)


def test_W2_what_a_conflict_recorded_is_still_known_after_a_replay_that_wrote_nothing() -> None:
    world = a_world()
    world.index.known["sess-1"] = Settled.CALL_ONLY
    world.instead = answers(DENIED)
    world.arrive(a_plan(world, 1), headers=[("replay", b"1")])
    [one] = world.published
    assert isinstance(one, ResultOf)
    assert (one.result.status, one.before) == (ResultStatus.BLOCKED, Settled.CALL_ONLY)


def test_W2_a_replay_keeps_when_its_session_was_first_settled() -> None:
    world = a_world()
    world.instead = answers(DENIED)
    world.arrive(a_plan(world, 1))
    [blocked] = world.results
    assert blocked.first_settled_at == blocked.settled_at
    world.instead = lambda _: None
    world.wait(60)
    world.arrive(a_plan(world, 1), offset=1, headers=[("replay", b"1")])
    landed_now = world.results[-1]
    assert landed_now.status is ResultStatus.COMPLETED
    assert landed_now.first_settled_at == blocked.settled_at < landed_now.settled_at


def test_W2_what_is_not_final_says_nothing_of_a_first_settlement() -> None:
    world = a_world()
    world.instead = answers(NEVER_SENT)
    world.arrive(a_plan(world, 1))
    world.wait(40)
    assert {(each.status, each.first_settled_at) for each in world.results} == {(ResultStatus.RESUME_NEEDED, None)}


def test_W2_ten_thousand_plans_of_one_item_that_settled_before_are_passed_over() -> None:
    world = a_world()
    plans = [a_plan(world, number, 1) for number in range(10_000)]
    world.index.known = {plan.session_id: Settled.LANDED for plan in plans}
    world.index.read = False
    world.arrive(*plans, headers=[("replay", b"1")])
    world.index.read = True
    world.tell(messages.ResultsRead(0, world.epochs[0]))
    world.wait(1)
    assert (world.frontier(), world.requests) == (10_000, [])


def test_W2_only_a_plan_that_may_have_settled_waits_until_the_results_have_been_read() -> None:
    world = a_world()
    world.index.read = False
    world.arrive(a_plan(world, 1), headers=[("replay", b"1")])
    world.arrive(a_plan(world, 2), offset=1)
    assert landed(world) == ["sess-2"]
    world.tell(messages.ResultsRead(0, world.epochs[0]), messages.ResultsRead(7, 1))
    assert landed(world) == ["sess-2"], "they are still being read"
    world.index.read = True
    world.tell(messages.ResultsRead(0, world.epochs[0]))
    assert landed(world) == ["sess-2", "sess-1"]


def test_a_plan_whose_row_has_to_be_judged_waits_until_the_results_have_been_read() -> None:
    world = a_world()
    world.index.read = False
    plan = a_plan(world, 1)
    world.arrive(replace(plan, baseline=replace(plan.baseline, etag=None)))
    world.wait(10)
    assert (len(world.requests), landed(world)) == (1, [])
    world.index.read = True
    world.tell(messages.ResultsRead(0, world.epochs[0]))
    assert landed(world) == ["sess-1"]


# W4: lanes.


def test_W4_the_next_plan_of_a_lane_starts_when_the_one_before_is_settled() -> None:
    world = a_world()
    world.hold_batches = True
    first, second = a_lane(world, 1, 2)
    world.arrive(first, second, a_plan(world, 3))
    assert sorted(landed(world)) == ["sess-1", "sess-3"]
    world.acknowledge()
    assert sorted(landed(world)) == ["sess-1", "sess-2", "sess-3"]


def test_W4_the_plan_behind_is_read_with_the_landing_so_that_it_costs_one_request() -> None:
    world = a_world()
    world.arrive(*a_lane(world, 1, 2, 3))
    assert (landed(world), len(world.requests)) == (["sess-1", "sess-2", "sess-3"], 3)


def test_W9_nothing_is_asked_for_the_plan_behind_before_the_gate_has_cleared_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = a_world()
    first, second = a_lane(world, 1, 2)
    cleared = world.metadata.answer
    monkeypatch.setattr(world.metadata, "cached_verdict", lambda plan: cleared if plan is first else None)
    world.hold_verifying = True
    world.arrive(first, second)
    assert len(world.requests[0].parts) == 1
    assert [verify.plan.session_id for verify in world.verifying] == ["sess-2"]


# W6: what is no verdict.


def test_W6_after_the_retry_budget_it_is_reported_once_and_keeps_its_place() -> None:
    world = a_world()
    world.instead = answers(NEVER_SENT)
    world.arrive(a_plan(world, 1))
    world.wait(40)
    assert len(world.requests) == 8
    assert world.story == ["result resume_needed sess-1"]
    assert (world.frontier(), world.results[0].attempts) == (0, 5)
    world.instead = lands
    world.wait(40)
    assert world.story == ["result resume_needed sess-1", "result completed sess-1"]


@pytest.mark.parametrize(
    ("replies", "status", "says"),
    [
        ([UNAVAILABLE, LOST], 503, "The CRM could not be reached"),
        ([UNAVAILABLE, THROTTLED, LOST], 429, "The CRM could not be reached"),
        ([NEVER_SENT, UNAVAILABLE], 503, "reports trouble of its own"),
        ([NEVER_SENT], None, "The CRM could not be reached"),
    ],
)
def test_W6_resume_needed_says_why_it_waits_now_and_names_the_last_reply_that_really_came(
    replies: list[Judgement], status: int | None, says: str
) -> None:
    """The last one of these is given from then on."""
    world, left = a_world(), list(replies)
    world.instead = lambda send: same_for_all(send.parts, left.pop(0) if len(left) > 1 else left[0])
    world.arrive(a_plan(world, 1))
    world.wait(60)
    [result] = world.results
    assert result.status is ResultStatus.RESUME_NEEDED
    assert result.last_reply is not None
    assert result.last_reply.http_status == status
    assert says in str(result.message)
    assert f"Last reply: {f'status {status}' if status else 'no answer'}" in str(result.message)


def failing_alone(world: World, *numbers: int) -> None:
    """The first of a lane fails while another plan lands: it is requeued with those behind it."""
    world.instead = answers(NEVER_SENT, f"sess-{numbers[0]}")
    world.arrive(*a_lane(world, *numbers))
    world.wait(5)
    world.arrive(a_plan(world, 99), offset=len(numbers))
    world.wait(5)


def test_W6_a_lone_failing_plan_takes_its_lane_to_the_back_in_order() -> None:
    world = a_world()
    failing_alone(world, 1, 2)
    world.arrive(
        a_plan(world, 4, 1), offset=3
    )  # from between the originals and their copies: it must not overtake them
    world.wait(1)
    assert world.story == [
        "result completed sess-99", "result resume_needed sess-1", "copy sess-1 1", "copy sess-2 1", "copy sess-4 1",
    ]  # fmt: skip
    assert world.frontier() == 0, "the originals wait until their copies have been read"
    assert world.counts["requeues", ()] == 3
    copies = [one.plan.plan for one in world.published if isinstance(one, CopyOf)]
    world.instead = lands
    world.arrive(*copies, offset=100, headers=[("requeue-count", b"1")])
    world.wait(1)
    assert world.frontier() == 103
    assert [session for session in landed(world) if session != "sess-99"] == ["sess-1", "sess-2", "sess-4"]


def test_W6_a_requeued_plan_is_not_tried_before_its_time() -> None:
    world = a_world()
    failing_alone(world, 1)
    [copy] = [one for one in world.published if isinstance(one, CopyOf)]
    assert (copy.at - world.now.utc).total_seconds() == pytest.approx(5.0 - 3.0, abs=1.5)
    world.instead = lands
    at = str(round(world.now.utc.timestamp() * 1000) + 60_000).encode()
    world.arrive(copy.plan.plan, offset=100, headers=[("requeue-count", b"1"), ("not-before", at)])
    world.wait(59)
    assert landed(world) == ["sess-99"]
    world.wait(2)
    assert landed(world) == ["sess-99", "sess-1"]


def test_a_not_before_of_next_year_keeps_a_lane_waiting_no_longer_than_the_longest_absence() -> None:
    world = a_world()
    at = str(round((world.now.utc.timestamp() + 366 * 86_400) * 1000)).encode()
    world.arrive(a_plan(world, 1), headers=[("not-before", at)])
    world.wait(899)
    assert landed(world) == []
    world.wait(2)
    assert landed(world) == ["sess-1"]


def test_W6_a_plan_of_which_the_broker_takes_no_copy_is_told_to_a_person_and_its_lane_goes_on() -> None:
    world = a_world()
    world.too_large = lambda one: isinstance(one, CopyOf) and one.plan.session_id == "sess-1"
    failing_alone(world, 1, 2)
    world.wait(1)
    assert world.story[-2:] == ["copy sess-2 1", "result blocked sess-1"]
    assert "max.message.bytes" in str(world.results[-1].message)
    [copy] = [one for one in world.published if isinstance(one, CopyOf)]
    assert world.frontier() == 1, "the copy of the second has not been read"
    world.instead = lands
    world.arrive(copy.plan.plan, offset=100, headers=[("requeue-count", b"1")])
    world.wait(1)
    assert world.frontier() == 101
    assert "sess-2" in landed(world)


def test_a_result_that_the_broker_does_not_take_ends_the_process() -> None:
    world = a_world()
    world.too_large = lambda one: isinstance(one, ResultOf)
    world.arrive(a_plan(world, 1))
    assert world.failure is not None
    assert world.frontier() == 0


def test_W5_the_last_attempt_before_the_back_of_the_topic_is_made_alone() -> None:
    """Plans that only shared a failing request would come back together, and fail together again."""
    world = a_world(start=1)
    world.instead = answers(NEVER_SENT)
    world.arrive(*(a_plan(world, number) for number in (1, 2, 3)))
    shared = [len(send.parts) for send in world.requests]
    world.wait(3.5)
    assert max(len(send.parts) for send in world.requests[len(shared) :]) > 1
    before = len(world.requests)
    world.wait(4.5)
    assert {len(send.parts) for send in world.requests[before:]} == {1}


def test_W6_a_plan_waits_for_as_long_as_the_crm_said_of_its_own_part() -> None:
    world = a_world()
    words = Judgement(Kind.TRANSIENT, Meaning.TROUBLE, 503, by_the_crm=True, retry_after=100.0)

    def instead(send: messages.Send) -> object:
        exchange = same_for_all(send.parts, words if "sess-1" in repr(send.parts) else replace(words, by_the_crm=False))
        return replace(exchange, whole=Judgement(Kind.DONE, Meaning.LANDED, 200))

    world.instead = instead  # type: ignore[assignment]
    world.arrive(a_plan(world, 1), a_plan(world, 2))
    world.wait(2)
    asked = [repr(send.parts) for send in world.requests]
    assert [sum(session in said for said in asked) for session in ("sess-1", "sess-2")] == [1, 2]
    world.instead = lands
    world.wait(99)
    assert landed(world) == ["sess-2", "sess-1"]


def test_W6_suspect_replies_end_with_a_person() -> None:
    world = a_world()
    world.instead = answers(SUSPECT, "sess-1")
    world.arrive(a_plan(world, 1), headers=[("requeue-count", b"5")])
    world.wait(5)
    world.arrive(a_plan(world, 2), offset=1)
    world.wait(5)
    assert world.outcomes[-1] == ("sess-1", "blocked")
    assert world.frontier() == 2


def test_W6_in_an_outage_every_plan_is_reported_once_though_only_one_probes() -> None:
    world = a_world()
    world.instead = answers(UNAVAILABLE)
    plans = [a_plan(world, number) for number in range(8)]
    world.arrive(*plans)
    assert world.engine.gauges(world.now).outage
    before = len(world.requests)
    world.wait(60)
    assert sorted(world.story) == sorted(f"result resume_needed sess-{number}" for number in range(8))
    assert len(world.requests) - before < 12
    for result in world.results:
        assert "status 503" in str(result.message), "the last reply that really came"
        assert result.last_reply is not None
        assert result.last_reply.http_status == 503
    world.instead = lands
    world.wait(60)
    assert sorted(landed(world)) == [f"sess-{number}" for number in range(8)]
    assert not world.engine.gauges(world.now).outage


def test_W6_resume_needed_is_never_said_after_the_outcome() -> None:
    world = a_world()
    world.instead = answers(UNAVAILABLE)
    world.arrive(*(a_plan(world, number) for number in range(8)))
    world.instead, world.hold_batches = lands, True
    world.wait(10)
    assert len(landed(world)) > 0
    while world.open_batches:
        world.acknowledge()
    world.wait(60)
    while world.open_batches:
        world.acknowledge()
    for number in range(8):
        said = [status for session, status in world.outcomes if session == f"sess-{number}"]
        assert "resume_needed" not in said[said.index("completed") :]


@pytest.mark.parametrize("headers", [[("replay", b"1")], []], ids=["sent again by a person", "planned twice"])
def test_W2_resume_needed_is_never_said_of_a_session_that_has_a_final_result(headers: list[tuple[str, bytes]]) -> None:
    world = a_world()
    world.index.known["sess-1"] = Settled.NOT_WRITTEN
    world.instead = answers(NEVER_SENT)
    world.arrive(a_plan(world, 1), headers=headers)
    world.wait(40)
    assert world.story == []
    assert world.counts["retried_after_result", ()] == 1


def test_W6_what_every_plan_is_refused_for_is_said_once_and_the_plans_are_reported_as_resume_needed() -> None:
    world = a_world()
    world.instead = answers(DENIED)
    world.arrive(*(a_plan(world, number) for number in range(12)))
    world.wait(60)
    assert world.events().count("plans.held") == 1
    assert world.events().count("plan.blocked") == HANDFUL
    statuses = [result.status for result in world.results]
    assert statuses.count(ResultStatus.BLOCKED) == HANDFUL
    assert statuses.count(ResultStatus.RESUME_NEEDED) == 12 - HANDFUL
    assert all("403" in str(result.message) for result in world.results)
    assert world.engine.gauges(world.now).held == {"permanent_other": 12 - HANDFUL}
    world.instead = lands
    world.wait(60)
    assert len(landed(world)) == 12 - HANDFUL


def test_blocked_plans_are_counted_by_reason_with_the_time_of_the_first() -> None:
    world = a_world()
    world.instead = answers(DENIED)
    world.arrive(a_plan(world, 1))
    assert world.counts["outcomes", ("blocked", BlockReason.PERMANENT_OTHER)] == 1
    assert world.engine.gauges(world.now).first_blocked_at == world.now.utc.timestamp()


def an_opt_out(world: World, number: int) -> PlannedWriteback:
    plan = a_plan(world, number)
    update = plan.steps[-1]
    attributes = {**update.attributes, "medx_donotcall": True}
    return replace(plan, steps=(*plan.steps[:-1], replace(update, attributes=attributes)))


def test_the_oldest_opt_out_that_waits_is_known_wherever_it_waits() -> None:
    world = a_world()
    world.hold_requests = True
    assert world.engine.gauges(world.now).oldest_opt_out_ms is None
    world.arrive(a_plan(world, 1), timestamp_ms=1_000)
    world.arrive(an_opt_out(world, 2), offset=1, timestamp_ms=3_000)
    behind = replace(an_opt_out(world, 3), queue_item_id=world.plans[0, 0].queue_item_id)  # type: ignore[union-attr]
    world.arrive(behind, offset=2, timestamp_ms=2_000)
    assert world.engine.gauges(world.now).oldest_opt_out_ms == 2_000
    world.hold_requests = False
    world.answer()
    world.wait(5)
    assert world.engine.gauges(world.now).oldest_opt_out_ms is None


def test_a_blocked_opt_out_is_counted_and_no_other_blocked_plan() -> None:
    world = a_world()
    world.instead = answers(DENIED)
    world.arrive(a_plan(world, 1))
    assert world.counts["blocked_opt_outs", ()] == 0
    world.arrive(an_opt_out(world, 2), offset=1)
    world.wait(1)
    assert world.counts["outcomes", ("blocked", BlockReason.PERMANENT_OTHER)] == 2
    assert world.counts["blocked_opt_outs", ()] == 1


def test_an_opt_out_in_a_conflict_sets_do_not_call_and_is_not_counted_as_blocked() -> None:
    world = a_world()
    plan = an_opt_out(world, 1)
    world.crm.seed(ITEMS, plan.queue_item_id, **{**plan.baseline.columns, "medx_notes": "by hand"})
    world.arrive(plan)
    world.wait(1)
    assert world.counts["outcomes", ("blocked", BlockReason.CONFLICT_DETECTED)] == 1
    assert world.crm.rows[ITEMS][plan.queue_item_id]["medx_donotcall"] is True
    assert world.counts["blocked_opt_outs", ()] == 0


# W8: a dry run.


def test_W8_a_dry_run_sends_reads_says_what_it_finds_and_is_not_known_as_settled() -> None:
    world = a_world(write=False)
    world.index.known["sess-2"] = Settled.LANDED
    world.arrive(a_plan(world, 1), a_plan(world, 2))
    world.wait(1)
    assert sorted(world.outcomes) == [("sess-1", "dry_run"), ("sess-2", "dry_run")]
    assert all("PATCH" not in repr(send.parts) for send in world.requests)
    assert world.index.known == {"sess-2": Settled.LANDED}
    assert (world.frontier(), landed(world)) == (2, [])


def test_W8_a_dry_run_requeues_nothing() -> None:
    world = a_world(write=False)
    failing_alone(world, 1)
    assert world.story[-1] == "result resume_needed sess-1"
    assert not any(isinstance(one, CopyOf) for one in world.published)
    assert world.frontier() == 2


def test_what_this_writer_settles_is_known_to_it() -> None:
    world = a_world()
    world.arrive(a_plan(world, 1))
    assert world.index.known == {"sess-1": Settled.LANDED}


def test_every_change_of_state_is_a_row_of_the_table() -> None:
    world = a_world()
    plan = PlanInFlight(a_plan(world, 1), world.record(0), next(iter(world.engine._open())))
    from writer.core.attempt import Event

    with pytest.raises(KeyError):
        plan.on(Event.ACKNOWLEDGED)


def test_W1_a_delayed_plan_that_has_settled_meanwhile_is_committed_when_its_time_comes() -> None:
    world = World()
    world.assign(0)
    world.index.known["sess-1"] = Settled.LANDED
    at = NOON + timedelta(seconds=5)
    world.arrive(a_plan(world, 1), headers=headers.requeued([], count=1, at=at, first_ms=0))
    world.wait(60)
    assert world.requests == []
    assert world.frontier() == 1
