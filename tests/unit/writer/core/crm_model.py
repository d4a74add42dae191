"""The CRM as a value: rows with versions, change sets that land whole or not at all. And a writer, a request at a time.

The model judges by itself what the promises ask, from what took effect and what people did; it knows nothing of how the
writer decides, and nothing of results. The writer is the product's own exchange and not a copy of it.
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
    PrecedingPlan,
    ResolvedBaseline,
    Value,
    WritebackResult,
)
from tests.support.factories import an_id, make_plan, make_step
from tests.support.rows import Refusal, Rows
from tests.unit.writer.workbench import make_in_flight, telling
from writer.core.attempt import AlreadySettled, Around, Decided, Reading, RetryLater, Writing, first_step, next_step
from writer.core.batch import Failed, Reply, Succeeded
from writer.core.emission import Emission, Observed, Read
from writer.core.exchanges import PartReply
from writer.core.gate import Cleared
from writer.core.history import History, Settled, settled_as
from writer.core.replies import Judgement, Kind, Meaning, judge, lost, sent_with

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
class Crm(Rows):
    """`effects` counts how often each operation's effect took place; `count` is what the attempts should be."""

    effects: Counter[tuple[str, str]] = field(default_factory=Counter)
    written: list[Effect] = field(default_factory=list)
    count: int = 0
    edited: list[tuple[int, str]] = field(default_factory=list)
    """By people: when, and which column."""

    def execute(self, emission: Emission, session_id: str) -> Judgement:
        return self.answer(emission, session_id).judgement

    def answer(self, emission: Emission, session_id: str) -> PartReply:
        """All or nothing. A failing precondition answers as the service does."""
        done = self.carry_out(emission.change_set.requests)
        if isinstance(done, Refusal):
            request = emission.change_set.requests[done.index]
            judgement = judge(done.status, {}, b'{"error":{"code":"","message":""}}', sent=sent_with(request))
            return PartReply(judgement, Failed(Reply(done.status), done.index))
        for step, request in zip(emission.steps, emission.change_set.requests, strict=True):
            if request.path != ROW:
                self.effects[session_id, step.operation] += 1
                continue
            body = dict(request.body or {})
            self.effects[session_id, "update_queue_item"] += SESSION in body
            self.effects[session_id, "counted"] += ATTEMPTS in body
            self.count += ATTEMPTS in body
            self.written.append(Effect(self.version, session_id, body))
        return PartReply(judge(204, {}, b""), Succeeded(()))

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
    """The writer's own exchange (core/attempt), without lanes and waiting; every request may be interleaved with
    anything. A request that reads several records reads each at its own moment.
    """
    one = make_in_flight(plan)
    one.read_first = read_first
    around = Around(_Model(), history, telling(one), now=0.0)
    if (settled := history.of(plan.session_id)) is not None and settled.needs_nothing:
        return None
    step = first_step(one, around)
    for _ in range(60):
        replies: list[PartReply] = []
        match step:
            case Reading(wanted):
                for read in wanted:
                    yield "read"
                    replies.append(_Shown(_READ, row=crm.read(f"{read.entity_set}({read.record_id})")))
            case Writing(emission=emission):
                reply_lost = yield "send"
                reply = crm.answer(emission, plan.session_id)
                replies.append(PartReply(lost()) if reply_lost else reply)
            case RetryLater():
                step = first_step(one, around)
                continue
            case _:
                assert isinstance(step, Decided | AlreadySettled), step
                return step.result if isinstance(step, Decided) else None
        step = next_step(one, step, replies, around, shared=False)
    raise Endless(plan.session_id)


_READ = Judgement(Kind.DONE, Meaning.LANDED, 200)


@dataclass(frozen=True, slots=True)
class _Shown(PartReply):
    """The reply to a read."""

    row: Observed | None = None


class _Model:
    """Metadata of a CRM whose columns have the plan's own names."""

    def cached_verdict(self, plan: PlannedWriteback) -> Cleared:
        return Cleared({})

    def read_property_of(self, entity_set: str) -> Mapping[str, str]:
        return {}

    def observed(self, read: Read, planned: Mapping[str, Value], reply: PartReply) -> Observed | None:
        assert isinstance(reply, _Shown)
        return reply.row


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
