"""Plans and troubles for tests of the engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from schemas.records import PlannedWriteback, PrecedingPlan
from tests.support.factories import an_id, make_plan
from tests.unit.writer.workbench import World
from writer.core import messages
from writer.core.emission import update_step
from writer.core.exchanges import Exchange, same_for_all
from writer.core.replies import Judgement, Kind, Meaning, lost, never_sent

ITEMS, CALLS = "medx_callqueueitems", "phonecalls"

DENIED = Judgement(Kind.PERMANENT, Meaning.NOT_ALLOWED, 403, "0x80040220", by_the_crm=True)
LOST = lost()
NEVER_SENT = never_sent()
SUSPECT = Judgement(Kind.TRANSIENT, Meaning.SUSPECT, 500)
THROTTLED = Judgement(Kind.THROTTLED, Meaning.THROTTLED, 429, retry_after=7.0, by_the_crm=True)
UNAVAILABLE = Judgement(Kind.TRANSIENT, Meaning.TROUBLE, 503)


def a_plan(
    world: World, number: int, lane: int | None = None, *, after: Sequence[PlannedWriteback] = ()
) -> PlannedWriteback:
    """A plan whose queue item stands as its baseline says. `lane`: another one's queue item; `after`: the earlier plans
    of it, which were planned on the same baseline.
    """
    item = an_id(f"queue item {number if lane is None else lane}")
    plan = make_plan(session_id=f"sess-{number}", queue_item_id=item)
    row = world.crm.rows.get(ITEMS, {}).get(item)
    etag = row["@odata.etag"] if row else world.crm.seed(ITEMS, item, **plan.baseline.columns)
    preceding = tuple(PrecedingPlan(session_id=p.session_id, columns=update_step(p).attributes) for p in after)
    return replace(plan, baseline=replace(plan.baseline, etag=etag), preceding=preceding)


def a_lane(world: World, *numbers: int) -> list[PlannedWriteback]:
    """Plans of one queue item, planned in quick succession."""
    plans: list[PlannedWriteback] = []
    for number in numbers:
        plans.append(a_plan(world, number, numbers[0], after=plans))
    return plans


def is_about(send: messages.Send, session: str) -> bool:
    said = repr(send.parts)
    return f"'{session}'" in said or an_id(f"phone call of {session}") in said


def answers(judgement: Judgement, *sessions: str) -> Callable[[messages.Send], Exchange | None]:
    """In place of the CRM, to every request with one of these sessions; without any, to all."""

    def instead(send: messages.Send) -> Exchange | None:
        named = not sessions or any(is_about(send, session) for session in sessions)
        return same_for_all(send.parts, judgement) if named else None

    return instead


def lands(send: messages.Send) -> None:
    """The CRM itself answers."""
    return


def landed(world: World) -> list[str]:
    """Sessions by their phone calls."""
    return [row["medx_idempotencykey"] for row in world.crm.rows.get(CALLS, {}).values()]
