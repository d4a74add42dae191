"""W9: nothing is written unless live metadata and owners were verified for everything the plan names. No I/O.

The shell fills a `Snapshot` from the CRM's metadata and looks up whom the plan names; this decides. Every gap is named
before the first write, so that one look at the result shows all that has to be put right.

What the CRM keeps of a value has one form for each column (`normal`): a day alone in a column of days, whole seconds in
UTC in any other column of times, null for an empty text. A plan is sent and compared in that form (`conformed`), or a
value would be refused, or its own write would look like somebody else's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum

from schemas import records
from schemas.records import (
    ActivityParties,
    Caller,
    OwnerCandidate,
    OwnerKind,
    PartyKind,
    PlannedStep,
    PlannedWriteback,
    Precondition,
    Value,
)
from writer.core.emission import CALLER, update_step
from writer.core.values import GUID, LINK


class ColumnType(StrEnum):
    STRING = "string"
    INTEGER = "integer"
    DECIMAL = "decimal"
    BOOLEAN = "boolean"
    OPTION = "option"
    """A picklist, state or status: its values are in `options`."""
    TIME = "time"
    ID = "id"
    OTHER = "other"
    """Anything a plan cannot write."""


class TimeBehavior(StrEnum):
    """The service's own words."""

    USER_LOCAL = "UserLocal"
    DATE_ONLY = "DateOnly"
    TIME_ZONE_INDEPENDENT = "TimeZoneIndependent"


@dataclass(frozen=True, slots=True)
class Column:
    """What the CRM says of a column now. A limit of None is none; `max_length` counts UTF-16 units. `computed`: the CRM
    works its value out. `secured`: only who is named in a column security profile reads or writes it. `labels`: option
    to what people see of it; no plan needs them, nor the column's own `label`.
    """

    type: ColumnType
    valid_for_create: bool = True
    valid_for_update: bool = True
    valid_for_read: bool = True
    computed: bool = False
    secured: bool = False
    behavior: TimeBehavior = TimeBehavior.USER_LOCAL
    max_length: int | None = None
    minimum: float | None = None
    maximum: float | None = None
    options: frozenset[int] | None = None
    label: str | None = None
    labels: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Table:
    """`links`: binding name (with its `@odata.bind`) to the entity sets it may point to. `collections`: property of the
    record that a row belongs to, and that holds such rows, to that record's entity set. `optimistic_concurrency`: a row
    can be updated under its etag.
    """

    columns: Mapping[str, Column]
    links: Mapping[str, frozenset[str]] = field(default_factory=dict)
    collections: Mapping[str, str] = field(default_factory=dict)
    optimistic_concurrency: bool = True
    logical_name: str = ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Tables by entity set name; a set that is asked for and not here does not exist. `taken_at` in seconds."""

    tables: Mapping[str, Table]
    taken_at: float = 0.0


class NamedKind(StrEnum):
    USER = "user"
    TEAM = "team"
    QUEUE = "queue"


@dataclass(frozen=True, slots=True)
class Named:
    """Somebody whom a plan names: an owner, who places calls, on whose behalf calls are recorded. `link` is the binding
    value, `/set(id)`. `object_id`: the CRM's user has to be this one of the directory.
    """

    kind: NamedKind
    link: str
    object_id: str | None = None

    @property
    def key(self) -> str:
        return self.link if self.object_id is None else f"{self.link} as {self.object_id}"


def owner(candidate: OwnerCandidate) -> Named:
    return Named(NamedKind.USER if candidate.kind is OwnerKind.USER else NamedKind.TEAM, candidate.value)


def caller(given: Caller) -> Named:
    return Named(NamedKind.USER, f"/{given.entity_set}({given.record_id})", given.object_id.lower())


_SENDERS: Mapping[PartyKind, NamedKind] = {PartyKind.USER: NamedKind.USER, PartyKind.QUEUE: NamedKind.QUEUE}


def senders(parties: ActivityParties) -> tuple[tuple[str, Named], ...]:
    """Binding and whom it names. A customer is not looked up: it is the account that the call is linked to."""
    return tuple((one.column, Named(_SENDERS[one.kind], one.value)) for one in parties.members if one.kind in _SENDERS)


def named(plan: PlannedWriteback) -> tuple[Named, ...]:
    """Everybody who has to be looked up, once."""
    found: dict[str, Named] = {}
    for step in plan.steps:
        each = [owner(candidate) for candidate in step.owner_candidates]
        each += [] if step.activity_parties is None else [one for _, one in senders(step.activity_parties)]
        each += [] if step.caller is None else [caller(step.caller)]
        found |= {one.key: one for one in each}
    return tuple(found.values())


def people_columns(step: PlannedStep) -> tuple[str, ...]:
    """What gaps about the people of a step are named by."""
    parties = step.activity_parties
    of_parties = () if parties is None else (parties.collection, *(one.column for one in parties.members))
    return of_parties if step.caller is None else (*of_parties, CALLER)


PeopleFacts = Mapping[str, bool]
"""The key of each `Named`, for an owner its binding value: whether it exists and is enabled, and if a team, may own
records. Not there: not verified.
"""

OVERRIDE_UNVERIFIABLE = "task_owner_override_unverifiable"


@dataclass(frozen=True, slots=True)
class Gap:
    """One thing the plan names that is not as the plan needs it. Never holds a value of a plan."""

    step_index: int
    entity_set: str
    column: str | None
    expected: str

    def __str__(self) -> str:
        where = self.entity_set if self.column is None else f"{self.entity_set}.{self.column}"
        return f"step {self.step_index}: {where}: {self.expected}"


@dataclass(frozen=True, slots=True)
class Cleared:
    """May be written, with these owners (by step index). `plan` is the plan in the form that the CRM keeps; None if it
    was not conformed.
    """

    owners: Mapping[int, OwnerCandidate]
    warnings: tuple[records.Warning, ...] = ()
    limits: Mapping[str, int] = field(default_factory=dict)
    """The most that each counter of the queue item may hold."""
    plan: PlannedWriteback | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Blocked:
    gaps: tuple[Gap, ...]


def check(plan: PlannedWriteback, snapshot: Snapshot, facts: PeopleFacts) -> Cleared | Blocked:
    """Blocks with every gap, or clears with the first valid owner of each step."""
    gaps = [gap for step in plan.steps for gap in _gaps(step, snapshot)]
    gaps += _baseline_gaps(plan, snapshot)
    gaps += _people_gaps(plan, snapshot, facts)
    owners: dict[int, OwnerCandidate] = {}
    warnings: list[records.Warning] = []
    for step in plan.steps:
        chosen = next((owner for owner in step.owner_candidates if _may_own(owner, step, snapshot, facts)), None)
        if chosen is not None:
            owners[step.step_index] = chosen
            warnings += _fallback_warning(step, chosen)
        elif step.owner_candidates:
            gaps.append(Gap(step.step_index, step.entity_set, None, _OWNER))
    if gaps:
        return Blocked(tuple(gaps))
    return Cleared(owners, tuple(warnings), _limits(update_step(plan), snapshot), conformed(plan, snapshot))


_OWNER = "an owner who exists, is enabled and may own records"


def _limits(update: PlannedStep, snapshot: Snapshot) -> Mapping[str, int]:
    columns = snapshot.tables[update.entity_set].columns
    return {name: int(most) for name in update.increments if (most := columns[name].maximum) is not None}


def conformed(plan: PlannedWriteback, snapshot: Snapshot) -> PlannedWriteback:
    """The same plan in the form that the CRM keeps: what it writes, and what it compares with."""
    row = snapshot.tables[update_step(plan).entity_set]
    steps = tuple(
        replace(step, attributes=_normal(snapshot.tables[step.entity_set], step.attributes)) for step in plan.steps
    )
    baseline = replace(plan.baseline, columns=_normal(row, plan.baseline.columns))
    preceding = tuple(replace(one, columns=_normal(row, one.columns)) for one in plan.preceding)
    if (steps, baseline, preceding) == (plan.steps, plan.baseline, plan.preceding):
        return plan
    return replace(plan, steps=steps, baseline=baseline, preceding=preceding)


def _normal(table: Table, values: Mapping[str, Value]) -> Mapping[str, Value]:
    return {name: normal(table.columns.get(name), value) for name, value in values.items()}


def normal(column: Column | None, value: Value) -> Value:
    """The form in which the CRM keeps this value; unchanged if it would not take it, or if the column is a link."""
    if column is None or not isinstance(value, str):
        return value
    match column.type:
        case ColumnType.STRING:
            return value or None
        case ColumnType.TIME:
            return _normal_time(column.behavior, value)
        case _:
            return value


def _normal_time(behavior: TimeBehavior, value: str) -> str:
    if (moment := _time(value)) is None:
        return value
    if behavior is TimeBehavior.DATE_ONLY:
        return moment.date().isoformat()
    return f"{moment.replace(tzinfo=None).isoformat(timespec='seconds')}Z"


def named_sets(plan: PlannedWriteback) -> frozenset[str]:
    """The entity sets whose metadata must be in the snapshot."""
    parties = (step.activity_parties.entity_set for step in plan.steps if step.activity_parties is not None)
    return frozenset((*(step.entity_set for step in plan.steps), *parties))


def _may_own(owner: OwnerCandidate, step: PlannedStep, snapshot: Snapshot, facts: PeopleFacts) -> bool:
    """An owner of a kind that the link does not lead to is none, whatever else is known of it."""
    table = snapshot.tables.get(step.entity_set)
    targets = table.links.get(owner.column) if table else None
    fits = targets is None or _link_gap(owner.value, targets) is None
    return fits and bool(facts.get(owner.value))


def _fallback_warning(step: PlannedStep, chosen: OwnerCandidate) -> list[records.Warning]:
    """The first candidate that was asked for by the queue item, and passed over."""
    if chosen.override or not any(owner.override for owner in step.owner_candidates):
        return []
    message = "the owner named on the queue item could not be verified; the default owner was used"
    return [records.Warning(code=OVERRIDE_UNVERIFIABLE, field=chosen.column, message=message)]


_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9:.]+(Z|[+-][0-9:]+))?")


def _gaps(step: PlannedStep, snapshot: Snapshot) -> Iterator[Gap]:
    def gap(column: str | None, expected: str) -> Gap:
        return Gap(step.step_index, step.entity_set, column, expected)

    if not GUID.fullmatch(step.record_id):
        yield gap(None, "a record id that is a GUID")
    if (table := snapshot.tables.get(step.entity_set)) is None:
        yield gap(None, "a table that exists")
        return
    if step.precondition is Precondition.MUST_MATCH_BASELINE and not table.optimistic_concurrency:
        yield gap(None, "a table with optimistic concurrency, without which changes of people would be overwritten")
    for name, value in _written(step).items():
        if (
            expected := _counter_gap(step, table, name) or column_gap(table, name, value, step.precondition)
        ) is not None:
            yield gap(name, expected)
    for column in dict.fromkeys(owner.column for owner in step.owner_candidates):
        if column not in table.links:
            yield gap(column, "a link that exists")


def _people_gaps(plan: PlannedWriteback, snapshot: Snapshot, facts: PeopleFacts) -> Iterator[Gap]:
    callers = {step.caller: step for step in reversed(plan.steps) if step.caller is not None}
    for given, step in callers.items():
        if not facts.get(caller(given).key):
            yield Gap(step.step_index, step.entity_set, CALLER, CALLER_NEEDED)
    for step in plan.steps:
        if step.activity_parties is not None:
            found = party_gaps(step.activity_parties, step.entity_set, snapshot, facts)
            yield from (Gap(step.step_index, entity_set, column, expected) for entity_set, column, expected in found)


CALLER_NEEDED = "a user who exists, is enabled and has this object id in the directory"
_SENDER_NEEDED: Mapping[NamedKind, str] = {
    NamedKind.USER: "a user who exists and is enabled",
    NamedKind.QUEUE: "a queue that exists and is active",
}


def party_gaps(
    parties: ActivityParties, activities: str, snapshot: Snapshot, facts: PeopleFacts
) -> Iterator[tuple[str, str | None, str]]:
    """Entity set, column, and what it would have to be. `activities`: the entity set of the record that has them."""
    if (table := snapshot.tables.get(parties.entity_set)) is None:
        yield parties.entity_set, None, "a table that exists"
        return
    if table.collections.get(parties.collection) != activities:
        yield activities, parties.collection, "the collection that holds the parties of this kind of activity"
    if (own := snapshot.tables.get(activities)) is not None:
        column = own.columns.get(parties.id_column)
        if column is None or not column.valid_for_create:
            yield activities, parties.id_column, "an id that can be chosen on create"
    for one in parties.members:
        if (targets := table.links.get(one.column)) is None:
            yield activities, one.column, "a kind of record that can take part in an activity"
        elif (expected := _link_gap(one.value, targets)) is not None:
            yield activities, one.column, expected
    for column_name, who in senders(parties):
        if not facts.get(who.key):
            yield activities, column_name, _SENDER_NEEDED[who.kind]


def _counter_gap(step: PlannedStep, table: Table, name: str) -> str | None:
    """Of a column that is there: whether it can be counted up."""
    column = table.columns.get(name) if name in step.increments else None
    if column is None or (column.type is ColumnType.INTEGER and column.valid_for_read):
        return None
    return "a whole-number column that can be read, since it is counted up"


def _written(step: PlannedStep) -> dict[str, Value]:
    """Every column that this step may write, do-not-call on its own and counters included."""
    alone: dict[str, Value] = {step.do_not_call_column: True} if step.do_not_call_column else {}
    return {**alone, **step.increments, **step.attributes}


def _baseline_gaps(plan: PlannedWriteback, snapshot: Snapshot) -> Iterator[Gap]:
    """Columns that are only compared, never written, must exist too: a conflict could not be seen without them."""
    update = update_step(plan)
    if (table := snapshot.tables.get(update.entity_set)) is not None:
        for name in plan.baseline.columns:
            if name in table.links or name in update.attributes:
                continue
            if (column := table.columns.get(name)) is None:
                yield Gap(update.step_index, update.entity_set, name, "a column that exists")
            elif not column.valid_for_read:
                yield Gap(update.step_index, update.entity_set, name, "a column that can be read")


def column_gap(table: Table, name: str, value: Value, precondition: Precondition) -> str | None:
    """What a column would have to be to take this value, or None if it takes it."""
    if (targets := table.links.get(name)) is not None:
        return _link_gap(value, targets)
    if (column := table.columns.get(name)) is None:
        return "a column that exists"
    if column.computed:
        return "a column that is not calculated or rolled up by the CRM"
    creating = precondition is Precondition.MUST_NOT_EXIST
    if not (column.valid_for_create if creating else column.valid_for_update):
        return f"a column that can be set on {'create' if creating else 'update'}"
    return None if value is None else _value_gap(column, value)


def _link_gap(value: Value, targets: frozenset[str]) -> str | None:
    if value is None:
        return None
    link = LINK.fullmatch(value) if isinstance(value, str) else None
    if link is None:
        return "a link of the form /set(id)"
    return None if link[1] in targets else f"a link to {', '.join(sorted(targets))}"


def _value_gap(column: Column, value: bool | int | float | str) -> str | None:
    match column.type:
        case ColumnType.STRING:
            return _text_gap(column, value)
        case ColumnType.INTEGER | ColumnType.DECIMAL:
            return _number_gap(column, value)
        case ColumnType.BOOLEAN:
            return None if isinstance(value, bool) else "a boolean column's value"
        case ColumnType.OPTION:
            allowed = column.options or frozenset()
            fits = isinstance(value, int) and not isinstance(value, bool) and value in allowed
            return None if fits else f"one of the options {sorted(allowed)}"
        case ColumnType.TIME:
            return None if isinstance(value, str) and _time(value) else "a time from the year 1753 on"
        case ColumnType.ID:
            return None if isinstance(value, str) and GUID.fullmatch(value) else "a GUID"
        case _:
            return "a column of a type that can be written"


def _text_gap(column: Column, value: bool | int | float | str) -> str | None:
    if not isinstance(value, str):
        return "a text column's value"
    length = len(value.encode("utf-16-le", "surrogatepass")) // 2
    if column.max_length is not None and length > column.max_length:
        return f"at most {column.max_length} characters"
    return None


def _number_gap(column: Column, value: bool | int | float | str) -> str | None:
    whole = column.type is ColumnType.INTEGER
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        return "an integer column's value" if whole else "a number column's value"
    number = float(value)
    if (column.minimum is not None and number < column.minimum) or (
        column.maximum is not None and number > column.maximum
    ):
        return f"a number from {column.minimum} to {column.maximum}"
    return None


_EARLIEST = datetime(1753, 1, 1, tzinfo=UTC)


def _time(value: str) -> datetime | None:
    """The moment in UTC; None for anything else, or a time that the CRM cannot hold. A day alone begins in UTC."""
    if not _TIME.fullmatch(value):
        return None
    try:
        moment = datetime.fromisoformat(value)
        moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
    return moment if moment >= _EARLIEST else None
