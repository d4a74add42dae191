"""What became of a plan, judged by the records that stand in the CRM and by the results of earlier sessions. No I/O.

The rules:

R1  The queue item shows the session that landed there last, in its session column. Showing this plan's session proves
    the plan: the steps of a plan land in one change set. So does its task.
R2  A record under a plan's id is the plan's if its session column holds the plan's session id, byte for byte. What else
    people or plug-ins changed on it since (an account merge, a corrected number) says nothing about whose it is.
R3  The queue item is expected to hold the baseline with the columns of those earlier sessions laid over it that really
    landed. Whether one landed is known from its result, or from the row that shows it, and is never supposed. One that
    was blocked leaves nothing behind, or do-not-call alone. One that is in doubt may have left each column, if the row
    shows a later one that has not written that column.
R4  A conflict names exactly the columns that differ from what is expected. Counters are never compared: a step adds to
    what it holds.
R5  A session on the row that is not an earlier one, and has a result, is a later one of ours, unless the row is an
    older version than the one that the call system read: then the CRM was restored. The plan came late: its call is
    recorded and counted, its task created and its opt-out set, and the rest is the later session's.
R6  The call is recorded alone only in a conflict. A call that exists without a conflict, without a result that says so
    and without an unanswered request of ours that recorded it belongs to another queue item: one session id was used
    twice. So does a task, if the row shows still what it showed before this plan.
R7  A plan that nothing of the above decides is reported to a person; no plan is passed over.
R8  A person has accepted the row as one etag shows it: the plan is sent onto it under that etag, whatever the row shows
    and whichever session was there last. Under another etag the person is asked again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from schemas.records import Disposition, Operation, PlannedStep, PlannedWriteback, Value
from writer.core.decisions import Accepted
from writer.core.emission import CALL_ACTIVITY, Observed, moments, opts_out, update_step, was_read
from writer.core.history import History, Settled
from writer.core.values import instant, same, version

Observations = Mapping[int, Observed | None]
"""By the step index of `emission.reads`; None for a record that is not there."""


@dataclass(frozen=True, slots=True)
class Landed:
    """Every step took effect: nothing to send."""


@dataclass(frozen=True, slots=True)
class Missing:
    """Send these steps together, the queue item as it was read in `row`."""

    steps: tuple[int, ...]
    row: Observed


@dataclass(frozen=True, slots=True)
class Late:
    """A later session of ours is on the row. Send these steps, and of the queue item's update no more than this:
    counted if the call is recorded now, do-not-call if the plan is an opt-out."""

    steps: tuple[int, ...]
    row: Observed
    counts: bool
    sets_do_not_call: bool
    left_out: tuple[int, ...] = ()
    """Steps that are not sent, and do not stand: nobody calls back who asked not to be called."""
    found_call: bool = False
    """The call exists, and nothing that is known of says that a writer recorded it for this plan."""

    @property
    def touches_row(self) -> bool:
        return self.counts or self.sets_do_not_call


@dataclass(frozen=True, slots=True)
class Conflict:
    """A person changed these columns. Record the call (`call_steps`), and set do-not-call if `row` is given.

    `opted_out`: the contact did, in this session, and do-not-call is set already. `moved`: a person had accepted the
    row, and it has changed since. `by_decision`: a person decided to apply the opt-out alone.
    """

    columns: tuple[str, ...]
    call_steps: tuple[int, ...]
    row: Observed | None = None
    opted_out: bool = False
    moved: bool = False
    by_decision: bool = False


@dataclass(frozen=True, slots=True)
class NoQueueItem:
    """There is no such queue item. Record the call (`call_steps`) if there was one once, unless it exists."""

    call_steps: tuple[int, ...]
    call_stands: bool = False


@dataclass(frozen=True, slots=True)
class ForeignRecord:
    """Under the id of this step exists a record that is not this plan's. Nothing may be sent."""

    step_index: int


Finding = Landed | Missing | Late | Conflict | NoQueueItem | ForeignRecord


def reconcile(
    plan: PlannedWriteback,
    observed: Observations,
    history: History,
    *,
    call_may_exist: bool = False,
    accepted: Accepted | None = None,
) -> Finding:
    """Decides what is left to do. `observed` has an entry for each of `emission.reads`. `call_may_exist`: a request
    that recorded the call alone had no answer."""
    case = _Case(plan, observed, recorded=call_may_exist or _recorded_alone(history.of(plan.session_id)))
    if case.row is not None and case.shows_our_session(case.row):
        return Landed()
    if (foreign := case.foreign_step()) is not None:
        return ForeignRecord(foreign)
    if case.row is None:
        return Landed() if case.task_stands else case.no_queue_item()
    if accepted is not None and not case.task_stands:
        return case.accepted(case.row, accepted, changed_columns(plan, case.row, history))
    if case.is_later(case.row, history):
        return case.late(case.row)
    if case.task_stands:
        return ForeignRecord(case.index_of(Operation.CREATE_TASK)) if case.never_showed_us(case.row) else Landed()
    if columns := changed_columns(plan, case.row, history):
        return case.conflict(case.row, columns)
    if case.call_stands and not case.recorded:
        return ForeignRecord(case.index_of(Operation.CREATE_PHONE_CALL))
    return Missing(case.missing_steps(), case.row)


def changed_columns(plan: PlannedWriteback, row: Observed, history: History) -> tuple[str, ...]:
    """The columns in which the row differs from what is expected (R3, R4); empty if there is no conflict."""
    if row.etag == plan.baseline.etag:
        return ()
    update = update_step(plan)
    expected, possible = expected_columns(plan, row, history), columns_in_doubt(plan, row, history)
    return tuple(
        name
        for name in dict.fromkeys((*plan.baseline.columns, *update.attributes))
        if name not in update.increments
        and not _as_expected(update, name, expected, row.columns.get(name))
        and not any(same(row.columns.get(name), value) for value in possible.get(name, ()))
    )


def expected_columns(plan: PlannedWriteback, row: Observed, history: History) -> Mapping[str, Value]:
    """The baseline with what earlier sessions left laid over it, oldest first."""
    update = update_step(plan)
    expected = dict(plan.baseline.columns)
    for earlier in plan.preceding:
        left = _left_by(history.of(earlier.session_id), shown=_shown(update, row) == earlier.session_id)
        flag = update.do_not_call_column
        if left is Settled.LANDED:
            expected |= earlier.columns
        elif flag is None or earlier.columns.get(flag) is not True:
            continue
        elif left is Settled.OPT_OUT_ONLY or (left is Settled.CLOSED and row.columns.get(flag) is True):
            expected[flag] = True
    return expected


def columns_in_doubt(plan: PlannedWriteback, row: Observed, history: History) -> Mapping[str, Sequence[Value]]:
    """What else a column may hold: values of sessions in doubt before the one that the row shows, as far as none behind
    them has written the column. Had a later one landed, the row would show that.
    """
    shown, possible = _shown(update_step(plan), row), dict[str, list[Value]]()
    for earlier in plan.preceding:
        settled = history.of(earlier.session_id)
        is_shown = earlier.session_id == shown
        for name, value in earlier.columns.items():
            if _left_by(settled, shown=is_shown) is Settled.LANDED:
                possible.pop(name, None)
            elif settled is Settled.IN_DOUBT:
                possible.setdefault(name, []).append(value)
        if is_shown:
            return possible
    return {}


def _left_by(settled: Settled | None, *, shown: bool) -> Settled | None:
    """LANDED: all its columns. OPT_OUT_ONLY: do-not-call at most. CLOSED: the same, if it is set; the person who closed
    the session has left what its conflict had set. None: nothing."""
    if shown:
        return Settled.LANDED
    if settled is Settled.SUPERSEDED:
        return Settled.OPT_OUT_ONLY
    return settled if settled in (Settled.LANDED, Settled.OPT_OUT_ONLY, Settled.CLOSED) else None


def _as_expected(update: PlannedStep, name: str, expected: Mapping[str, Value], held: Value) -> bool:
    """A column that nobody knew before may be empty, or already what the plan says. An opt-out that somebody else set
    already does not conflict with an opt-out."""
    if name == update.do_not_call_column and held is True and update.attributes.get(name) is True:
        return True
    if name == update.session_column and name in expected:
        return (held or None) == (expected[name] or None)
    if name in expected:
        return same(held, expected[name])
    return held is None or same(held, update.attributes[name])


def _shown(update: PlannedStep, row: Observed) -> Value:
    return row.columns.get(update.session_column) if update.session_column else None


def _recorded_alone(settled: Settled | None) -> bool:
    return settled in (Settled.CALL_ONLY, Settled.OPT_OUT_ONLY)


def records_call_alone(found: Finding | None) -> bool:
    """Whether what is sent for this finding records the call, and not the whole plan. None is the first attempt."""
    match found:
        case Conflict(call_steps=steps) | Late(steps=steps):
            return bool(steps)
        case _:
            return False


class _Case:
    """A plan and what exists of it. `recorded`: a writer is known to have recorded its call without the rest."""

    def __init__(self, plan: PlannedWriteback, observed: Observations, *, recorded: bool) -> None:
        self._plan = plan
        self.recorded = recorded
        self._observed = observed
        self._update = update_step(plan)
        self.row = observed.get(self._update.step_index)
        self._created = [step for step in plan.steps if step.operation in _CREATES]
        self._standing = {step.operation for step in self._created if observed.get(step.step_index) is not None}

    @property
    def call_stands(self) -> bool:
        return Operation.CREATE_PHONE_CALL in self._standing

    @property
    def task_stands(self) -> bool:
        return Operation.CREATE_TASK in self._standing

    def index_of(self, operation: Operation) -> int:
        return next(step.step_index for step in self._created if step.operation is operation)

    def shows_our_session(self, row: Observed) -> bool:
        """Unless it did so before we wrote, when it proves nothing."""
        ours, column = self._plan.session_id, self._update.session_column
        return (
            column is not None and row.columns.get(column) == ours and self._plan.baseline.columns.get(column) != ours
        )

    def foreign_step(self) -> int | None:
        for step in self._created:
            record = self._observed.get(step.step_index)
            if record is not None and not _is_of_this_session(step, record):
                return step.step_index
        call = next((step for step in self._created if step.operation is Operation.CREATE_PHONE_CALL), None)
        record = self._observed.get(call.step_index) if call else None
        return call.step_index if call and record and not _is_of_this_call(call, self._plan, record) else None

    def is_later(self, row: Observed, history: History) -> bool:
        """R5. A baseline that did not read the session column cannot tell earlier from later."""
        column = self._update.session_column
        if column is None or column not in self._plan.baseline.columns or self._is_restored(row):
            return False
        shown = row.columns.get(column)
        earlier = {self._plan.baseline.columns[column], *(each.session_id for each in self._plan.preceding)}
        return isinstance(shown, str) and shown not in earlier and history.of(shown) is not None

    def _is_restored(self, row: Observed) -> bool:
        """Versions only rise, so a lower one than the call system read comes from a copy of the CRM from before."""
        then, now = version(self._plan.baseline.etag), version(row.etag)
        return then is not None and now is not None and now < then

    def never_showed_us(self, row: Observed) -> bool:
        """It shows the session that it showed before this plan: what exists was not recorded together with it."""
        column = self._update.session_column
        if column is None or column not in self._plan.baseline.columns:
            return False
        before = {self._plan.baseline.columns[column], *(each.session_id for each in self._plan.preceding)}
        return self._plan.session_id not in before and row.columns.get(column) in before

    def late(self, row: Observed) -> Late:
        """No callback for somebody who asked not to be called; a review is for a person all the same."""
        flag = self._update.do_not_call_column
        opted_out = flag is not None and row.columns.get(flag) is True
        missing = [s for s in self.missing_steps() if s != self._update.step_index]
        no_task = opted_out and self._plan.disposition is not Disposition.NEEDS_HUMAN_REVIEW
        sends = [s for s in missing if not no_task or s in self.call_steps()]
        return Late(
            steps=tuple(sends),
            row=row,
            counts=bool(self._update.increments) and not self.call_stands,
            sets_do_not_call=opts_out(self._plan) and not opted_out,
            left_out=tuple(s for s in missing if s not in sends),
            found_call=self.call_stands and not self.recorded,
        )

    def no_queue_item(self) -> NoQueueItem:
        return NoQueueItem(self.call_steps() if was_read(self._plan) else (), call_stands=self.call_stands)

    def conflict(self, row: Observed, columns: tuple[str, ...]) -> Conflict:
        flag = self._update.do_not_call_column
        is_set = opts_out(self._plan) and row.columns.get(str(flag)) is True
        sets = opts_out(self._plan) and flag not in columns and not is_set
        return Conflict(columns, self.call_steps(), row if sets else None, opted_out=is_set)

    def accepted(self, row: Observed, accepted: Accepted, columns: tuple[str, ...]) -> Finding:
        """R8. An opt-out that is set already is set, whatever else has changed."""
        found = self.conflict(row, columns)
        if accepted.opt_out_only and found.opted_out:
            return replace(found, by_decision=True)
        if row.etag != accepted.etag:
            return replace(found, moved=True)
        if accepted.opt_out_only:
            return replace(found, row=row if opts_out(self._plan) else None, by_decision=True)
        return Missing(self.missing_steps(), row)

    def call_steps(self) -> tuple[int, ...]:
        """Those of the call that are still to be sent: both, since they land together, or none. What a person did to a
        call that exists (cancelled it, marked it received, opened it again) stays."""
        if self.call_stands:
            return ()
        return tuple(step.step_index for step in self._plan.steps if step.operation in CALL_ACTIVITY)

    def missing_steps(self) -> tuple[int, ...]:
        skipped = {Operation.CREATE_PHONE_CALL, Operation.COMPLETE_PHONE_CALL} if self.call_stands else set()
        if self.task_stands:
            skipped.add(Operation.CREATE_TASK)
        return tuple(step.step_index for step in self._plan.steps if step.operation not in skipped)


_CREATES = frozenset({Operation.CREATE_PHONE_CALL, Operation.CREATE_TASK})


def _is_of_this_session(step: PlannedStep, record: Observed) -> bool:
    column = step.session_column
    return column is None or record.columns.get(column) == step.attributes.get(column)


def _is_of_this_call(step: PlannedStep, plan: PlannedWriteback, record: Observed) -> bool:
    """A call that began or ended at another moment is another call, whatever session id it carries."""
    return not any(_is_another_moment(record.columns.get(name), step.attributes[name]) for name in moments(step, plan))


def _is_another_moment(one: Value, other: Value) -> bool:
    """A column that was cleared, or that keeps the day only, says nothing."""
    moments = [instant(value) if isinstance(value, str) else None for value in (one, other)]
    return None not in moments and moments[0] != moments[1]
