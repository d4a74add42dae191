"""A request of a writer that is gone may land yet: nothing says before that its plan was refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from schemas.records import PlannedWriteback
from tests.unit.writer.core.engine_kit import (
    DENIED,
    LOST,
    SUSPECT,
    UNAVAILABLE,
    a_plan,
    answers,
    is_about,
    landed,
    lands,
)
from tests.unit.writer.workbench import World, exchange_with
from writer.core import messages
from writer.core.assignment import OffsetAndMetadata
from writer.core.emission import update_step
from writer.core.exchanges import Exchange, same_for_all
from writer.core.gate import Blocked, Cleared, Gap
from writer.core.history import Settled
from writer.core.publishing import CopyOf
from writer.core.replies import Judgement
from writer.core.retry import RetryLimits


def refused(send: messages.Send, judgement: Judgement = DENIED) -> Exchange | None:
    """The CRM refuses to write this session; it may be read."""
    writes = is_about(send, "sess-1") and "GET" not in repr(send.parts)
    return same_for_all(send.parts, judgement) if writes else None


WINDOW_S = RetryLimits().late_request


def others_land(world: World, first: int = 20) -> None:
    """So that a refusal is one plan's own trouble, and no outage."""
    for number in range(first, first + 4):
        world.arrive(a_plan(world, number), offset=number)


def without_call(plan: PlannedWriteback) -> PlannedWriteback:
    """No call was placed: only the queue item says why."""
    return replace(plan, steps=(update_step(plan),))


def taken_over(
    form: Callable[[PlannedWriteback], PlannedWriteback] = lambda plan: plan, **options: Any
) -> tuple[World, PlannedWriteback, Callable[[], object]]:
    """A writer sends a plan, loses the partition before the answer, and gets it again as the next writer would. The
    function has the CRM carry the first request out, late.
    """
    world = World(**options)
    world.assign(0)
    world.hold_requests = True
    world.arrive(plan := form(a_plan(world, 1)), offset=10)
    [sent] = world.requests
    world.tell(messages.Lost([0]))
    world.hold_requests = False
    world.answer(lambda send: same_for_all(send.parts, LOST))
    world.assign(0, committed=OffsetAndMetadata(10, "wb2:10:"), end=15)
    return world, plan, lambda: exchange_with(world.crm, sent.parts)


def test_W2_a_request_that_lands_after_a_takeover_is_never_called_refused() -> None:
    world, plan, lands_late = taken_over()
    world.instead = refused
    world.arrive(plan, offset=10)
    others_land(world)
    world.wait(88)
    assert "sess-1" not in dict(world.outcomes), "nobody can say yet that nothing was written"
    lands_late()
    behind = a_plan(world, 2, 1, after=[plan])
    world.arrive(behind, offset=30)
    world.wait(WINDOW_S)
    assert dict(world.outcomes)["sess-1"] == dict(world.outcomes)["sess-2"] == "completed"
    assert landed(world).count("sess-1") == 1


def test_W2_a_plan_that_stays_refused_is_blocked_as_soon_as_no_earlier_request_can_land() -> None:
    world, plan, _ = taken_over()
    world.instead = refused
    world.arrive(plan, offset=10)
    others_land(world)
    world.wait(WINDOW_S - 5)
    assert "sess-1" not in dict(world.outcomes)
    assert "plan.waits_for_earlier_requests" in world.events()
    world.wait(10)
    assert dict(world.outcomes)["sess-1"] == "blocked"
    assert world.index.known["sess-1"] is Settled.NOT_WRITTEN
    assert "sess-1" not in landed(world)


GAP = Blocked((Gap(2, "medx_callqueueitems", "medx_notes", "a column that exists"),))


@pytest.mark.parametrize("arrives", [True, False])
def test_W2_what_the_metadata_refuse_waits_too_and_its_call_is_looked_for_before_it_is_blocked(arrives: bool) -> None:
    world, plan, lands_late = taken_over()
    world.metadata.answer = GAP
    world.arrive(plan, offset=10)
    world.wait(88)
    assert world.outcomes == []
    if arrives:
        lands_late()
    world.wait(WINDOW_S)
    [result] = world.results
    assert (result.status, result.block_reason) == ("blocked", "metadata")
    assert result.may_have_landed is arrives
    assert ("Nothing was written" in str(result.message), "replan" in str(result.message)) == (not arrives, not arrives)
    world.metadata.answer = Cleared({})
    world.arrive(plan, offset=16, headers=[("replay", b"Ada")])
    world.wait(WINDOW_S)
    assert world.outcomes[-1] == ("sess-1", "completed")
    assert landed(world).count("sess-1") == 1


def test_W2_a_plan_that_this_writer_may_have_sent_is_in_doubt_when_the_metadata_refuse_it() -> None:
    world = World()
    world.assign(0)
    world.instead = lambda send: same_for_all(send.parts, LOST)
    world.arrive(a_plan(world, 1), offset=10)
    world.metadata.answer = GAP
    world.instead = lands
    world.wait(10)
    [result] = world.results
    assert (result.block_reason, result.may_have_landed) == ("metadata", True)
    assert "may still arrive" in str(result.message)
    assert "replan" not in str(result.message)


@pytest.mark.parametrize(
    ("reply", "in_doubt"), [(DENIED, True), (UNAVAILABLE, False)], ids=["may not be read", "is tried again"]
)
def test_W2_a_call_that_cannot_be_looked_for_leaves_its_session_in_doubt(reply: Judgement, in_doubt: bool) -> None:
    world, plan, _ = taken_over()
    world.metadata.answer = GAP
    world.instead = lambda send: same_for_all(send.parts, reply) if len(world.requests) == 2 else None
    world.arrive(plan, offset=10)
    world.wait(1)
    assert [result.may_have_landed for result in world.results] == [True] * in_doubt
    world.wait(WINDOW_S)
    assert [result.may_have_landed for result in world.results] == [in_doubt]


@pytest.mark.parametrize(("column", "asks"), [("medx_notes", True), ("medx_lastsessionid", False)])
def test_W2_a_plan_without_a_call_shows_by_its_session_on_the_row_that_it_landed(column: str, asks: bool) -> None:
    world, plan, lands_late = taken_over(without_call)
    world.metadata.answer = Blocked((Gap(2, "medx_callqueueitems", column, "a column that exists"),))
    lands_late()
    world.arrive(plan, offset=10)
    world.wait(WINDOW_S + 1)
    assert len(world.requests) - 1 == asks
    assert [result.may_have_landed for result in world.results] == [asks]


def test_W2_a_plan_without_a_call_whose_session_is_not_on_the_row_did_not_land() -> None:
    world, plan, _ = taken_over(without_call)
    world.metadata.answer = GAP
    world.arrive(plan, offset=10)
    world.wait(WINDOW_S + 1)
    assert [(result.status, result.may_have_landed) for result in world.results] == [("blocked", False)]


def test_W2_a_session_whose_call_is_known_from_its_result_is_not_put_in_doubt_by_it() -> None:
    world, plan, lands_late = taken_over()
    world.index.known["sess-1"] = Settled.CALL_ONLY
    lands_late()
    world.metadata.answer = GAP
    world.arrive(plan, offset=16, headers=[("replay", b"Ada")])
    world.wait(WINDOW_S)
    [result] = world.results
    assert (result.block_reason, result.may_have_landed) == ("metadata", False)
    assert "the call itself is recorded" in str(result.message)


def test_W9_a_call_that_no_request_can_name_is_not_looked_for() -> None:
    world, plan, _ = taken_over()
    world.metadata.answer = Blocked((Gap(0, "phonecalls", None, "a record id that is a GUID"),))
    world.arrive(plan, offset=10)
    world.wait(WINDOW_S)
    assert len(world.requests) == 1, "that of the writer before"
    assert world.outcomes == [("sess-1", "blocked")]


def test_W2_a_copy_of_a_plan_that_an_earlier_writer_had_waits_wherever_it_stands() -> None:
    world, plan, lands_late = taken_over()
    world.instead = refused
    world.arrive(plan, offset=16, headers=[("requeue-count", b"1")])
    others_land(world)
    world.wait(88)
    assert "sess-1" not in dict(world.outcomes)
    lands_late()
    world.instead = lands
    world.wait(WINDOW_S)
    assert dict(world.outcomes)["sess-1"] == "completed"


def test_W2_a_copy_that_fails_alone_again_and_again_waits_too() -> None:
    world, plan, _ = taken_over()
    world.instead = lambda send: refused(send, replace(SUSPECT, by_the_crm=True))
    world.arrive(plan, offset=16, headers=[("requeue-count", b"5")])
    for number in range(20, 32):
        world.arrive(a_plan(world, number), offset=number)
        world.wait(10)
    assert ("sess-1", "blocked") not in world.outcomes
    assert "plan.waits_for_earlier_requests" in world.events()
    for number in range(32, 44):
        world.arrive(a_plan(world, number), offset=number)
        world.wait(10)
    assert ("sess-1", "blocked") in world.outcomes


def test_W5_what_came_after_the_takeover_is_blocked_at_once() -> None:
    world, _, _ = taken_over()
    world.instead = answers(DENIED, "sess-3")
    world.arrive(a_plan(world, 3), offset=16)
    others_land(world)
    world.wait(10)
    assert dict(world.outcomes)["sess-3"] == "blocked"


def test_W2_a_writer_that_is_stopped_meanwhile_leaves_the_plan_to_the_next() -> None:
    world, plan, _ = taken_over()
    world.instead = refused
    world.hold_requests = True
    world.arrive(plan, offset=10)
    world.tell(messages.Revoking((0,)))
    world.hold_requests = False
    world.answer()
    world.wait(60)
    assert world.released == [(0,)]
    assert world.outcomes == []
    assert world.frontier() <= 10


def test_W8_a_dry_run_has_nothing_to_wait_for() -> None:
    world = World(write=False)
    world.assign(0, committed=OffsetAndMetadata(10, "wb2:10:"), end=15)
    world.metadata.answer = GAP
    world.arrive(a_plan(world, 1), offset=10)
    world.wait(10)
    assert [session for session, _ in world.outcomes] == ["sess-1"]


def test_W2_a_plan_with_an_unanswered_request_is_requeued_until_that_can_land_no_more() -> None:
    """Its copy does not know of the request."""
    world = World()
    world.assign(0)
    world.instead = answers(LOST, "sess-1")
    world.arrive(a_plan(world, 1), offset=10)
    copies: list[CopyOf] = []
    for number in range(20, 40):
        world.arrive(a_plan(world, number), offset=number)  # others land
        copies = [one for one in world.published if isinstance(one, CopyOf)]
        if copies:
            break
        world.wait(5)
    waits = (copies[0].at - world.now.utc).total_seconds()
    assert WINDOW_S - 5 <= waits <= WINDOW_S
