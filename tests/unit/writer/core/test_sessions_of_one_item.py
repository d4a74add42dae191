"""Up to thirty sessions of one queue item, people at the row, lost replies, crashes, late plans, retirements, replays.

W1 W2 W3 W7: judged by a model that knows what really took effect and what people did. It finds none of: a session that
nobody was told of, a person's change undone, a conflict that is none or names a column nobody changed, a wrong count.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas.records import Operation, PlannedWriteback, StepOutcome, Value, WritebackResult
from tests.unit.writer.core.crm_model import (
    ATTEMPTS,
    BEFORE,
    FLAG,
    ROW,
    SESSION,
    Crm,
    MemoryHistory,
    Step,
    a_crm,
    is_conflict,
    plan_for,
    write,
)
from writer.core.history import Settled

EDITS = st.sampled_from(
    [("medx_callstatus", 1), ("medx_callstatus", 2), ("medx_notes", "by hand"), ("medx_notes", None),
     ("medx_priority", None), (ATTEMPTS, 0), (ATTEMPTS, 9), ("medx_timezone", "CET"), (FLAG, True), (FLAG, False),
     ("medx_lastdisposition", "no_answer"), ("medx_lasterror", None)]
)  # fmt: skip


@dataclass(frozen=True)
class Take:
    """A session ends and is planned. `fresh`: on the row as it is now; otherwise on the last session's baseline."""

    fresh: bool
    call: bool
    task: bool
    opt_out: bool


@dataclass(frozen=True)
class Edit:
    column: str
    value: Value


@dataclass(frozen=True)
class Work:
    """The writer makes this many requests; the last one's reply is lost, or the writer crashes after it."""

    requests: int
    reply_lost: bool = False
    crash: bool = False


@dataclass(frozen=True)
class Overtake:
    """The next two plans change places on the topic."""


@dataclass(frozen=True)
class Retire:
    """Everything that settled is retired: results keep no more than the update step."""


@dataclass(frozen=True)
class Replay:
    """The writer settles what it has begun and stops; its group is set back to the start."""


Action = Take | Edit | Work | Overtake | Retire | Replay
takes = st.builds(
    Take, st.booleans(), st.integers(0, 4).map(bool), st.booleans(), st.integers(0, 5).map(lambda n: n == 0)
)
works = st.builds(Work, st.integers(1, 12), st.booleans(), st.integers(0, 3).map(lambda n: n == 0))
rare = st.sampled_from([Overtake(), Retire(), Replay()])
actions = st.lists(
    st.one_of(takes, takes, works, works, works, st.builds(lambda e: Edit(*e), EDITS), rare), min_size=2, max_size=120
)
quiet = st.lists(st.one_of(takes, takes, works, works, works, rare), min_size=2, max_size=120)

_MOST_SESSIONS = 30


@dataclass
class World:
    """The topic with one queue item's plans, the writer at work on it, its results, and the CRM."""

    crm: Crm = field(default_factory=lambda: a_crm()[0])
    topic: list[PlannedWriteback] = field(default_factory=list)
    place: int = 0
    results: dict[str, WritebackResult] = field(default_factory=dict)
    running: Step | None = None
    were_in_conflict: set[str] = field(default_factory=set)
    cut_off: set[str] = field(default_factory=set)
    """Sessions in whose attempt the writer crashed."""

    def do(self, action: Action) -> None:
        match action:
            case Take():
                self._take(action)
            case Edit(column, value):
                self.crm.edit(column, value)
            case Work(requests, reply_lost, crash):
                self._work(requests, reply_lost=reply_lost)
                if crash and self.running is not None:
                    self.cut_off.add(self.topic[self.place].session_id)
                    self.running = None
            case Overtake() if len(self.topic) - self.place > 1 and not self._is_begun(self.topic[self.place]):
                here = self.place
                self.topic[here], self.topic[here + 1] = self.topic[here + 1], self.topic[here]
            case Retire():
                self.results = {session: _trimmed(result) for session, result in self.results.items()}
            case Replay():
                self._settle_what_is_begun()
                self.running, self.place = None, 0
            case _:
                pass

    def _is_begun(self, plan: PlannedWriteback) -> bool:
        return self.running is not None or any(session == plan.session_id for session, _ in self.crm.effects)

    def _take(self, take: Take) -> None:
        if len(self.topic) >= _MOST_SESSIONS:
            return
        last = max(self.topic, key=lambda plan: plan.session_id, default=None)
        row = self.crm.read(ROW)
        assert row is not None
        if take.fresh or last is None:
            etag, baseline = row.etag, {name: row.columns[name] for name in BEFORE}
        else:
            etag, baseline = str(last.baseline.etag), dict(last.baseline.columns)
        self.topic.append(
            plan_for(
                len(self.topic) + 1,
                etag,
                task=take.task and take.call and not take.opt_out,
                call=take.call,
                opt_out=take.opt_out,
                baseline=baseline,
                preceding=_not_in(self.topic, baseline[SESSION]),
            )
        )

    def _work(self, requests: int, *, reply_lost: bool) -> None:
        for number in range(requests):
            if self.running is None:
                if self.place >= len(self.topic):
                    return
                self.running = write(self.topic[self.place], self.crm, MemoryHistory(self.results.values()))
                self._advance(None)
            else:
                self._advance(reply_lost and number == requests - 1)

    def _advance(self, reply_lost: bool | None) -> None:
        plan, running = self.topic[self.place], self.running
        assert running is not None
        changed, writes = self.crm.changed_by_people(plan), len(self.crm.written)
        try:
            running.send(reply_lost)  # type: ignore[arg-type]
        except StopIteration as end:
            self._settle(plan, end.value)
        landed = [effect for effect in self.crm.written[writes:] if SESSION in effect.columns]
        if landed:
            changed -= {FLAG} if self._opted_out_before(plan) else set()
            assert changed == set(), f"{plan.session_id} overwrote what a person changed: {changed}"

    def _opted_out_before(self, plan: PlannedWriteback) -> bool:
        """An earlier session was told to have opted out: do-not-call is then expected, whoever set it."""
        return any(self.results[e.session_id].opt_out for e in plan.preceding if e.session_id in self.results)

    def _settle(self, plan: PlannedWriteback, result: WritebackResult | None) -> None:
        self.running = None
        self.place += 1
        if result is None:
            return
        self._judge(plan, result)
        self.results[plan.session_id] = result

    def _judge(self, plan: PlannedWriteback, result: WritebackResult) -> None:
        effects = self.crm.effects
        if result.block_reason == "permanent_other":
            # R6 A conflict recorded the call, a crash took the answer, and a person has put the row right since.
            assert plan.session_id in self.cut_off, result
            assert effects[plan.session_id, "create_phone_call"] == 1, result
            assert effects[plan.session_id, "update_queue_item"] == 0, result
            self.were_in_conflict.add(plan.session_id)
            return
        assert result.block_reason is None or result.block_reason in ("eligibility", "conflict_detected"), result
        update = next(step for step in result.steps if step.operation is Operation.UPDATE_QUEUE_ITEM)
        if is_conflict(result):
            assert effects[plan.session_id, "update_queue_item"] == 0, "told as a conflict, and landed"
            assert result.conflicts, "a conflict that names no column"
            self.were_in_conflict.add(plan.session_id)
            assert set(result.conflicts) <= self._may_be_named(plan), "a conflict names what nobody changed"
        elif update.outcome is not StepOutcome.SUPERSEDED:
            assert effects[plan.session_id, "update_queue_item"] == 1, "told as landed, and is not"
        if len(plan.steps) > 1:
            assert effects[plan.session_id, "create_phone_call"] == 1, "a call that happened is not recorded"

    def _may_be_named(self, plan: PlannedWriteback) -> set[str]:
        """What people changed; and do-not-call, if an opt-out that came late, or in a conflict, set it meanwhile, or
        found it set by a person who has taken it back since.
        """
        history = MemoryHistory(self.results.values())
        found_set = any(history.of(session) is Settled.OPT_OUT_ONLY for session in self.results)
        return self.crm.ever_changed(plan) | ({FLAG} if self.late_opt_out or found_set else set())

    @property
    def late_opt_out(self) -> bool:
        return any(FLAG in effect.columns and SESSION not in effect.columns for effect in self.crm.written)

    def _settle_what_is_begun(self) -> None:
        while self.place < len(self.topic) and self._is_begun(self.topic[self.place]):
            self._work(1, reply_lost=False)

    def finish(self) -> None:
        while self.place < len(self.topic):
            self._work(1, reply_lost=False)


def _not_in(topic: list[PlannedWriteback], seen: Value) -> tuple[PlannedWriteback, ...]:
    """Every plan of ours, in the order of the outcomes, that a baseline showing the session `seen` does not include."""
    ordered = sorted(topic, key=lambda plan: plan.session_id)
    included = next((n for n, plan in enumerate(ordered, 1) if plan.session_id == seen), 0)
    return tuple(ordered[included:])


def _trimmed(result: WritebackResult) -> WritebackResult:
    return replace(result, steps=tuple(s for s in result.steps if s.operation is Operation.UPDATE_QUEUE_ITEM))


def run(schedule: list[Any]) -> World:
    world = World()
    for action in schedule:
        world.do(action)
    world.finish()
    return world


def check(world: World) -> None:
    crm = world.crm
    assert all(count <= 1 for count in crm.effects.values()), "a step took effect more than once"
    assert {plan.session_id for plan in world.topic} == world.results.keys(), "unsaid"
    assert crm.rows[ROW][1][ATTEMPTS] == crm.count, "a person's correction of the attempts was undone"
    for plan in world.topic:
        settled = MemoryHistory(world.results.values()).of(plan.session_id)
        done = settled in (Settled.LANDED, Settled.SUPERSEDED)
        counted = crm.effects[plan.session_id, "counted"]
        wanted = done and len(plan.steps) > 1
        late_after_conflict = settled is Settled.SUPERSEDED and plan.session_id in world.were_in_conflict
        assert counted == wanted or late_after_conflict, f"{plan.session_id} counted {counted} times, {settled}"
        task = crm.effects[plan.session_id, "create_task"]
        assert not task or done, "a task without its update (W3)"


ONCE_FOUND = [
    Edit("medx_callstatus", 2),
    Take(fresh=False, call=False, task=False, opt_out=False),
    Edit("medx_callstatus", 1),
    Take(fresh=False, call=False, task=False, opt_out=False),
    Take(fresh=False, call=True, task=True, opt_out=False),
    Take(fresh=False, call=False, task=False, opt_out=True),
    Work(10, reply_lost=True, crash=True),
    Take(fresh=False, call=False, task=False, opt_out=True),
    Edit("medx_callstatus", 2),
]


TAKEN_BACK = [
    Take(fresh=False, call=False, task=False, opt_out=True),
    Take(fresh=False, call=False, task=False, opt_out=True),
    Edit("medx_callstatus", 2),
    Edit("medx_donotcall", value=True),
    Work(3, reply_lost=False, crash=True),
    Edit("medx_donotcall", value=False),
    Take(fresh=True, call=False, task=False, opt_out=True),
    Edit("medx_callstatus", 1),
]


@settings(max_examples=1500, deadline=None)
@given(actions)
@example(ONCE_FOUND)
@example(TAKEN_BACK)
def test_W1_W2_W3_W7_nothing_unsaid_undone_falsely_in_conflict_or_miscounted(schedule: list[Action]) -> None:
    world = run(schedule)
    check(world)
    before = dict(world.crm.rows), dict(world.crm.effects)
    told = dict(world.results)
    for _ in range(2):
        world.do(Replay())
        world.finish()
    check(world)
    if not any(is_conflict(result) for result in told.values()):
        assert (dict(world.crm.rows), dict(world.crm.effects)) == before, "a replay of everything changed something"
        assert world.results == told


@settings(max_examples=600, deadline=None)
@given(quiet)
def test_W2_without_a_person_there_is_never_a_conflict(schedule: list[Action]) -> None:
    world = run(schedule)
    check(world)
    conflicts = [result.conflicts for result in world.results.values() if is_conflict(result)]
    assert not conflicts or (world.late_opt_out and set(conflicts) == {(FLAG,)})
    assert not any(plan.opt_out for plan in world.topic) or world.crm.rows[ROW][1][FLAG] is True, "an opt-out was lost"
