"""The engine alone, without broker, socket or clock: partitions, records, requests, offsets; and a crash anywhere."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from schemas.headers import Reason
from schemas.records import OwnerCandidate, OwnerKind
from tests.support.factories import NOON, make_plan
from tests.unit.writer.core.engine_kit import (
    CALLS,
    ITEMS,
    LOST,
    NEVER_SENT,
    THROTTLED,
    UNAVAILABLE,
    a_lane,
    a_plan,
    answers,
    landed,
    lands,
)
from tests.unit.writer.workbench import World, make_record
from writer.core import messages
from writer.core.assignment import AssignedPartition, OffsetAndMetadata
from writer.core.gate import Blocked, Cleared, Gap
from writer.core.history import Settled
from writer.core.lanes import WindowLimits
from writer.core.ledger import encode_settled
from writer.core.messages import Effect
from writer.core.publishing import RejectionOf
from writer.core.replies import Judgement, Kind, Meaning

JUNK = [Reason("undecodable", None, "a plan")]
GAP = Blocked((Gap(0, "phonecalls", "subject", "a column that exists"),))


def a_world(**options: Any) -> World:
    world = World(**options)
    world.assign(0)
    return world


# Records.


def test_W2_tombstones_and_marks_are_settled_at_once_without_a_word() -> None:
    world = a_world()
    world.arrive(make_plan(), value=None)
    world.arrive(replace(make_plan(), retired_at=NOON, steps=()), offset=1)
    world.wait(1)
    assert (world.frontier(), world.published, world.requests) == (2, [], [])
    assert [record.offset for record in world.decoded] == [1]
    assert world.engine.gauges(world.now).in_flight == 0


def test_P6_what_is_no_plan_is_put_aside_and_then_settled() -> None:
    world = a_world()
    world.hold_batches = True
    world.arrive(JUNK)
    assert world.frontier() == 0
    world.acknowledge()
    world.wait(1)
    assert (world.story, world.frontier()) == (["rejected 0"], 1)
    assert world.counts["rejected", ()] == 1
    assert "record.rejected" in world.events()


def test_a_record_that_is_too_large_to_put_aside_is_put_aside_without_its_value() -> None:
    world = a_world()
    world.too_large = lambda one: isinstance(one, RejectionOf) and not one.bare
    world.arrive(JUNK)
    world.wait(1)
    [one] = world.published
    assert isinstance(one, RejectionOf)
    assert (one.bare, world.frontier()) == (True, 1)
    world.too_large = lambda _: True
    world.arrive(JUNK, offset=1)
    assert world.failure is not None


def test_W8_a_dry_run_puts_nothing_aside_and_counts_it() -> None:
    world = a_world(write=False)
    world.arrive(JUNK)
    world.wait(1)
    assert (world.published, world.frontier(), world.counts["rejected", ()]) == ([], 1, 1)


def test_W1_late_news_of_an_earlier_assignment_is_dropped() -> None:
    world = a_world()
    old = world.record(0)
    world.assign(0)
    world.plans[0, 0] = a_plan(world, 1)
    world.tell(messages.Received([old, make_record(5, partition=9)]))
    assert world.decoded == []
    world.tell(messages.Decoded(old, JUNK), messages.Unreadable(old, "", ""))
    assert world.published == []
    world.arrive(a_plan(world, 1))
    assert landed(world) == ["sess-1"]


def test_B3_what_an_earlier_run_has_settled_is_not_even_looked_into() -> None:
    world = World()
    world.assign(0, committed=OffsetAndMetadata(0, encode_settled(0, [(1, 6)])))
    world.arrive(*(a_plan(world, number) for number in range(8)))
    assert [record.offset for record in world.decoded] == [0, 6, 7]
    assert landed(world) == ["sess-0", "sess-6", "sess-7"]


def test_W4_what_arrives_while_a_record_is_decoded_waits_for_its_turn() -> None:
    world = a_world()
    first, second = (world.record(number, key=f"sess-{number}".encode()) for number in (0, 1))
    world.plans |= {(0, number): a_plan(world, number) for number in (0, 1)}
    world.tell(messages.Received([first]), messages.Received([second]))
    world.wait(1)
    assert [record.offset for record in world.decoded] == [0, 1], "each once, in order"
    assert landed(world) == ["sess-0", "sess-1"]


def test_W1_a_record_that_is_read_twice_does_not_settle_the_plan_in_work() -> None:
    world = a_world()
    world.hold_requests = True
    world.arrive(a_plan(world, 1))
    world.arrive(a_plan(world, 1))
    world.wait(1)
    assert (world.frontier(), world.engine.gauges(world.now).in_flight) == (0, 1)


@pytest.mark.parametrize("value", [b"plan", None])
def test_W2_a_topic_that_was_made_anew_is_worked_on_from_its_start(value: bytes | None) -> None:
    world = World()
    world.assign(0, committed=OffsetAndMetadata(500, encode_settled(500, [])))
    world.hold_requests = True
    world.arrive(a_plan(world, 1), value=value)
    assert world.events().count("partition.begun_anew") == 1
    world.arrive(a_plan(world, 2), offset=1)
    assert [plan.look_back for plan in world.engine._assignments[0].lanes.heads()][-1:] == [True]


def test_W2_only_what_may_have_settled_looks_back() -> None:
    world = World()
    world.hold_requests = True

    def look_backs() -> list[bool]:
        return [plan.look_back for plan in world.engine._assignments[0].lanes.heads()]

    world.assign(0, committed=OffsetAndMetadata(10, encode_settled(10, [])))
    world.arrive(a_plan(world, 1), offset=10)
    world.arrive(a_plan(world, 2), offset=11, headers=[("requeue-count", b"1")])
    assert look_backs() == [False, True]
    world.assign(0, committed=OffsetAndMetadata(5, ""))
    world.arrive(a_plan(world, 3), offset=5)
    assert look_backs() == [True], "somebody else has set the offset"
    world.assign(0, committed=None)
    world.arrive(a_plan(world, 4), offset=50)
    assert look_backs() == [True], "nobody had committed anything"


def test_W1_a_plan_whose_schema_cannot_be_found_is_waited_for_and_never_put_aside() -> None:
    world = a_world()
    world.assign(1)
    first = world.record(0, key=b"sess-1")
    plan = a_plan(world, 1)
    world.plans[0, 0] = messages.Unreadable(first, "schema id 7 is not known", "run a newer writer")
    world.plans[0, 1] = a_plan(world, 2)
    world.tell(messages.Received([first, world.record(1, key=b"sess-2")]))
    world.arrive(a_plan(world, 3), partition=1)
    world.wait(10)
    assert landed(world) == ["sess-3"], "the other partition goes on"
    gauges = world.engine.gauges(world.now)
    assert (gauges.unreadable, gauges.oldest_ms) == (1, first.timestamp_ms)
    assert world.events().count("plan.cannot_be_read") == 1, "said once"
    assert world.frontier() == 0
    world.plans[0, 0] = plan
    world.wait(2)
    assert landed(world) == ["sess-3", "sess-1", "sess-2"]
    assert (world.frontier(), world.engine.gauges(world.now).unreadable) == (2, 0)


def test_W1_an_unreadable_record_holds_its_partition_until_that_goes() -> None:
    world = a_world()
    record = world.record(0)
    world.plans[0, 0] = messages.Unreadable(record, "schema id 7 is not known", "run a newer writer")
    world.tell(messages.Received([record]))
    world.tell(messages.Lost([0]))
    asked = len(world.decoded)
    world.wait(10)
    assert len(world.decoded) == asked
    assert world.engine.gauges(world.now).unreadable == 0


def test_an_unreadable_record_that_was_read_before_is_passed_over() -> None:
    world = a_world()
    world.hold_requests = True
    world.arrive(a_plan(world, 1))
    again = world.record(0)
    world.plans[0, 0] = messages.Unreadable(again, "", "")
    world.tell(messages.Received([again]))
    world.arrive(a_plan(world, 2), offset=1)
    world.wait(5)
    assert world.engine.gauges(world.now).unreadable == 0
    assert [plan.session_id for plan in world.engine._assignments[0].lanes.heads()] == ["sess-1", "sess-2"]


# Who goes next.


def test_a_session_is_one_request_when_idle_and_a_backlog_shares_them() -> None:
    world = a_world(start=1)
    for number in range(3):
        world.arrive(a_plan(world, number), offset=number)
    assert [len(send.parts) for send in world.requests] == [1, 1, 1]
    world.hold_requests = True
    world.arrive(*(a_plan(world, number) for number in range(3, 103)), offset=3)
    while world.open_requests:
        world.answer(first=1)
    sent = [len(send.parts) for send in world.requests[3:]]
    assert sent == [15, 15, 15, 15, 15, 15, 10]
    assert sorted(landed(world)) == sorted(f"sess-{number}" for number in range(103))


def test_W5_follow_ups_share_the_next_request_before_new_plans_and_in_order_of_age() -> None:
    world = a_world(start=1, most_plans_per_request=4)
    moved = [a_plan(world, number) for number in range(2)]
    for plan in moved:  # in a column that does not matter: refused, read, and sent again
        world.crm.seed(ITEMS, plan.queue_item_id, **plan.baseline.columns)
    world.hold_requests = True
    world.arrive(*moved, *(a_plan(world, number) for number in range(2, 12)))
    asked = []
    while world.open_requests:
        asked.append(world.sessions_of(world.open_requests[0]))
        world.answer(first=1)
    assert asked[:3] == [
        ["sess-0", "sess-1", "sess-2", "sess-3"],
        ["sess-0", "sess-1", "sess-4", "sess-5", "sess-6", "sess-7"],
        ["sess-0", "sess-1", "sess-8", "sess-9"],
    ], "two plans that only read leave room for four that write"
    assert len(landed(world)) == 12


def test_a_retry_after_holds_up_its_identity_and_no_other() -> None:
    world = a_world(identities=2)
    world.instead = answers(THROTTLED)
    world.arrive(a_plan(world, 1))
    world.wait(1)
    assert {send.place.identity.name for send in world.requests} == {"none-0", "none-1"}
    assert len(world.requests) == 2
    world.instead = lands
    world.wait(20)
    assert (landed(world), world.outcomes) == (["sess-1"], [("sess-1", "completed")])
    assert world.results[0].attempts == 1, "being told to wait is no attempt"


def test_W5_a_plan_that_must_go_alone_goes_alone() -> None:
    world = a_world(start=1)
    refused = Judgement(Kind.PERMANENT, Meaning.INVALID, 400, "0x80048d19", by_the_crm=True)
    world.instead = lambda send: answers(refused)(send) if len(send.parts) > 1 else None
    world.hold_requests = True
    world.arrive(a_plan(world, 1), a_plan(world, 2), a_plan(world, 3))
    while world.open_requests:
        world.answer(first=1)
    assert [len(send.parts) for send in world.requests] == [3, 1, 1, 1]
    assert landed(world) == ["sess-1", "sess-2", "sess-3"]


def test_what_was_not_tried_is_asked_again() -> None:
    from writer.core.batch import NotReached
    from writer.core.exchanges import PartReply

    world = a_world()
    world.hold_requests = True
    world.arrive(a_plan(world, 1))

    def stopped(send: messages.Send) -> Any:
        exchange = answers(NEVER_SENT)(send)
        assert exchange
        return replace(exchange, parts=tuple(PartReply(NEVER_SENT, NotReached()) for _ in exchange.parts))

    world.answer(stopped)
    world.answer()
    assert (len(world.requests), landed(world)) == (2, ["sess-1"])


def test_a_row_that_somebody_changes_without_end_is_tried_later() -> None:
    world = a_world()
    plan = a_plan(world, 1)
    world.crm.before = lambda _: world.crm.seed(ITEMS, plan.queue_item_id, **plan.baseline.columns) and None  # type: ignore[func-returns-value]
    world.arrive(plan)
    assert len(world.requests) == 9
    assert world.engine._flow.retry.attempts("sess-1") == 1
    world.crm.before = lambda _: None
    world.wait(2)
    assert landed(world) == ["sess-1"]


def test_the_oldest_goes_first_whenever_it_became_ready() -> None:
    world = a_world(start=1, most_plans_per_request=1)
    world.hold_requests = True
    plans = {number: a_plan(world, number) for number in (3, 1, 2)}
    for offset, (number, plan) in enumerate(plans.items()):
        world.arrive(plan, offset=offset, timestamp_ms=number)
    asked = []
    while world.open_requests:
        asked += world.sessions_of(world.open_requests[0])
        world.answer(first=1)
    assert asked == ["sess-3", "sess-1", "sess-2"], "the first had gone before the others came"


def test_W5_in_an_outage_plans_that_fail_do_not_keep_a_younger_one_from_its_turn() -> None:
    world = a_world(start=1, most_plans_per_request=1)
    world.instead = answers(UNAVAILABLE)
    world.arrive(*(a_plan(world, number) for number in range(8)))
    world.wait(600)
    asked = [send.parts[0] for send in world.requests]
    times = [sum(f"'sess-{number}'" in repr(part) for part in asked) for number in range(8)]
    assert min(times) >= 2
    assert max(times) - min(times) <= 2


# W9: the gate before every attempt.


def test_W9_a_plan_that_is_not_cleared_is_verified_before_it_is_sent() -> None:
    world = a_world()
    world.metadata.cached_verdict = lambda _: None  # type: ignore[method-assign]
    world.hold_verifying = True
    world.arrive(a_plan(world, 1), a_plan(world, 2))
    assert (len(world.verifying), world.requests) == (2, [])
    world.tell(messages.Verified(world.verifying[0].plan, GAP))
    assert world.outcomes == [("sess-1", "blocked")]
    del world.metadata.cached_verdict  # type: ignore[method-assign]
    world.tell(messages.Verified(world.verifying[1].plan, Cleared({})))
    assert landed(world) == ["sess-2"]


@pytest.mark.parametrize(("judgement", "attempts"), [(THROTTLED, 0), (NEVER_SENT, 1)])
def test_W6_being_told_to_wait_with_a_question_about_metadata_is_no_attempt(
    judgement: Judgement, attempts: int
) -> None:
    world = a_world()
    world.metadata.answer = judgement
    world.hold_verifying = True
    world.arrive(a_plan(world, 1))
    world.tell(messages.Verified(world.verifying[0].plan, judgement))
    assert world.engine._flow.retry.attempts("sess-1") == attempts


def test_W9_a_hint_of_drift_verifies_anew_once_and_nobody_else_waits_for_it() -> None:
    world = a_world(start=1)
    world.hold_verifying = True
    world.crm.refused_sets.add("gone")
    trouble = a_plan(world, 1)
    trouble = replace(trouble, steps=(replace(trouble.steps[0], entity_set="gone"), *trouble.steps[1:]))
    world.arrive(trouble, a_plan(world, 2))
    assert world.outcomes == [("sess-2", "completed")]
    [verify] = world.verifying
    assert verify.anew
    world.tell(messages.Verified(verify.plan, Cleared({})))
    assert world.outcomes == [("sess-2", "completed"), ("sess-1", "blocked")]
    assert len(world.verifying) == 1


@pytest.mark.parametrize("answer", [GAP, UNAVAILABLE])
def test_W9_what_verifying_anew_says_is_followed(answer: Any) -> None:
    world = a_world()
    world.hold_verifying = True
    world.crm.refused_sets.add(CALLS)
    world.arrive(a_plan(world, 1))
    world.tell(messages.Verified(world.verifying[0].plan, answer))
    assert world.outcomes == ([("sess-1", "blocked")] if answer is GAP else [])


ANOTHER = OwnerCandidate(
    kind=OwnerKind.TEAM, record_id="t", column="ownerid@odata.bind", value="/teams(t)", override=False
)


@pytest.mark.parametrize("replies", [1, 2], ids=["to be read back", "to be sent again"])
@pytest.mark.parametrize("answer", [GAP, Cleared({0: ANOTHER})], ids=["gap", "another owner"])
def test_W9_what_changed_while_a_follow_up_waited_for_a_place_is_not_written_on(replies: int, answer: Any) -> None:
    world = a_world(start=1, most_plans_per_request=1)
    world.hold_requests = True
    world.arrive(a_plan(world, 1))
    world.inbox.append(messages.Replied(world.open_requests.pop().number, _all(world.requests[-1], LOST)))
    if replies == 2:
        world.run()
        send = world.open_requests.pop()
        world.inbox.append(messages.Replied(send.number, world._answered(send)))
    world.metadata.answer, world.hold_verifying = answer, True
    world.run()
    if answer is GAP:
        assert (len(world.requests), len(world.verifying)) == (replies, 1)
    elif replies == 2:
        assert "GET" in repr(world.open_requests[0].parts), "put together for another owner: it begins anew"


def _all(send: messages.Send, judgement: Judgement) -> Any:
    exchange = answers(judgement)(send)
    assert exchange
    return exchange


# Partitions come and go.


def test_W2_a_partition_is_given_up_when_what_is_in_flight_has_settled_and_with_that_committed() -> None:
    world = a_world(start=1, most_plans_per_request=1)
    world.hold_requests = True
    lane = a_lane(world, 1, 3)
    world.arrive(lane[0], a_plan(world, 2), lane[1])
    world.tell(messages.Revoking((0,)))
    world.wait(1)
    assert world.released == [], "the first is in flight"
    world.answer()
    world.wait(1)
    assert world.released == [(0,)]
    assert world.outcomes == [("sess-1", "completed")]
    assert (len(world.requests), world.frontier()) == (1, 1), "nothing is begun that another writer will begin"
    assert world.results_forgotten[-1:] == [0]
    assert world.engine.gauges(world.now).in_flight == 0
    assert world.shown["partitions", ()] == 0
    assert world.counts["rebalances", ("released",)] == 1


def test_W1_what_has_settled_is_committed_before_its_partition_is_released() -> None:
    world = a_world(commit_interval_s=60.0)
    world.arrive(a_plan(world, 1), make_plan(session_id="mark", retired_at=NOON, steps=()))
    world.wait(1)
    world.arrive(make_plan(session_id="another mark", retired_at=NOON, steps=()), offset=2)
    world.wait(1)
    assert world.frontier() == 2, "the interval is not over"
    world.hold_batches = True
    world.tell(messages.Revoking((0, 7)))
    world.wait(1)
    assert world.released == []
    world.acknowledge()
    world.wait(1)
    assert world.released == [(0, 7)]
    assert world.committed == {0: OffsetAndMetadata(3, "wb2:3:")}


def test_B2_what_is_in_flight_for_too_long_does_not_hold_up_a_rebalance() -> None:
    world = a_world(release_within_s=3.0)
    world.hold_requests = True
    world.arrive(a_plan(world, 1))
    world.tell(messages.Revoking((0,)))
    world.wait(2)
    assert world.released == []
    world.wait(2)
    assert world.released == [(0,)]
    world.answer()
    world.wait(1)
    assert (world.published, world.frontier()) == ([], 0), "late news"


def test_B2_a_batch_that_does_not_end_holds_up_no_rebalance() -> None:
    world = a_world()
    world.hold_batches = True
    world.arrive(a_plan(world, 1))
    world.tell(messages.Revoking((0,)))
    world.wait(20)
    assert world.released == [(0,)]
    assert "partitions.released_unfinished" in world.events()
    world.acknowledge()
    world.wait(1)
    assert world.counts["outcomes", ("completed", "")] == 0, "the broker has taken it after all; it is late news"


@pytest.mark.parametrize("judgement", [THROTTLED, NEVER_SENT], ids=["nothing wrong", "failed"])
def test_W2_a_plan_that_would_wait_is_dropped_when_its_partition_is_being_given_up(judgement: Judgement) -> None:
    world = a_world()
    world.hold_requests = True
    world.arrive(a_plan(world, 1))
    world.tell(messages.Revoking((0,)))
    world.answer(lambda send: _all(send, judgement))
    assert world.released == [(0,)]


def test_W2_a_plan_that_is_verified_while_its_partition_is_given_up_is_dropped() -> None:
    world = a_world()
    world.hold_verifying = True
    world.metadata.cached_verdict = lambda _: None  # type: ignore[method-assign]
    world.arrive(a_plan(world, 1))
    world.tell(messages.Revoking((0,)))
    assert world.released == []
    world.tell(messages.Verified(world.verifying[0].plan, Cleared({})))
    assert world.released == [(0,)]
    world.tell(messages.Verified(world.verifying[0].plan, Cleared({})))


def test_W2_a_lost_partition_is_forgotten_with_all_that_is_in_flight_or_waits() -> None:
    world = a_world(start=1, most_plans_per_request=1)
    world.hold_requests = True
    world.index.read = False
    world.arrive(*a_lane(world, 1, 2), a_plan(world, 3))
    world.arrive(a_plan(world, 4), offset=3, headers=[("replay", b"1")])
    world.arrive(a_plan(world, 5), offset=4, headers=[("not-before", b"9999999999999")])
    world.tell(messages.Lost([0, 8]))
    world.index.read = True
    world.answer()
    world.tell(messages.ResultsRead(0, world.epochs[0]))
    world.wait(1_000)
    assert (len(world.requests), world.published) == (1, [])
    assert world.engine.gauges(world.now).in_flight == 0
    assert "partitions.lost" in world.events()


def test_W4_a_lane_in_flight_is_not_worked_on_beside_it_when_its_partition_is_lost_and_comes_back() -> None:
    world = a_world()
    world.hold_requests = True
    world.arrive(a_plan(world, 1))
    world.tell(messages.Lost([0]))
    world.assign(0)
    world.arrive(a_plan(world, 1), a_plan(world, 2))
    assert len(world.requests) == 2, "the other lane goes on"
    while world.open_requests:
        world.answer()
    assert sorted(landed(world)) == ["sess-1", "sess-2"]
    assert sorted(world.outcomes) == [("sess-1", "completed"), ("sess-2", "completed")]


def test_W4_a_lane_that_waits_for_a_request_of_an_assignment_before_may_be_lost_too() -> None:
    world = a_world()
    world.hold_requests = True
    world.arrive(a_plan(world, 1))
    world.tell(messages.Lost([0]))
    world.assign(0)
    world.arrive(a_plan(world, 1))
    world.tell(messages.Lost([0]))
    world.answer()
    assert len(world.requests) == 1


def test_W2_nothing_is_said_of_a_partition_that_the_fence_does_not_know() -> None:
    """The consumer's thread has given it up; the engine has not heard of that yet."""
    world = a_world()
    world.assign(1)
    world.epochs.pop(0)
    world.arrive(a_plan(world, 1), partition=1)
    world.plans[0, 0] = plan = a_plan(world, 2)
    world.tell(messages.Received([make_record(0, epoch=1, key=plan.session_id.encode())]))
    world.wait(1)
    assert sorted(landed(world)) == ["sess-1", "sess-2"]
    assert world.outcomes == [("sess-1", "completed")]
    assert set(world.committed) == {1}
    world.plans[0, 1] = plan
    world.tell(messages.Received([make_record(1, epoch=1, value=None)]))
    turns = len(world.batches)
    world.wait(1)
    assert len(world.batches) == turns
    world.tell(messages.Revoking((0,)))
    world.wait(20)
    assert world.released == [(0,)]


def test_W1_an_assignment_that_replaces_another_closes_it() -> None:
    world = a_world()
    world.hold_batches = True
    world.arrive(a_plan(world, 1))
    world.assign(0)
    world.acknowledge()
    world.wait(1)
    assert world.engine.gauges(world.now).in_flight == 0
    assert world.results_wanted == [0, 0]


def test_W2_results_that_were_read_for_an_assignment_before_are_no_news_of_the_next() -> None:
    world = a_world()
    world.index.read = False
    plan, epoch = a_plan(world, 1), world.epochs[0]
    world.arrive(plan, headers=[("replay", b"1")])
    world.assign(0)
    world.arrive(plan, headers=[("replay", b"1")])
    world.index.read = True
    world.tell(messages.ResultsRead(0, epoch))
    assert world.requests == []
    world.tell(messages.ResultsRead(0, world.epochs[0]))
    assert landed(world) == ["sess-1"]


def test_W1_late_news_about_copies_and_rejections_changes_nothing() -> None:
    world = a_world()
    world.hold_batches = True
    world.arrive(JUNK)
    world.tell(messages.Lost([0]))
    world.too_large = lambda _: True
    world.acknowledge()
    assert (world.failure, world.counts["rejected", ()]) == (None, 0)


# Stopping, pausing, offsets.


def test_B2_stopping_pauses_all_begins_nothing_and_ends_when_what_is_in_flight_has_settled() -> None:
    world = a_world(start=1, most_plans_per_request=1)
    world.hold_requests = True
    world.arrive(a_plan(world, 1), a_plan(world, 2))
    world.tell(messages.Stop())
    assert (world.paused, world.stopped) == ({0}, False)
    world.answer()
    assert world.stopped
    assert len(world.requests) == 1
    world.tell(messages.Revoking((0,)))
    world.wait(1)
    assert world.released == [(0,)]
    assert world.frontier() == 1


def test_B2_when_stopping_a_plan_whose_reply_was_lost_is_still_read_back_and_landed() -> None:
    world = a_world(start=1, most_plans_per_request=1)
    world.hold_requests = True
    world.arrive(a_plan(world, 1), a_plan(world, 2))
    world.tell(messages.Stop())
    world.answer(lambda send: _all(send, LOST))
    while world.open_requests:
        assert not world.stopped
        world.answer()
    assert world.stopped
    assert (landed(world), world.outcomes) == (["sess-1"], [("sess-1", "completed")])


def test_B2_the_engine_wakes_at_every_deadline_and_else_sleeps() -> None:
    world = a_world(stop_within_s=20.0, release_within_s=10.0)
    world.assign(1)
    world.wait(1)
    assert world.wake_at == math.inf
    world.hold_requests = True
    world.refuses = {0}
    world.arrive(a_plan(world, 1), make_plan(session_id="mark", retired_at=NOON, steps=()))
    world.wait(0.5)
    assert 0 < world.wake_at - world.now.s <= 1, "the position that the broker did not take"
    world.refuses = set()
    world.wait(1)
    assert world.wake_at == math.inf, "it was taken"
    began = world.now.s
    world.tell(messages.Revoking([0]))
    assert world.wake_at == began + 10, "what is in flight is waited for"
    world.answer()
    world.wait(0.1)
    assert world.released
    world.arrive(a_plan(world, 2), partition=1)
    began = world.now.s
    world.tell(messages.Stop())
    world.wait(0.1)
    assert world.wake_at == began + 20


def test_B2_stopping_takes_no_longer_than_it_may() -> None:
    world = a_world(stop_within_s=5.0)
    world.hold_requests = True
    world.arrive(a_plan(world, 1))
    world.tell(messages.Stop())
    world.wait(4)
    assert not world.stopped
    world.wait(2)
    assert world.stopped


def test_B2_a_plan_that_waits_again_is_not_waited_for_when_stopping() -> None:
    world = a_world()
    world.hold_requests = True
    world.arrive(a_plan(world, 1))
    world.tell(messages.Stop())
    world.answer(lambda send: _all(send, NEVER_SENT))
    assert world.stopped


def test_B3_a_full_window_pauses_the_partition() -> None:
    world = a_world(window=WindowLimits(plans=10, plans_per_partition=10))
    world.hold_requests = True
    world.arrive(*(a_plan(world, number) for number in range(10)))
    assert world.paused == {0}
    while world.open_requests:
        world.answer()
    world.wait(1)
    assert world.paused == set()


def test_B2_what_settled_is_committed_soon_one_batch_at_a_time() -> None:
    world = a_world()
    world.hold_batches = True
    world.arrive(*(make_plan(session_id=f"mark {number}", retired_at=NOON, steps=()) for number in range(2)))
    world.wait(1)
    assert [at.offset for batch in world.batches for at in batch.positions] == [2]
    world.arrive(make_plan(session_id="mark 2", retired_at=NOON, steps=()), offset=2)
    world.wait(1)
    assert len(world.batches) == 1, "the first is not acknowledged"
    world.acknowledge()
    world.wait(1)
    world.acknowledge()
    world.wait(1)
    assert [at[0].offset for at in world.commits] == [2, 3]
    assert len(world.batches) == 2, "there is no news"


def test_W1_a_position_that_the_broker_did_not_take_is_committed_later_and_not_at_once() -> None:
    world = a_world()
    world.refuses = {0}
    world.arrive(a_plan(world, 1))
    world.wait(0.9)
    assert (len(world.commits), world.frontier(), world.outcomes) == (1, 0, [("sess-1", "completed")])
    assert world.counts["commit_failures", ("NOT_COORDINATOR",)] == 1
    assert "commit.failed" in world.events()
    world.wait(1)
    assert world.commits == [world.commits[0]] * 2
    world.refuses = set()
    world.wait(2)
    assert (len(world.commits), world.frontier()) == (3, 1)
    assert world.outcomes == [("sess-1", "completed")], "its result is published once"


def test_W1_only_what_was_sent_counts_as_committed() -> None:
    world = a_world()
    world.hold_batches = world.hold_requests = True
    world.arrive(*(a_plan(world, number) for number in range(3)))
    world.open_requests.reverse()
    world.answer(first=1)
    world.wait(1)
    world.answer(first=1)
    world.acknowledge()
    world.wait(1)
    world.acknowledge()
    [first, second] = world.commits
    assert second[0].metadata != first[0].metadata, "what is settled beyond it is news"


def test_W1_the_partitions_that_the_broker_took_are_not_committed_again() -> None:
    world = a_world()
    world.assign(1)
    world.refuses = {1}
    marks = [make_plan(session_id=f"mark {number}", retired_at=NOON, steps=()) for number in range(2)]
    world.arrive(marks[0])
    world.arrive(marks[1], partition=1)
    world.wait(2.5)
    assert [sorted(commit) for commit in world.commits] == [[0, 1], [1], [1]]


def test_P5_plans_that_were_taken_away_unread_are_said_by_partition_and_range() -> None:
    world = a_world()
    world.tell(messages.Missed(0, 5, 9))
    assert world.counts["missed", ()] == 4
    [line] = [line for line in world.logs if line.event == "plans.missed"]
    assert (line.level, line.fields) == ("error", {"partition": 0, "first": 5, "behind_last": 9})


# What is shown.


def test_the_age_of_a_requeued_plan_does_not_begin_anew() -> None:
    world = a_world()
    world.hold_requests = True
    world.arrive(a_plan(world, 1), timestamp_ms=5_000)
    world.arrive(a_plan(world, 2), offset=1, timestamp_ms=9_000, headers=[("first-appended-at", b"1000")])
    assert world.engine.gauges(world.now).oldest_ms == 1_000
    world.answer()
    world.wait(1)
    assert world.engine.gauges(world.now).oldest_ms is None


def test_an_operator_sees_up_to_when_everything_has_landed() -> None:
    world = World()
    assert math.isnan(world.engine.gauges(world.now).caught_up_ms)
    world.assign(0, committed=OffsetAndMetadata(10, "wb2:10:"), end=None)
    world.assign(1, committed=OffsetAndMetadata(5, "wb2:5:"), end=None)
    at = NOON.timestamp()

    def caught_up() -> float:
        return world.engine.gauges(world.now).caught_up_ms / 1000

    assert caught_up() == 0, "nothing is known yet"
    world.tell(messages.EndOffsets({0: 12, 1: 5, 7: 1}, at - 9))
    assert caught_up() == 0, "of partition 0 nothing is known yet"
    world.hold_requests = True
    world.arrive(a_plan(world, 1), offset=10, timestamp_ms=4_000)
    world.arrive(a_plan(world, 2), offset=11, timestamp_ms=6_000)
    assert caught_up() == 4
    world.answer()
    world.wait(1)
    assert caught_up() == at - 9, "then the end was heard of"
    world.tell(messages.EndOffsets({0: 13, 1: 5}, at - 5))
    assert caught_up() == at - 9, "one more was appended, and is not here yet"
    world.arrive(a_plan(world, 3), offset=12, timestamp_ms=round((at - 7) * 1000))
    assert caught_up() == at - 7


def test_the_gap_behind_the_frontier_is_shown() -> None:
    world = a_world()
    world.instead = answers(NEVER_SENT, "sess-1")
    world.arrive(a_plan(world, 1), a_plan(world, 2))
    world.wait(3)
    world.arrive(a_plan(world, 3), offset=2)
    assert world.engine.gauges(world.now).gap == 2


def test_the_end_of_a_partition_that_nothing_was_said_of_is_not_known() -> None:
    world = World()
    world.assign(0, 1, end=None)
    world.tell(messages.EndOffsets({1: 0}, NOON.timestamp()))
    assert world.engine.gauges(world.now).caught_up_ms == 0


def test_W1_a_record_that_is_too_large_does_not_keep_others_that_the_broker_took() -> None:
    world = a_world()
    world.hold_batches = True
    world.arrive(JUNK, JUNK)
    world.open_batches.clear()
    world.hold_batches = False
    world.tell(messages.Published([None, 7]))
    world.wait(1)
    assert world.counts["rejected", ()] == 2
    assert [one.bare for one in world.published if isinstance(one, RejectionOf)] == [True]
    assert world.frontier() == 2


def test_W2_a_plan_that_the_prefetched_records_show_landed_needs_no_request() -> None:
    world = a_world()
    first, second = a_lane(world, 1, 2)
    row = {**second.baseline.columns, "medx_lastsessionid": "sess-2"}

    world.hold_requests = True
    world.arrive(first, second)
    [send] = world.open_requests
    world.open_requests.clear()
    exchange = world._answered(send)
    world.crm.seed(ITEMS, second.queue_item_id, **row)
    reads = world._answered(replace(send, parts=send.parts[1:]))
    world.tell(messages.Replied(send.number, replace(exchange, parts=(exchange.parts[0], *reads.parts))))
    assert world.outcomes == [("sess-1", "completed"), ("sess-2", "completed")]
    assert len(world.requests) == 1
    assert "plans.decided" in world.events()


def test_W6_metadata_that_must_not_be_read_is_reported_once_and_is_no_outage() -> None:
    from writer.core.replies import Privilege

    world = a_world()
    denied = Judgement(
        Kind.PERMANENT, Meaning.NOT_ALLOWED, 403, by_the_crm=True, privilege=Privilege("prvReadUser", "systemuser")
    )
    world.metadata.answer = denied
    world.arrive(a_plan(world, 1), a_plan(world, 2))
    world.wait(3)
    assert world.events().count("plans.held") == 1
    assert world.engine.gauges(world.now).held == {"unverifiable": 2}


def test_W2_a_plan_that_awaits_earlier_results_is_dropped_when_its_partition_is_being_given_up() -> None:
    world = a_world()
    world.hold_requests = True
    world.index.read = False
    world.arrive(a_plan(world, 1))
    world.arrive(a_plan(world, 2), offset=1, headers=[("replay", b"1")])
    world.tell(messages.Revoking((0,)))
    world.index.read = True
    world.tell(messages.ResultsRead(0, world.epochs[0]))
    world.answer()
    world.wait(1)
    assert world.outcomes == [("sess-1", "completed")]


def test_a_follow_up_waits_for_a_place() -> None:
    world = a_world(start=1)
    plan = a_plan(world, 1)
    world.crm.seed(ITEMS, plan.queue_item_id, **plan.baseline.columns)
    question = object()
    world.hold_requests = True
    world.arrive(plan)
    world.identities.ask(question)
    world.answer()
    assert len(world.requests) == 1, "a question goes first"
    world.identities.withdraw(question)
    world.identities.withdraw(question)
    world.wait(1)
    assert len(world.requests) == 2


def test_an_identity_that_is_not_signed_in_is_said_once_and_rests_while_the_others_work() -> None:
    from writer.core.replies import not_signed_in
    from writer.core.sign_in import SignInFault, SignInTrouble

    world = a_world(identities=2)
    refused = not_signed_in(SignInFault(SignInTrouble.SECRET_EXPIRED, "AADSTS7000222"))
    world.instead = lambda send: answers(refused)(send) if send.place.identity.name == "none-0" else None
    for number in range(4):
        world.arrive(a_plan(world, number), offset=number)
        world.wait(20)
    assert len(landed(world)) == 4
    assert world.events().count("identity.not_signed_in") == 1
    assert world.counts["sign_in_failures", ("none-0", "secret_expired", "AADSTS7000222")] > 1
    assert world.shown["signed_in", ("none-0",)] == 0


# A crash at every effect.


@pytest.mark.parametrize("transactions", [True, False])
@pytest.mark.parametrize("performed", [False, True], ids=["before it", "after it"])
def test_W1_W2_after_a_crash_at_every_effect_the_next_engine_ends_right(transactions: bool, performed: bool) -> None:
    """A lane of three, a lost answer, a record that is no plan, a conflict, a plan that is requeued, a rebalance.

    Without transactions a process may die between a batch's records and its positions.
    """
    effects = _life(transactions=transactions, crash_at=None, performed=performed)
    assert effects > 40
    for number in range(effects):
        _life(transactions=transactions, crash_at=number, performed=performed)


class Crash(Exception):
    """The process died."""


class Mortal(World):
    """Dies at one of its effects. The topic, the CRM, the results and the committed offsets outlive it."""

    def __init__(self, crash_at: int | None, *, performed: bool, transactions: bool, **options: Any) -> None:
        super().__init__(**options)
        self.transactions = transactions
        self.crash_at, self.performed, self.effects = crash_at, performed, 0
        self.log: list[tuple[Any, tuple[tuple[str, bytes], ...]]] = []
        self.read_up_to = 0

    def perform(self, effect: Effect) -> None:
        if isinstance(effect, messages.WakeAt):
            super().perform(effect)
            return
        number, self.effects = self.effects, self.effects + 1
        if number == self.crash_at and not self.performed:
            raise Crash
        self.refuses = set() if self.transactions or number != self.crash_at else set(self.epochs)
        super().perform(effect)
        if number == self.crash_at:
            raise Crash

    def append(self, plan: Any, *headers: tuple[str, bytes]) -> None:
        self.log.append((plan, headers))

    def begin_anew(self) -> None:
        """The next process: what it knows is what the broker and the CRM have."""
        self.crash_at = None
        self.inbox.clear()
        self.requests.clear()
        for one in self.results:
            self.index.published(0, one.session_id, _settled(one), one.first_settled_at)
        self.engine = self.an_engine()
        self.take_over()

    def take_over(self) -> None:
        at = self.committed.get(0)
        self.read_up_to = at.offset if at else 0
        self.assign(0, committed=at)

    def read(self) -> None:
        """All that is on the topic; copies as they were appended."""
        copies = [one for one in self.published if type(one).__name__ == "CopyOf"]
        for copy in copies[len(self.log) - self._originals :]:
            self.log.append((copy.plan.plan, (("requeue-count", str(copy.count).encode()),)))  # type: ignore[union-attr]
        self.next_offset = len(self.log)
        while self.read_up_to < len(self.log):
            offset, self.read_up_to = self.read_up_to, self.read_up_to + 1
            plan, headers = self.log[offset]
            self.arrive(plan, offset=offset, headers=list(headers))

    _originals = 0

    def settle_topic(self) -> None:
        self._originals = len(self.log)
        self.next_offset = len(self.log)


def _settled(result: Any) -> Settled | None:
    from writer.core.history import settled_as

    return settled_as(result)


def _life(*, transactions: bool, crash_at: int | None, performed: bool) -> int:
    """Returns how many effects there were."""
    from writer.core.retry import RetryLimits

    world = Mortal(
        crash_at, performed=performed, transactions=transactions, start=2, most_plans_per_request=2,
        retry=RetryLimits(back_of_topic=1.0),
    )  # fmt: skip
    lane = a_lane(world, 1, 2, 3)
    conflict, doomed, healthy = a_plan(world, 4), a_plan(world, 5), a_plan(world, 6)
    world.crm.seed(ITEMS, conflict.queue_item_id, **{**conflict.baseline.columns, "medx_notes": "by hand"})
    for plan in (*lane, JUNK, conflict, doomed, a_plan(world, 7)):
        world.append(plan)
    for number in range(10, 13):
        world.append(a_plan(world, number))
    world.append(healthy)
    world.settle_topic()
    lost_once = iter([True])

    def instead(send: messages.Send) -> Any:
        if world.now.s < 1_012 and "sess-5" in repr(send.parts):
            return _all(send, NEVER_SENT)
        if "'sess-2'" in repr(send.parts) and next(lost_once, False):
            world._sent_and_lost = True  # type: ignore[attr-defined]
            exchange_with_crm(world, send)
            return _all(send, LOST)
        return None

    world.instead = instead
    _run_through(world, _first_part, _second_part)
    _judge(world)
    return world.effects


def exchange_with_crm(world: World, send: messages.Send) -> None:
    from tests.unit.writer.workbench import exchange_with

    exchange_with(world.crm, send.parts)


def _first_part(world: Mortal) -> None:
    world.take_over()
    world.read()
    world.wait(6)
    world.tell(messages.Revoking((0,)))
    world.wait(20)


def _second_part(world: Mortal) -> None:
    if 0 not in world.epochs:
        world.take_over()
    for _ in range(30):
        world.read()
        world.wait(3)
        if world.frontier() == len(world.log):
            return


def _run_through(world: Mortal, *parts: Callable[[Mortal], None]) -> None:
    for part in parts:
        try:
            part(world)
        except Crash:
            world.begin_anew()
    _second_part(world)


def _judge(world: Mortal) -> None:
    calls = sorted(landed(world))
    assert calls == sorted(f"sess-{number}" for number in (1, 2, 3, 4, 5, 6, 7, 10, 11, 12)), "each call once"
    for number in (1, 5, 6, 7, 10, 11, 12):
        row = world.crm.rows[ITEMS][a_plan(world, number).queue_item_id]
        assert row["medx_attemptcount"] == (3 if number == 1 else 1), "each counted once"
    assert world.crm.rows[ITEMS][a_plan(world, 1).queue_item_id]["medx_lastsessionid"] == "sess-3", "in order"
    final = {session: status for session, status in world.outcomes if status != "resume_needed"}
    assert final == {
        **{f"sess-{number}": "completed" for number in (1, 2, 3, 5, 6, 7, 10, 11, 12)},
        "sess-4": "blocked",
    }
    for session in final:
        said = [status for one, status in world.outcomes if one == session]
        assert "resume_needed" not in said[next(n for n, s in enumerate(said) if s != "resume_needed") :]
    assert "rejected 3" in world.story
    assert world.frontier() == len(world.log), "nothing is left"
    assert world.engine.gauges(world.now).in_flight == 0


def test_an_assignment_that_nobody_committed_begins_with_its_first_record() -> None:
    world = World()
    world.tell(messages.AssignedPartitions([AssignedPartition(0, 1, None)]), messages.AssignedPartitions([]))
    assert world.counts["rebalances", ("assigned",)] == 1
    world.epochs[0] = 1
    world.tell(messages.EndOffsets({0: 43}, world.now.utc.timestamp()))
    world.arrive(a_plan(world, 1), offset=42)
    world.wait(1)
    assert world.frontier() == 43
