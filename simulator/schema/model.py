"""Tables as values. A changed table is a new `Table`; rows of the store never hold on to one."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any


class Kind(StrEnum):
    """Column types, under the names that metadata gives them (`AttributeType`)."""

    STRING = "String"
    MEMO = "Memo"
    INTEGER = "Integer"
    BIGINT = "BigInt"
    DECIMAL = "Decimal"
    DOUBLE = "Double"
    MONEY = "Money"
    BOOLEAN = "Boolean"
    PICKLIST = "Picklist"
    DATETIME = "DateTime"
    GUID = "Uniqueidentifier"
    LOOKUP = "Lookup"
    OWNER = "Owner"
    STATE = "State"
    STATUS = "Status"
    ENTITY_NAME = "EntityName"
    VIRTUAL = "Virtual"


LOOKUPS = frozenset({Kind.LOOKUP, Kind.OWNER})
OPTIONS = frozenset({Kind.PICKLIST, Kind.STATE, Kind.STATUS})

EDM = {
    Kind.STRING: "Edm.String",
    Kind.MEMO: "Edm.String",
    Kind.ENTITY_NAME: "Edm.String",
    Kind.VIRTUAL: "Edm.String",
    Kind.INTEGER: "Edm.Int32",
    Kind.PICKLIST: "Edm.Int32",
    Kind.STATE: "Edm.Int32",
    Kind.STATUS: "Edm.Int32",
    Kind.BIGINT: "Edm.Int64",
    Kind.DECIMAL: "Edm.Decimal",
    Kind.MONEY: "Edm.Decimal",
    Kind.DOUBLE: "Edm.Double",
    Kind.BOOLEAN: "Edm.Boolean",
    Kind.DATETIME: "Edm.DateTimeOffset",
    Kind.GUID: "Edm.Guid",
    Kind.LOOKUP: "Edm.Guid",
    Kind.OWNER: "Edm.Guid",
}


@dataclass(frozen=True, slots=True)
class Option:
    """One value of an option set; a status reason also names the state it belongs to."""

    value: int
    label: str
    state: int | None = None


@dataclass(frozen=True, slots=True)
class State:
    value: int
    label: str
    default_status: int


@dataclass(frozen=True, slots=True)
class Lookup:
    """One target table of a lookup: the name of its navigation property and what happens when the target is deleted."""

    target: str
    navigation: str
    collection: str
    on_delete: str = "RemoveLink"
    schema_name: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """One column. `behavior` is that of a time; `source` is 1 for a calculated and 2 for a rolled-up column."""

    name: str
    kind: Kind
    schema_name: str
    label: str
    max_length: int = 0
    minimum: float | None = None
    maximum: float | None = None
    precision: int = 2
    options: tuple[Option, ...] = ()
    default: Any = None
    required: str = "None"
    creatable: bool = True
    updatable: bool = True
    text_format: str = "Text"
    behavior: str = "UserLocal"
    secured: bool = False
    source: int = 0
    lookups: tuple[Lookup, ...] = ()
    attribute_of: str | None = None

    # The name under which the column is read: lookups show as `_name_value`.
    wire: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "wire", f"_{self.name}_value" if self.kind in LOOKUPS else self.name)

    @property
    def date_only(self) -> bool:
        """A day without a time, which belongs to no time zone. A format of DateOnly alone only hides the time."""
        return self.behavior == "DateOnly"

    @property
    def edm(self) -> str:
        return "Edm.Date" if self.kind is Kind.DATETIME and self.date_only else EDM[self.kind]

    @property
    def values(self) -> frozenset[int]:
        return frozenset(option.value for option in self.options)


@dataclass(frozen=True, slots=True)
class Binding:
    """What `name@odata.bind` fills, and the tables that it may point to."""

    column: Column
    targets: frozenset[str]


@dataclass(frozen=True)
class Table:
    """One table. `columns` by logical name; the look-ups below are derived once and then kept."""

    logical_name: str
    entity_set: str
    schema_name: str
    label: str
    primary_id: str
    primary_name: str
    columns: Mapping[str, Column]
    states: tuple[State, ...] = ()
    keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    type_code: int = 10000
    custom: bool = False
    activity: bool = False
    user_owned: bool = False
    optimistic_concurrency: bool = True
    view_of: tuple[str, ...] = ()
    parties: str = ""
    audited: bool = True
    intersect: "ManyToMany | None" = None

    @cached_property
    def by_wire(self) -> dict[str, Column]:
        return {column.wire: column for column in self.columns.values()}

    @cached_property
    def navigation(self) -> dict[str, tuple[Column, Lookup]]:
        """Single-valued navigation properties by name."""
        return {
            name: (column, lookup)
            for column in self.columns.values()
            for lookup in column.lookups
            for name in dict.fromkeys((lookup.navigation, *self._shared_names(column, lookup)))
        }

    def _shared_names(self, column: Column, lookup: Lookup) -> tuple[str, ...]:
        # Owner is bound under the plain name for every target; activities also take the pointer's names.
        if column.kind is Kind.OWNER:
            return ()
        return (f"{column.name}_{lookup.target}",) if self.activity and len(column.lookups) > 1 else ()

    @cached_property
    def binds(self) -> dict[str, Binding]:
        """What `name@odata.bind` may point to: one name can have several target tables."""
        found: dict[str, tuple[Column, set[str]]] = {}
        for column in self.columns.values():
            for lookup in column.lookups:
                for name in {lookup.navigation, *self._shared_names(column, lookup)}:
                    found.setdefault(name, (column, set()))[1].add(lookup.target)
        return {name: Binding(column, frozenset(targets)) for name, (column, targets) in found.items()}

    @cached_property
    def secured(self) -> frozenset[str]:
        """Names under which columns with column-level security are read."""
        return frozenset(column.wire for column in self.columns.values() if column.secured)

    @cached_property
    def key_columns(self) -> dict[str, tuple[str, ...]]:
        """For each alternate key, the names under which its columns are read."""
        return {key: tuple(self.columns[name].wire for name in names) for key, names in self.keys.items()}

    @cached_property
    def keyed(self) -> frozenset[str]:
        """Names under which the columns of all alternate keys are read."""
        return frozenset(wire for wires in self.key_columns.values() for wire in wires)

    @cached_property
    def template(self) -> dict[str, Any]:
        """A row of defaults and nulls, in the order in which columns are shown."""
        return {wire: column.default for wire, column in self.by_wire.items()}

    @cached_property
    def opening(self) -> tuple[int, int]:
        """State and status of a new row whose body says nothing of them."""
        return self.states[0].value, self.states[0].default_status

    @cached_property
    def state_labels(self) -> dict[int, str]:
        return {state.value: state.label for state in self.states}

    @cached_property
    def status_of_state(self) -> dict[int, frozenset[int]]:
        options = self.columns["statuscode"].options if "statuscode" in self.columns else ()
        return {
            state.value: frozenset(option.value for option in options if option.state == state.value)
            for state in self.states
        }

    @cached_property
    def default_status(self) -> dict[int, int]:
        return {state.value: state.default_status for state in self.states}


@dataclass(frozen=True, slots=True)
class End:
    """One side of a many-to-many relationship: the table, its column in the intersect table, its collection's name."""

    table: str
    column: str
    navigation: str


@dataclass(frozen=True, slots=True)
class ManyToMany:
    schema_name: str
    first: End
    second: End


@dataclass(frozen=True, slots=True)
class Association:
    """A many-to-many relationship seen from one side."""

    intersect: str
    schema_name: str
    own: End
    other: End


class Schema:
    """All tables of the organization, by logical name and by set name. Tables can be exchanged while it runs."""

    def __init__(self, tables: Iterable[Table]) -> None:
        self.by_name: dict[str, Table] = {}
        self.by_set: dict[str, Table] = {}
        self.revision = 0
        for table in tables:
            self.put(table)

    def put(self, table: Table) -> None:
        self.drop(table.logical_name)
        self.by_name[table.logical_name] = table
        self.by_set[table.entity_set] = table

    def drop(self, logical_name: str) -> None:
        self.revision += 1
        old = self.by_name.pop(logical_name, None)
        if old is not None:
            del self.by_set[old.entity_set]
        self.__dict__.pop("referencing", None)
        self.__dict__.pop("associations", None)

    @cached_property
    def referencing(self) -> dict[str, list[tuple[Table, Column, Lookup]]]:
        """For each table, the lookups of all tables that point at it."""
        found: dict[str, list[tuple[Table, Column, Lookup]]] = {name: [] for name in self.by_name}
        for table in self.by_name.values():
            for column in table.columns.values():
                for lookup in column.lookups:
                    found.setdefault(lookup.target, []).append((table, column, lookup))
        return found

    @cached_property
    def associations(self) -> dict[tuple[str, str], Association]:
        """Many-to-many relationships by table and name of the collection."""
        found: dict[tuple[str, str], Association] = {}
        for table in self.by_name.values():
            if table.intersect is not None:
                first, second = table.intersect.first, table.intersect.second
                for own, other in ((first, second), (second, first)):
                    found[own.table, own.navigation] = Association(
                        table.logical_name, table.intersect.schema_name, own, other
                    )
        return found

    def __iter__(self) -> Iterator[Table]:
        return iter(self.by_name.values())
