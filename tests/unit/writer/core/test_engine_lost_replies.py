"""What may have been written is not called refused, and what nobody asked the CRM says nothing about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from schemas.records import PlannedWriteback
from tests.support.factories import an_id
from tests.unit.writer.core.engine_kit import (
    CALLS,
    DENIED,
    ITEMS,
    LOST,
    SUSPECT,
    THROTTLED,
    UNAVAILABLE,
    a_plan,
    answers,
    is_about,
    landed,
    lands,
)
from tests.unit.writer.workbench import World, exchange_with
from writer.core import messages
from writer.core.emission import update_step
from writer.core.exchanges import Exchange, same_for_all
from writer.core.history import Settled
from writer.core.publishing import CopyOf
from writer.core.replies import Judgement, Kind, Meaning
from writer.core.retry import RetryLimits


def a_world() -> World:
    world = World(retry=RetryLimits(back_of_topic=5.0))
    world.assign(0)
    return world


def loses_its_reply(world: World, send: messages.Send) -> Exchange:
    """The CRM carries it out, and nobody hears of that."""
    exchange_with(world.crm, send.parts)
    return same_for_all(send.parts, LOST)


def without_status(plan: PlannedWriteback) -> PlannedWriteback:
    """It leaves the status as it is."""
    update = update_step(plan)
    columns = {name: value for name, value in update.attributes.items() if name != "medx_callstatus"}
    return replace(plan, steps=tuple(replace(s, attributes=columns) if s is update else s for s in plan.steps))


def denied(world: World, send: messages.Send) -> Exchange:
    """As if an earlier writer had landed it, whose application user has lost its rights since."""
    exchange_with(world.crm, send.parts)
    return same_for_all(send.parts, DENIED)


def lost_and_not_read(world: World, send: messages.Send) -> Exchange:
    """Its copy is too large for the broker besides."""
    if "GET" in repr(send.parts):
        return same_for_all(send.parts, UNAVAILABLE)
    return loses_its_reply(world, send)


@pytest.mark.parametrize("ends", [denied, lost_and_not_read])
def test_W2_R3_a_session_that_landed_and_could_not_be_read_is_no_conflict_for_any_behind_it(
    ends: Callable[[World, messages.Send], Exchange],
) -> None:
    """The second writes over its session on the row and leaves its status, which the third must not take for a
    person's."""
    world = a_world()
    first = a_plan(world, 1)
    second = without_status(a_plan(world, 2, 1, after=[first]))
    third = without_status(a_plan(world, 3, 1, after=[first, second]))
    world.too_large = lambda one: isinstance(one, CopyOf)
    world.instead = lambda send: ends(world, send) if is_about(send, "sess-1") else None
    world.arrive(first)
    for number in range(4, 8):  # others land
        world.arrive(a_plan(world, number), offset=number)
        world.wait(30)
    assert ("sess-1", "blocked") in world.outcomes
    assert world.index.known["sess-1"] is Settled.IN_DOUBT
    world.instead = lands
    for plan, offset in ((second, 8), (third, 9)):
        world.arrive(plan, offset=offset)
        world.wait(30)
    assert world.outcomes[-2:] == [("sess-2", "completed"), ("sess-3", "completed")]
    world.arrive(first, offset=10, headers=[("replay", b"Ada")])
    world.wait(30)
    assert world.outcomes[-1] == ("sess-1", "completed"), "a replay says so"
    assert landed(world).count("sess-1") == 1


def test_W2_R3_a_write_that_arrives_after_its_plan_was_refused_is_no_conflict_for_the_next() -> None:
    """The first request has no answer, the records show nothing of it, and the second one is refused."""
    world = a_world()
    first = a_plan(world, 1)
    second = a_plan(world, 2, 1, after=[first])
    given_up: list[messages.Send] = []

    def instead(send: messages.Send) -> Exchange | None:
        if not is_about(send, "sess-1") or "GET" in repr(send.parts):
            return None
        if not given_up:
            given_up.append(send)
            return same_for_all(send.parts, LOST)
        return same_for_all(send.parts, DENIED)

    world.instead = instead
    world.arrive(first)
    for number in range(4, 8):  # others land
        world.arrive(a_plan(world, number), offset=number)
        world.wait(30)
    assert world.index.known["sess-1"] is Settled.IN_DOUBT
    exchange_with(world.crm, given_up[0].parts)
    world.instead = lands
    world.arrive(second, offset=8)
    world.wait(30)
    assert world.outcomes[-1] == ("sess-2", "completed")
    world.arrive(first, offset=9, headers=[("replay", b"Ada")])
    world.wait(30)
    assert world.outcomes[-1] == ("sess-1", "completed"), "a replay says so"
    assert landed(world).count("sess-1") == 1


DRIFTED = Judgement(Kind.PERMANENT, Meaning.DRIFT, 400, "0x80060888", by_the_crm=True)


@pytest.mark.parametrize("refusal", [DENIED, SUSPECT, THROTTLED, DRIFTED], ids=lambda each: each.meaning)
def test_W2_a_refused_read_says_nothing_about_what_was_written(refusal: Judgement) -> None:
    world = a_world()

    def instead(send: messages.Send) -> Exchange | None:
        if len(world.requests) == 1:
            return loses_its_reply(world, send)
        return same_for_all(send.parts, refusal) if is_about(send, "sess-1") else None

    world.instead = instead
    world.arrive(plan := a_plan(world, 1), headers=[("requeue-count", b"5")])
    for number in range(2, 6):  # others land
        world.arrive(a_plan(world, number), offset=number - 1)
        world.wait(30)
    assert landed(world).count("sess-1") == 1
    assert ("sess-1", "blocked") not in world.outcomes
    world.instead = lands
    world.arrive(plan, offset=5, headers=[("requeue-count", b"6")])
    world.wait(60)
    assert ("sess-1", "completed") in world.outcomes
    assert landed(world).count("sess-1") == 1


def a_conflict(world: World) -> PlannedWriteback:
    plan = a_plan(world, 1)
    world.crm.seed(ITEMS, plan.queue_item_id, **plan.baseline.columns | {"medx_notes": "by hand"})
    return plan


def put_right(world: World, plan: PlannedWriteback) -> None:
    world.crm.seed(ITEMS, plan.queue_item_id, **plan.baseline.columns)


BUSY = Judgement(Kind.TRANSIENT, Meaning.TROUBLE, 503, "0x80044150", by_the_crm=True)
GATEWAY = Judgement(Kind.TRANSIENT, Meaning.TOO_SLOW, 504)


@pytest.mark.parametrize("reply", [LOST, GATEWAY], ids=["no answer", "a gateway's"])
def test_R6_the_copy_of_a_requeued_plan_knows_that_its_call_may_have_been_recorded(reply: Judgement) -> None:
    world = a_world()

    def instead(send: messages.Send) -> Exchange | None:
        if not is_about(send, "sess-1"):
            return None
        if "sess-1" in landed(world):
            return same_for_all(send.parts, UNAVAILABLE)
        exchange = exchange_with(world.crm, send.parts)
        return same_for_all(send.parts, reply) if "sess-1" in landed(world) else exchange

    world.instead = instead
    world.arrive(plan := a_conflict(world))
    for number in range(2, 6):  # others land
        world.arrive(a_plan(world, number), offset=number - 1)
        world.wait(30)
    [copy] = (one for one in world.published if isinstance(one, CopyOf))
    put_right(world, plan)
    world.instead = lands
    world.arrive(plan, offset=5, headers=copy.headers)
    world.wait(60)
    assert world.outcomes[-1] == ("sess-1", "completed")
    assert landed(world).count("sess-1") == 1


@pytest.mark.parametrize("refusal", [BUSY, THROTTLED, LOST], ids=lambda each: each.meaning)
def test_R6_only_a_request_that_may_have_landed_explains_a_call_that_exists(refusal: Judgement) -> None:
    world = a_world()

    def instead(send: messages.Send) -> Exchange | None:
        if len(world.requests) < 3:  # the plan, refused for its etag; then its records
            return None
        world.instead = lands
        put_right(world, plan)
        world.crm.seed(CALLS, an_id("phone call of sess-1"), medx_idempotencykey="sess-1")
        return same_for_all(send.parts, refusal)

    plan = a_conflict(world)
    world.instead = instead
    world.arrive(plan)
    world.wait(60)
    known = refusal is LOST
    assert world.outcomes == [("sess-1", "completed" if known else "blocked")]
    assert known or "one session id was used for two queue items" in str(world.results[-1].message)


def test_W6_replies_that_are_lost_again_and_again_are_not_a_fight_for_the_row() -> None:
    world = a_world()

    def instead(send: messages.Send) -> Exchange | None:
        writes = is_about(send, "sess-1") and "GET" not in repr(send.parts)
        return same_for_all(send.parts, LOST) if writes else None

    world.instead = instead
    world.arrive(plan := a_plan(world, 1), headers=[("requeue-count", b"5")])
    for number in range(2, 6):
        world.arrive(a_plan(world, number), offset=number - 1)
        world.wait(30)
    assert ("sess-1", "blocked") not in world.outcomes
    assert not any("412" in str(result.message) for result in world.results)
    world.instead = lands
    world.arrive(plan, offset=5, headers=[("requeue-count", b"6")])
    world.wait(60)
    assert world.outcomes[-1] == ("sess-1", "completed")


def test_W6_a_row_that_changes_before_every_write_is_called_a_fight() -> None:
    world = a_world()
    plan = a_plan(world, 1)
    world.crm.before = lambda _: put_right(world, plan)
    world.arrive(plan)
    world.wait(30)
    assert [(result.status, "keeps writing it" in str(result.message)) for result in world.results] == [
        ("resume_needed", True)
    ]


def test_W6_a_session_that_is_known_as_settled_does_not_end_an_outage() -> None:
    world = a_world()
    world.instead = answers(UNAVAILABLE)
    world.arrive(*(a_plan(world, number) for number in range(8)))
    assert world.engine.gauges(world.now).outage
    world.index.known["sess-9"] = Settled.LANDED
    world.arrive(a_plan(world, 9), offset=8)
    assert "plan.settled_before" in world.events()
    assert world.engine.gauges(world.now).outage
