"""The CRM as a value: rows with versions, change sets that land whole or not at all. And a writer, a request at a time.

The model judges by itself what the promises ask; it knows nothing of how the writer decides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, replace

from schemas.records import (
    Disposition,
    Operation,
    PlannedWriteback,
    PrecedingPlan,
    ResolvedBaseline,
    Value,
)
from tests.factories import an_id, make_plan, make_step
from writer.core.batch import ChangeSet
from writer.core.emission import Emission, call_activity, full, of_steps, reads
from writer.core.reconcile import (
    Conflict,
    Landed,
    Missing,
    Observations,
    Observed,
    SomebodyElses,
    Superseded,
    reconcile,
)
from writer.core.replies import Judgement, Kind, judge, lost, sent_with

ITEM = an_id("queue item 1")
ROW = f"medx_callqueueitems({ITEM})"
SESSION = "medx_lastsessionid"


@dataclass
class Crm:
    """`effects` counts how often each operation's effect took place; `machine` is the row as no person touched it."""

    rows: dict[str, tuple[int, dict[str, Value]]] = field(default_factory=dict)
    version: int = 1000
    effects: Counter[tuple[str, str]] = field(default_factory=Counter)
    machine: dict[str, Value] = field(default_factory=dict)
    overwritten: list[str] = field(default_factory=list)
    edits: int = 0

    def put(self, path: str, columns: Mapping[str, Value]) -> str:
        self.version += 1
        self.rows[path] = (self.version, {**self.rows.get(path, (0, {}))[1], **columns})
        return f'W/"{self.version}"'

    def execute(self, emission: Emission, session_id: str) -> Judgement:
        """All or nothing. A failing precondition answers as the service does."""
        before = dict(self.rows)
        for request in emission.change_set.requests:
            status = self._status(request.path, dict(request.headers))
            if status >= 400:
                self.rows = before
                return judge(status, {}, b'{"error":{"code":"","message":""}}', sent=sent_with(request))
            self.put(request.path, request.body or {})
        for step, request in zip(emission.steps, emission.change_set.requests, strict=True):
            self.effects[session_id, step.operation] += 1
            if request.path == ROW:
                self._check_nobody_was_overwritten(before[ROW][1], request.body or {})
        return judge(204, {}, b"")

    def _status(self, path: str, headers: dict[str, str]) -> int:
        row = self.rows.get(path)
        if headers.get("If-None-Match") == "*":
            return 412 if row else 204
        if row is None:
            return 404
        return 204 if headers["If-Match"] in ("*", f'W/"{row[0]}"') else 412

    def _check_nobody_was_overwritten(self, before: dict[str, Value], sent: Mapping[str, Value]) -> None:
        self.overwritten += [name for name, value in self.machine.items() if before.get(name) != value]
        self.machine.update(sent)

    def edit(self, column: str, value: Value) -> None:
        if ROW in self.rows:
            self.edits += 1
            self.put(ROW, {column: value})

    def delete(self) -> None:
        self.edits += 1
        self.rows.pop(ROW, None)

    def read(self, path: str) -> Observed | None:
        row = self.rows.get(path)
        return None if row is None else Observed(f'W/"{row[0]}"', dict(row[1]))


@dataclass(frozen=True)
class Told:
    """What a writer says in the end. `stuck` only if it never came to an end."""

    session_id: str
    status: str
    columns: tuple[str, ...] = ()


Step = Generator[str, bool, Told]
"""Yields before every request; is sent whether this one's reply gets lost."""


def write(plan: PlannedWriteback, crm: Crm) -> Step:
    """The writer's loop around the core, without clock or sockets; every request may be interleaved with anything."""
    emission = None if plan.baseline.etag is None else full(plan, {}, plan.baseline.etag)
    told: Conflict | None = None
    for _ in range(25):
        if emission is not None:
            reply_lost = yield "send"
            judgement = crm.execute(emission, plan.session_id)
            judgement = lost() if reply_lost else judgement
            if judgement.kind is Kind.DONE:
                return Told(plan.session_id, "conflict", told.columns) if told else Told(plan.session_id, "landed")
            assert judgement.kind is Kind.AMBIGUOUS, judgement
        observed: dict[int, Observed | None] = {}
        for read in reads(plan):
            yield "read"
            observed[read.step_index] = crm.read(f"{read.entity_set}({read.record_id})")
        emission, told, end = _decide(plan, observed)
        if end is not None:
            return end
    return Told(plan.session_id, "stuck")


def _decide(plan: PlannedWriteback, observed: Observations) -> tuple[Emission | None, Conflict | None, Told | None]:
    match reconcile(plan, observed):
        case Landed():
            return None, None, Told(plan.session_id, "landed")
        case Superseded():
            return None, None, Told(plan.session_id, "superseded")
        case SomebodyElses():
            return None, None, Told(plan.session_id, "somebody_elses")
        case Conflict(columns, (), _):
            return None, None, Told(plan.session_id, "conflict", columns)
        case Conflict(_, call, _) as found:
            return call_activity(plan, call), found, None
        case Missing(steps, etag):
            return of_steps(plan, steps, {}, etag), None, None


BEFORE: dict[str, Value] = {
    "medx_callstatus": 1,
    "medx_lastdisposition": None,
    SESSION: None,
    "medx_attemptcount": 0,
    "medx_donotcall": False,
    "medx_lasterror": None,
    "medx_notes": None,
    "medx_priority": 3,
}


def a_crm() -> tuple[Crm, str]:
    """One queue item in progress, and its etag."""
    crm = Crm(machine=dict(BEFORE))
    return crm, crm.put(ROW, BEFORE | {"medx_timezone": "UTC"})


def plan_for(
    number: int,
    etag: str | None,
    *,
    task: bool = False,
    call: bool = True,
    preceding: tuple[PlannedWriteback, ...] = (),
) -> PlannedWriteback:
    """The plan of session `number`, taken at the first baseline; `preceding` newest first."""
    session = f"sess-{number:06d}"
    plan = make_plan(session_id=session, queue_item_id=ITEM)
    steps = list(plan.steps)
    update = {**steps[2].attributes, "medx_attemptcount": number}
    steps[2] = replace(steps[2], attributes=update)
    if task:
        steps.append(
            make_step(
                step_index=3,
                operation=Operation.CREATE_TASK,
                entity_set="tasks",
                record_id=an_id(f"task of {session}"),
                attributes={"subject": "Callback", "medx_idempotencykey": session},
            )
        )
    return replace(
        plan,
        disposition=Disposition.CALL_BACK_LATER if task else Disposition.NO_ANSWER,
        steps=tuple(steps if call else steps[2:3]),
        baseline=ResolvedBaseline(captured_at=plan.baseline.captured_at, etag=etag, columns=BEFORE),
        preceding=tuple(PrecedingPlan(session_id=p.session_id, columns=_leaves_behind(p)) for p in preceding),
    )


def _leaves_behind(plan: PlannedWriteback) -> dict[str, Value]:
    state = dict(plan.preceding[0].columns if plan.preceding else BEFORE)
    update = next(step for step in plan.steps if step.operation is Operation.UPDATE_QUEUE_ITEM)
    return state | dict(update.attributes)


__all__ = ["BEFORE", "ITEM", "ROW", "SESSION", "ChangeSet", "Crm", "Told", "a_crm", "plan_for", "write"]
