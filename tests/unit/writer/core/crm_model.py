"""The CRM as a value: rows with versions, change sets that land whole or not at all. And a writer, a request at a time.

The model judges by itself what the promises ask, from what took effect and what people did; it knows nothing of how the
writer decides, and nothing of results.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, field, replace

from schemas.records import (
    BlockReason,
    Disposition,
    Operation,
    PlannedStep,
    PlannedWriteback,
    PlanPosition,
    PrecedingPlan,
    ResolvedBaseline,
    Value,
    WritebackResult,
)
from tests.support.factories import NOON, an_id, make_plan, make_step
from writer.core.emission import Emission, Observed, baseline_row, call_activity, full, late, of_steps, reads
from writer.core.history import History, Settled, settled_as
from writer.core.reconcile import (
    Conflict,
    Finding,
    ForeignRecord,
    Landed,
    Late,
    Missing,
    NoQueueItem,
    reconcile,
    records_call_alone,
)
from writer.core.replies import Judgement, Kind, judge, lost, sent_with
from writer.core.results import ResultContext, conflict, foreign_record, landed, no_queue_item
from writer.core.results import late as late_result

ITEM = an_id("queue item 1")
ROW = f"medx_callqueueitems({ITEM})"
SESSION = "medx_lastsessionid"
ATTEMPTS = "medx_attemptcount"
FLAG = "medx_donotcall"


@dataclass(frozen=True)
class Effect:
    """One session's write on the queue item: when (the version it made), and with which columns."""

    version: int
    session_id: str
    columns: Mapping[str, Value]


@dataclass
class Crm:
    """`effects` counts how often each operation's effect took place; `count` is what the attempts should be."""

    rows: dict[str, tuple[int, dict[str, Value]]] = field(default_factory=dict)
    version: int = 1000
    effects: Counter[tuple[str, str]] = field(default_factory=Counter)
    written: list[Effect] = field(default_factory=list)
    count: int = 0
    edited: list[tuple[int, str]] = field(default_factory=list)
    """By people: when, and which column."""

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
            if request.path != ROW:
                self.effects[session_id, step.operation] += 1
                continue
            body = dict(request.body or {})
            self.effects[session_id, "update_queue_item"] += SESSION in body
            self.effects[session_id, "counted"] += ATTEMPTS in body
            self.count += ATTEMPTS in body
            self.written.append(Effect(self.version, session_id, body))
        return judge(204, {}, b"")

    def _status(self, path: str, headers: dict[str, str]) -> int:
        row = self.rows.get(path)
        if headers.get("If-None-Match") == "*":
            return 412 if row else 204
        if row is None:
            return 404
        return 204 if headers["If-Match"] in ("*", f'W/"{row[0]}"') else 412

    def edit(self, column: str, value: Value) -> None:
        """By a person."""
        if ROW in self.rows:
            if column == ATTEMPTS:
                self.count = value if isinstance(value, int) else 0
            self.put(ROW, {column: value})
            self.edited.append((self.version, column))

    def ever_changed(self, plan: PlannedWriteback) -> set[str]:
        """Columns that a person wrote since the plan's baseline."""
        since = int((plan.baseline.etag or 'W/"0"').strip('W/"'))
        return {column for version, column in self.edited if version > since}

    def delete(self) -> None:
        self.rows.pop(ROW, None)

    def read(self, path: str) -> Observed | None:
        row = self.rows.get(path)
        return None if row is None else Observed(f'W/"{row[0]}"', dict(row[1]))

    def changed_by_people(self, plan: PlannedWriteback) -> set[str]:
        """Columns of the plan's that do not hold what our own writes since its baseline left there, judged by what
        really took effect. An opt-out covers do-not-call."""
        if ROW not in self.rows:
            return {"deleted"}
        row, expected = self.rows[ROW][1], self._expected(plan)
        return {name for name, value in expected.items() if row.get(name) != value and not _opts_out(plan, row, name)}

    def _expected(self, plan: PlannedWriteback) -> dict[str, Value]:
        expected = dict(plan.baseline.columns)
        since = int((plan.baseline.etag or 'W/"0"').strip('W/"'))
        for effect in self.written:
            if effect.version > since and effect.session_id != plan.session_id:
                expected |= effect.columns
        return {name: value for name, value in expected.items() if name != ATTEMPTS}


def _opts_out(plan: PlannedWriteback, row: Mapping[str, Value], name: str) -> bool:
    return name == FLAG and row.get(FLAG) is True and update_of(plan).attributes.get(FLAG) is True


def update_of(plan: PlannedWriteback) -> PlannedStep:
    return next(step for step in plan.steps if step.operation is Operation.UPDATE_QUEUE_ITEM)


class MemoryHistory:
    """What results say, in a dict."""

    def __init__(self, results: Iterable[WritebackResult] = ()) -> None:
        self._settled: dict[str, Settled] = {}
        for result in results:
            self.add(result)

    def of(self, session_id: str) -> Settled | None:
        return self._settled.get(session_id)

    def add(self, result: WritebackResult) -> None:
        if (settled := settled_as(result)) is not None:
            self._settled[result.session_id] = settled


Step = Generator[str, bool, WritebackResult | None]
"""Yields before every request; is sent whether its reply gets lost. Ends with the result; None: settled before."""


class Endless(AssertionError):
    """The writer never came to an end."""


def write(plan: PlannedWriteback, crm: Crm, history: History, *, read_first: bool = False) -> Step:
    """The writer's loop around the core, without clock or sockets; every request may be interleaved with anything."""
    if (settled := history.of(plan.session_id)) is not None and settled.needs_nothing:
        return None
    row = None if read_first else baseline_row(plan)
    emission = None if row is None else full(plan, {}, row)
    found: Finding | None = None
    call_may_exist = False
    for _ in range(60):
        if emission is not None:
            reply_lost = yield "send"
            judgement = crm.execute(emission, plan.session_id)
            if reply_lost:
                judgement, call_may_exist = lost(), call_may_exist or records_call_alone(found)
            if judgement.kind is Kind.DONE:
                return result_of(plan, found, {step.step_index for step in emission.steps})
            assert judgement.kind is Kind.AMBIGUOUS, judgement
        observed: dict[int, Observed | None] = {}
        for read in reads(plan):
            yield "read"
            observed[read.step_index] = crm.read(f"{read.entity_set}({read.record_id})")
        found = reconcile(plan, observed, history, call_may_exist=call_may_exist)
        if (emission := to_send(plan, found)) is None:
            return result_of(plan, found, ())
    raise Endless(plan.session_id)


def to_send(plan: PlannedWriteback, found: Finding) -> Emission | None:
    match found:
        case Missing(steps, row):
            return of_steps(plan, steps, {}, row)
        case Late(steps, row, counts, sets) if steps or counts or sets:
            return late(plan, steps, {}, row, counts=counts, sets_do_not_call=sets)
        case Conflict(_, steps, row) if steps or row:
            return call_activity(plan, steps, row)
        case NoQueueItem(steps) if steps:
            return call_activity(plan, steps)
        case _:
            return None


def result_of(plan: PlannedWriteback, found: Finding | None, sent: Iterable[int]) -> WritebackResult:
    telling = ResultContext(plan, PlanPosition(partition=0, offset=0, digest=plan.digest), 1, NOON, "model")
    match found:
        case None | Landed() | Missing():
            return landed(telling, frozenset(sent))
        case Late():
            return late_result(telling, found, frozenset(sent))
        case Conflict():
            return conflict(telling, found, frozenset(sent))
        case NoQueueItem():
            return no_queue_item(telling, found, frozenset(sent))
        case ForeignRecord(step):
            return foreign_record(telling, step)


def is_conflict(result: WritebackResult) -> bool:
    return result.block_reason is BlockReason.CONFLICT_DETECTED


BEFORE: dict[str, Value] = {
    "medx_callstatus": 1,
    "medx_lastdisposition": None,
    SESSION: None,
    ATTEMPTS: 0,
    FLAG: False,
    "medx_lasterror": None,
    "medx_notes": None,
    "medx_priority": 3,
}


def a_crm() -> tuple[Crm, str]:
    """One queue item in progress, and its etag."""
    crm = Crm()
    return crm, crm.put(ROW, BEFORE | {"medx_timezone": "UTC"})


def plan_for(
    number: int,
    etag: str | None,
    *,
    task: bool = False,
    call: bool = True,
    opt_out: bool = False,
    baseline: Mapping[str, Value] | None = None,
    preceding: tuple[PlannedWriteback, ...] = (),
) -> PlannedWriteback:
    """The plan of session `number`; `preceding` oldest first."""
    session = f"sess-{number:06d}"
    plan = make_plan(session_id=session, queue_item_id=ITEM)
    steps = list(plan.steps)
    changes: dict[str, Value] = {"medx_lasterror": None if call else "blocked_by_eligibility: d"}
    if opt_out:
        changes |= {"medx_callstatus": 4, FLAG: True}
    attributes = {**steps[2].attributes, **changes}
    attributes.pop(ATTEMPTS, None)
    steps[2] = replace(steps[2], attributes=attributes, increments={ATTEMPTS: 1} if call else {})
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
    known = dict(BEFORE if baseline is None else baseline)
    if not call:
        known.pop(ATTEMPTS, None)  # nothing is counted, so nothing of it is known
    return replace(
        plan,
        disposition=_disposition(call=call, task=task, opt_out=opt_out),
        opt_out=opt_out,
        steps=tuple(steps if call else steps[2:3]),
        baseline=ResolvedBaseline(captured_at=plan.baseline.captured_at, etag=etag, columns=known),
        preceding=tuple(PrecedingPlan(session_id=p.session_id, columns=update_of(p).attributes) for p in preceding),
    )


def _disposition(*, call: bool, task: bool, opt_out: bool) -> Disposition:
    if opt_out:
        return Disposition.DO_NOT_CALL
    if not call:
        return Disposition.BLOCKED
    return Disposition.CALL_BACK_LATER if task else Disposition.NO_ANSWER
