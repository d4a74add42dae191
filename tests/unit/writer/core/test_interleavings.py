"""W2, W3 and W7 against a model of the CRM: two writers and a restart, a person, and replies that get lost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.records import PlannedWriteback
from tests.unit.writer.core.crm_model import Crm, Told, a_crm, plan_for, write

EDITS = st.sampled_from(
    [("medx_callstatus", 1), ("medx_callstatus", 2), ("medx_notes", "by hand"), ("medx_notes", None),
     ("medx_priority", None), ("medx_attemptcount", 0), ("medx_attemptcount", 9), ("medx_timezone", "CET"),
     ("medx_donotcall", True), ("medx_donotcall", False)]
)  # fmt: skip


@dataclass(frozen=True)
class Turn:
    """Which writer goes on by one request, and whether the reply to it is lost; or a person acts before it."""

    writer: int
    reply_lost: bool
    edit: tuple[str, bool | int | str | None] | None
    delete: bool


def turns(*, person: bool) -> st.SearchStrategy[list[Turn]]:
    edits = st.none() | EDITS if person else st.none()
    deletes = st.integers(0, 30).map(lambda n: n == 0) if person else st.just(False)
    return st.lists(st.builds(Turn, st.integers(0, 2), st.booleans(), edits, deletes), max_size=60)


plans = st.tuples(st.booleans(), st.booleans(), st.booleans(), st.booleans())


def make_plans(crm: Crm, etag: str, shape: tuple[bool, bool, bool, bool]) -> list[PlannedWriteback]:
    """Two sessions in quick succession, the second planned on the first one's baseline."""
    first_task, second_task, first_call, knows_etag = shape
    known = etag if knows_etag else None
    first = plan_for(1, known, task=first_task and first_call, call=first_call)
    return [first, plan_for(2, known, task=second_task, preceding=(first,))]


def lane(todo: list[PlannedWriteback], crm: Crm, said: list[Told]) -> Iterator[None]:
    """One writer works through the queue item's plans in order (W4); `lost` decides about each request."""
    for plan in todo:
        running = write(plan, crm)
        try:
            running.send(None)
            while True:
                lost = yield
                running.send(bool(lost))
        except StopIteration as end:
            said.append(end.value)


def run(crm: Crm, todo: list[PlannedWriteback], schedule: list[Turn]) -> list[Told]:
    said: list[Told] = []
    writers = [lane(todo, crm, said) for _ in range(3)]
    going = dict(enumerate(writers))
    for writer in writers:
        next(writer, None)
    for turn in schedule:
        if turn.edit:
            crm.edit(*turn.edit)
        if turn.delete:
            crm.delete()
        if turn.writer in going:
            _go_on(going, turn.writer, turn.reply_lost)
    while going:
        _go_on(going, min(going), False)
    return said


def _go_on(going: dict[int, Iterator[None]], number: int, reply_lost: bool) -> None:
    try:
        going[number].send(reply_lost)  # type: ignore[attr-defined]
    except StopIteration:
        del going[number]


def _untold(todo: list[PlannedWriteback], said: list[Told]) -> list[str]:
    told = {one.session_id for one in said if one.status != "superseded"}
    return [plan.session_id for plan in todo if plan.session_id not in told]


@settings(max_examples=600, deadline=None)
@given(plans, turns(person=True))
def test_W2_W7_whatever_happens_in_between(shape: tuple[bool, bool, bool, bool], schedule: list[Turn]) -> None:
    crm, etag = a_crm()
    todo = make_plans(crm, etag, shape)

    said = run(crm, todo, schedule)

    assert all(count == 1 for count in crm.effects.values()), "a step took effect more than once"
    assert crm.overwritten == [], "what a person changed was overwritten"
    assert {told.status for told in said} <= {"landed", "conflict", "superseded"}
    assert _untold(todo, said) == [], "settled in silence, and nobody had told"
    for plan in todo:
        took_effect = crm.effects[plan.session_id, "update_queue_item"] == 1
        told = [one for one in said if one.session_id == plan.session_id]
        assert took_effect or any(one.status == "conflict" for one in told), "lost, and nobody was told"
        call_recorded = crm.effects[plan.session_id, "create_phone_call"] == 1
        assert call_recorded or len(plan.steps) == 1, "a call that happened is not recorded"
        assert took_effect or crm.effects[plan.session_id, "create_task"] == 0, "a task without its update (W3)"


@settings(max_examples=400, deadline=None)
@given(plans, turns(person=False))
def test_W2_without_a_person_there_is_never_a_conflict(
    shape: tuple[bool, bool, bool, bool], schedule: list[Turn]
) -> None:
    crm, etag = a_crm()
    todo = make_plans(crm, etag, shape)

    said = run(crm, todo, schedule)

    assert {told.status for told in said} <= {"landed", "superseded"}
    assert _untold(todo, said) == [], "settled in silence, and nobody had told"
    assert all(crm.effects[plan.session_id, step.operation] == 1 for plan in todo for step in plan.steps)
