"""W2, W3 and W7 against a model of the CRM: writers that sleep and wake up, a person, and replies that get lost.

A writer that another has taken over from does not know: it finishes the plan in its hands. What it says then is refused
by the broker, and it ends.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.records import PlannedWriteback, ResultStatus, Value, WritebackResult
from tests.unit.writer.core.crm_model import Crm, MemoryHistory, Step, a_crm, is_conflict, plan_for, write

EDITS = st.sampled_from(
    [("medx_callstatus", 1), ("medx_callstatus", 2), ("medx_notes", "by hand"), ("medx_notes", None),
     ("medx_priority", None), ("medx_attemptcount", 0), ("medx_attemptcount", 9), ("medx_timezone", "CET"),
     ("medx_donotcall", True), ("medx_donotcall", False)]
)  # fmt: skip


@dataclass(frozen=True)
class Turn:
    """Which writer goes on by one request, and whether the reply to it is lost; or a person acts, or a writer begins,
    before that."""

    writer: int
    reply_lost: bool
    take_over: bool
    edit: tuple[str, Value] | None
    delete: bool


def turns(*, person: bool) -> st.SearchStrategy[list[Turn]]:
    edits = st.none() | EDITS if person else st.none()
    deletes = st.integers(0, 30).map(lambda n: n == 0) if person else st.just(False)
    take_over = st.integers(0, 5).map(lambda n: n == 0)
    return st.lists(st.builds(Turn, st.integers(0, 2), st.booleans(), take_over, edits, deletes), max_size=80)


plans = st.tuples(st.booleans(), st.booleans(), st.booleans(), st.booleans(), st.booleans())


def make_plans(etag: str, shape: tuple[bool, bool, bool, bool, bool]) -> list[PlannedWriteback]:
    """Three sessions in quick succession, all on the first one's baseline."""
    first_task, second_task, first_call, knows_etag, opt_out = shape
    known = etag if knows_etag else None
    first = plan_for(1, known, task=first_task and first_call, call=first_call)
    second = plan_for(2, known, task=second_task and not opt_out, opt_out=opt_out, preceding=(first,))
    return [first, second, plan_for(3, known, preceding=(first, second))]


@dataclass
class Writer:
    """Works through the queue item's plans in order (W4), from the first one without a result."""

    crm: Crm
    todo: list[PlannedWriteback]
    results: dict[str, WritebackResult]
    asleep: bool = False
    ended: bool = False
    running: Step | None = None

    def go_on(self, *, reply_lost: bool) -> None:
        if self.running is None:
            self._begin()
            return
        try:
            self.running.send(reply_lost)
        except StopIteration as end:
            self._tell(end.value)

    def _begin(self) -> None:
        plan = next((plan for plan in self.todo if plan.session_id not in self.results), None)
        if plan is None or self.asleep:
            self.ended = True
            return
        self.running = write(plan, self.crm, MemoryHistory(self.results.values()))
        next(self.running)

    def _tell(self, result: WritebackResult) -> None:
        """Refused if another writer has taken over."""
        self.running = None
        if self.asleep:
            self.ended = True
        else:
            self.results[result.session_id] = result


@dataclass
class Lane:
    crm: Crm
    todo: list[PlannedWriteback]
    results: dict[str, WritebackResult] = field(default_factory=dict)
    writers: list[Writer] = field(default_factory=list)

    def take_over(self) -> None:
        for writer in self.writers:
            writer.asleep = True
        self.writers.append(Writer(self.crm, self.todo, self.results))

    def run(self, schedule: list[Turn]) -> None:
        self.take_over()
        for turn in schedule:
            if turn.edit:
                self.crm.edit(*turn.edit)
            if turn.delete:
                self.crm.delete()
            if turn.take_over:
                self.take_over()
            going = [writer for writer in self.writers if not writer.ended]
            if going:
                going[turn.writer % len(going)].go_on(reply_lost=turn.reply_lost)
        while going := [writer for writer in self.writers if not writer.ended]:
            going[0].go_on(reply_lost=False)


def run(shape: tuple[bool, bool, bool, bool, bool], schedule: list[Turn]) -> Lane:
    crm, etag = a_crm()
    lane = Lane(crm, make_plans(etag, shape))
    lane.run(schedule)
    assert lane.results.keys() == {plan.session_id for plan in lane.todo}, "settled in silence"
    assert all(count <= 1 for count in crm.effects.values()), "a step took effect more than once"
    return lane


@settings(max_examples=800, deadline=None)
@given(plans, turns(person=True))
def test_W2_W7_whatever_happens_in_between(shape: tuple[bool, bool, bool, bool, bool], schedule: list[Turn]) -> None:
    lane = run(shape, schedule)
    effects = lane.crm.effects
    for plan in lane.todo:
        took_effect = effects[plan.session_id, "update_queue_item"] == 1
        told = lane.results[plan.session_id]
        assert took_effect or told.status is ResultStatus.BLOCKED, "lost, and nobody was told"
        call_recorded = effects[plan.session_id, "create_phone_call"] == 1
        assert call_recorded or len(plan.steps) == 1 or plan.baseline.etag is None, "a call is not recorded"
        assert took_effect or effects[plan.session_id, "create_task"] == 0, "a task without its update (W3)"


@settings(max_examples=500, deadline=None)
@given(plans, turns(person=False))
def test_W2_without_a_person_there_is_never_a_conflict(
    shape: tuple[bool, bool, bool, bool, bool], schedule: list[Turn]
) -> None:
    lane = run(shape, schedule)
    effects = lane.crm.effects
    assert not any(map(is_conflict, lane.results.values()))
    assert all(effects[plan.session_id, step.operation] == 1 for plan in lane.todo for step in plan.steps)
