"""Whether the CRM has everything that a mapping names, all gaps at once (W9). No I/O.

The writer needs no mapping for a plan: plans are complete. The check is for the moment before: what the mapping lacks
would hold or block every plan that is made with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from schemas.records import ActivityParties, Caller, OwnerCandidate, Precondition, Value
from writer.core import gate
from writer.core.gate import Column, ColumnType, Named, PeopleFacts, Snapshot, Table, column_gap

QUEUE_ITEM = "queue_item"
SENDER, CALLER = "activity_parties.from", "caller"
"""Places in the file."""


@dataclass(frozen=True, slots=True)
class MappedTable:
    logical_name: str
    entity_set: str
    primary_id: str


@dataclass(frozen=True, slots=True)
class MappedColumn:
    """`table` is the mapping's word, such as `queue_item`; `written`: some plan writes it."""

    table: str
    name: str
    type: str
    written: bool
    binding: str | None = None
    """The name under which a lookup is written."""
    target: str | None = None
    """Logical name of the table that a lookup points to, or the mapping's word for it."""
    max_length: int | None = None
    label: str | None = None
    """What people saw of it when the mapping was reviewed."""


@dataclass(frozen=True, slots=True)
class MappedOption:
    concept: str
    value: int
    label: str | None = None


@dataclass(frozen=True, slots=True)
class MappedValue:
    """A column that gets the same value on every record of the table that is created."""

    table: str
    column: str
    value: Value

    @property
    def where(self) -> str:
        return f"fixed_values.{self.table}.{self.column}"


@dataclass(frozen=True, slots=True)
class MappingToCheck:
    """What a mapping file names. `columns` and `options` by concept; `compared`: queue item columns that are preserved,
    or hold the owner of a task. `parties` of any call, with some record as the customer. `names` of people and queues
    by their place in the file, as they were when it was reviewed.
    """

    environment: str | None
    tables: Mapping[str, MappedTable]
    columns: Mapping[str, MappedColumn]
    options: Mapping[str, MappedOption] = field(default_factory=dict)
    owners: Mapping[str, OwnerCandidate] = field(default_factory=dict)
    compared: tuple[str, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    fixed: tuple[MappedValue, ...] = ()
    parties: ActivityParties | None = None
    caller: Caller | None = None

    @property
    def sets(self) -> frozenset[str]:
        """The entity sets whose metadata is needed."""
        parties = (self.parties.entity_set,) if self.parties else ()
        return frozenset((*(table.entity_set for table in self.tables.values()), *parties))

    @property
    def people(self) -> dict[str, Named]:
        """Everybody who is looked up, by their place in the file."""
        found = {f"owners.{word}": gate.owner(one) for word, one in self.owners.items()}
        if self.parties is not None:
            found.update((SENDER, one) for _, one in gate.senders(self.parties))
        return found if self.caller is None else found | {CALLER: gate.caller(self.caller)}


@dataclass(frozen=True, slots=True)
class LiveTable:
    """A table as the CRM has it, for the person who makes a mapping. `custom`: somebody here made it. `table` is None
    where nobody asked for its columns. `lookups`: column to what it may point to, as entity set name and navigation
    property.
    """

    logical_name: str
    entity_set: str
    primary_id: str
    label: str | None = None
    custom: bool = False
    table: Table | None = None
    lookups: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MappingGap:
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


def environment_mark(url: str) -> str:
    """What the mapping's `_meta.environment` holds for this environment."""
    return sha256(url.lower().rstrip("/").encode()).hexdigest()


def is_of(mapping: MappingToCheck, url: str) -> bool:
    """Whether the mapping was made for this environment; so is one without a mark."""
    return mapping.environment in (None, environment_mark(url))


def gaps_of(
    mapping: MappingToCheck, snapshot: Snapshot, facts: PeopleFacts, names: Mapping[str, str] | None = None
) -> tuple[MappingGap, ...]:
    """Everything that the mapping names and the CRM does not have as the mapping says. `names`: the key of each person
    or queue to what people see of it now.
    """
    return (*_tables(mapping, snapshot), *_columns(mapping, snapshot), *_options(mapping, snapshot),
            *_compared(mapping, snapshot), *_fixed(mapping, snapshot),
            *_people(mapping, facts, names or {}), *_parties(mapping, snapshot, facts),
            *(gap for gap, swapped in _relabelled(mapping, snapshot) if swapped))  # fmt: skip


def notices_of(mapping: MappingToCheck, snapshot: Snapshot) -> tuple[str, ...]:
    """What metadata cannot decide: whether this application user may use a secured column, and why a label is another
    one than when the mapping was reviewed.
    """
    named = [(f"fields.{concept}", column.table, column.name) for concept, column in mapping.columns.items()]
    named += [(one.where, one.table, one.column) for one in mapping.fixed]
    secured = tuple(
        f"{where}: {name} is secured; the application user needs a column security profile that lets it read, create "
        "and update the column"
        for where, word, name in named
        if (table := _table(mapping, snapshot, word)) and (live := table.columns.get(name)) and live.secured
    )
    return (*secured, *(str(gap) for gap, swapped in _relabelled(mapping, snapshot) if not swapped))


Relabelled = tuple[MappingGap, bool]
"""What has another label than the mapping says, and whether that label is now at another place: then the two were
swapped, and plans would write the wrong one. A label that is gone was only renamed.
"""


def _relabelled(mapping: MappingToCheck, snapshot: Snapshot) -> Iterator[Relabelled]:
    for concept, mapped in mapping.columns.items():
        if table := _table(mapping, snapshot, mapped.table):
            labels = {name: live.label for name, live in table.columns.items() if live.label}
            yield from _compared_labels(f"fields.{concept}", mapped.name, mapped.label, labels)
    for name, option in mapping.options.items():
        column = mapping.columns.get(option.concept)
        table = _table(mapping, snapshot, column.table) if column else None
        if column and table and (shown := table.columns.get(column.name)):
            yield from _compared_labels(f"option_sets.{name}", option.value, option.label, shown.labels)


def _compared_labels(
    where: str, place: str | int, wanted: str | None, labels: Mapping[Any, str]
) -> Iterator[Relabelled]:
    """`labels`: what there is now, by the same kind of place."""
    live = labels.get(place)
    if not wanted or not live or _same(wanted, live):
        return
    elsewhere = [str(other) for other, label in labels.items() if other != place and _same(wanted, label)]
    if elsewhere:
        what = f'"{wanted}" is {" or ".join(elsewhere)} in the CRM, and {place} is "{live}"; were the two swapped?'
        yield MappingGap(where, what), True
    else:
        yield (
            MappingGap(where, f'{place} is called "{live}" now, and was "{wanted}" when the mapping was reviewed'),
            False,
        )


def _same(one: str, other: str) -> bool:
    return [*filter(str.isalnum, one.casefold())] == [*filter(str.isalnum, other.casefold())]


def _table(mapping: MappingToCheck, snapshot: Snapshot, word: str) -> Table | None:
    mapped = mapping.tables.get(word)
    return snapshot.tables.get(mapped.entity_set) if mapped else None


def _tables(mapping: MappingToCheck, snapshot: Snapshot) -> Iterator[MappingGap]:
    for word, mapped in mapping.tables.items():
        where = f"entities.{word}"
        if (table := snapshot.tables.get(mapped.entity_set)) is None:
            yield MappingGap(where, f"no table has the entity set name {mapped.entity_set}")
            continue
        if mapped.primary_id not in table.columns:
            yield MappingGap(where, f"the table has no column {mapped.primary_id}")
        if table.logical_name not in ("", mapped.logical_name):
            yield MappingGap(where, f"the table of {mapped.entity_set} is called {table.logical_name}")
        if word == QUEUE_ITEM and not table.optimistic_concurrency:
            yield MappingGap(where, "turn optimistic concurrency on; without it changes of people would be overwritten")


def _columns(mapping: MappingToCheck, snapshot: Snapshot) -> Iterator[MappingGap]:
    for concept, mapped in mapping.columns.items():
        table = _table(mapping, snapshot, mapped.table)
        if table is None:
            continue  # named by its table
        if (live := table.columns.get(mapped.name)) is None:
            yield MappingGap(f"fields.{concept}", f"the table has no column {mapped.name}")
            continue
        for what in _misfits(mapping, table, mapped, live):
            yield MappingGap(f"fields.{concept}", f"{mapped.name} {what}")


_TYPES: Mapping[str, tuple[ColumnType, ...]] = {
    "string": (ColumnType.STRING,),
    "integer": (ColumnType.INTEGER,),
    "boolean": (ColumnType.BOOLEAN,),
    "optionset": (ColumnType.OPTION,),
    "datetime": (ColumnType.TIME,),
    "lookup": (ColumnType.OTHER,),
}


def _misfits(mapping: MappingToCheck, table: Table, mapped: MappedColumn, live: Column) -> Iterator[str]:
    if live.type not in _TYPES.get(mapped.type, ()):
        yield f"is of type {live.type}, not {mapped.type}"
    if not live.valid_for_read:
        yield "cannot be read"
    if mapped.written and live.computed:
        yield "is calculated or rolled up by the CRM, and cannot be written"
    elif mapped.written and mapped.type != "lookup" and not _writable(mapped, live):
        yield f"cannot be set on {'update' if mapped.table == QUEUE_ITEM else 'create'}"
    if mapped.max_length is not None and live.max_length is not None and live.max_length < mapped.max_length:
        yield f"holds {live.max_length} characters, not {mapped.max_length}; correct max_length"
    if mapped.binding is not None:
        yield from _link_misfits(mapping, table, mapped)


def _writable(mapped: MappedColumn, live: Column) -> bool:
    """A state is set when a phone call is completed, which is an update."""
    if mapped.table == QUEUE_ITEM or not live.valid_for_create:
        return live.valid_for_update and (mapped.table == QUEUE_ITEM or live.type is ColumnType.OPTION)
    return True


def _link_misfits(mapping: MappingToCheck, table: Table, mapped: MappedColumn) -> Iterator[str]:
    targets = table.links.get(str(mapped.binding))
    if targets is None:
        yield f"is not set through {mapped.binding}; take the navigation property's name from $metadata"
        return
    wanted = next((t.entity_set for word, t in mapping.tables.items() if mapped.target in (word, t.logical_name)), None)
    if wanted is not None and wanted not in targets:
        yield f"does not point to {wanted}"


def _options(mapping: MappingToCheck, snapshot: Snapshot) -> Iterator[MappingGap]:
    for name, option in mapping.options.items():
        column = mapping.columns.get(option.concept)
        table = _table(mapping, snapshot, column.table) if column else None
        if column is None or table is None or (live := table.columns.get(column.name)) is None:
            continue  # named already
        if option.value not in (live.options or frozenset()):
            yield MappingGap(f"option_sets.{name}", f"{column.name} has no option {option.value}")


def _compared(mapping: MappingToCheck, snapshot: Snapshot) -> Iterator[MappingGap]:
    if (table := _table(mapping, snapshot, QUEUE_ITEM)) is None:
        return
    for name in mapping.compared:
        if (live := table.columns.get(name)) is None:
            yield MappingGap("preserve_if_present", f"the queue item has no column {name}")
        elif not live.valid_for_read:
            yield MappingGap("preserve_if_present", f"{name} cannot be read")


def _fixed(mapping: MappingToCheck, snapshot: Snapshot) -> Iterator[MappingGap]:
    for one in mapping.fixed:
        if (table := _table(mapping, snapshot, one.table)) is None:
            continue  # named by its table
        if (expected := column_gap(table, one.column, one.value, Precondition.MUST_NOT_EXIST)) is not None:
            yield MappingGap(one.where, f"needs {expected}")


def _people(mapping: MappingToCheck, facts: PeopleFacts, names: Mapping[str, str]) -> Iterator[MappingGap]:
    """Names of people are compared and never said (B1)."""
    for where, one in mapping.people.items():
        wanted, live = mapping.names.get(where), names.get(one.key)
        if not facts.get(one.key):
            if where != SENDER:  # named by its party
                yield MappingGap(where, _nobody(where, one))
        elif wanted and live and not _same(wanted, live):
            what = f"the {one.kind} with this id has another name than the mapping says; correct one"
            yield MappingGap(where, what)


def _nobody(where: str, one: Named) -> str:
    if where == CALLER:
        return f"needs {gate.CALLER_NEEDED}"
    return f"no {one.kind} with this id exists, is enabled and may own records"


def _parties(mapping: MappingToCheck, snapshot: Snapshot, facts: PeopleFacts) -> Iterator[MappingGap]:
    calls = mapping.tables.get("phone_call")
    if mapping.parties is not None and calls is not None:
        for entity_set, column, expected in gate.party_gaps(mapping.parties, calls.entity_set, snapshot, facts):
            yield MappingGap("activity_parties", f"{column or entity_set} needs {expected}")
