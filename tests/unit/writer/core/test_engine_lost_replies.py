"""What may have been written is not called refused, and what nobody asked the CRM says nothing about it."""

from __future__ import annotations

import pytest

from tests.unit.writer.core.engine_kit import (
    DENIED,
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
from writer.core.exchanges import Exchange, same_for_all
from writer.core.history import Settled
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


def test_W6_a_session_that_is_known_as_settled_does_not_end_an_outage() -> None:
    world = a_world()
    world.instead = answers(UNAVAILABLE)
    world.arrive(*(a_plan(world, number) for number in range(8)))
    assert world.engine.gauges(world.now).outage
    world.index.known["sess-9"] = Settled.LANDED
    world.arrive(a_plan(world, 9), offset=8)
    assert "plan.settled_before" in world.events()
    assert world.engine.gauges(world.now).outage
