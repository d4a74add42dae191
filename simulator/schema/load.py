"""Read tables from YAML or JSON.

A file holds one table (or a list of tables under `tables`). The short form of a column is its type and its limits; what
every table has (owner, created, modified, state) is added here. See `tables/phonecall.yaml` for a full example.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from simulator.schema.model import Column, End, Kind, Lookup, ManyToMany, Option, Schema, State, Table

TABLES = Path(__file__).parent.parent / "tables"


class SchemaError(ValueError):
    """A table file is wrong; the message names the file and every mistake in it."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


TypeName = Literal[
    "string", "memo", "integer", "bigint", "decimal", "double", "money", "boolean", "picklist", "datetime", "date",
    "guid", "lookup", "owner", "entity_name",
]  # fmt: skip

KINDS: dict[str, Kind] = {
    "string": Kind.STRING,
    "memo": Kind.MEMO,
    "integer": Kind.INTEGER,
    "bigint": Kind.BIGINT,
    "decimal": Kind.DECIMAL,
    "double": Kind.DOUBLE,
    "money": Kind.MONEY,
    "boolean": Kind.BOOLEAN,
    "picklist": Kind.PICKLIST,
    "datetime": Kind.DATETIME,
    "date": Kind.DATETIME,
    "guid": Kind.GUID,
    "lookup": Kind.LOOKUP,
    "owner": Kind.OWNER,
    "entity_name": Kind.ENTITY_NAME,
}


class TargetDefinition(_Strict):
    navigation: str | None = Field(
        default=None, description="navigation property; the column's schema name when left out"
    )
    collection: str | None = Field(default=None, description="the target's collection of these rows")
    on_delete: Literal["RemoveLink", "Cascade", "Restrict"] = "RemoveLink"
    schema_name: str | None = None


class ColumnDefinition(_Strict):
    """One column of a table file."""

    type: TypeName
    max: float | None = Field(default=None, description="longest text, or largest number")
    min: float | None = None
    precision: int = 2
    options: dict[int, str] = Field(default_factory=dict)
    default: Any = None
    required: Literal["None", "SystemRequired", "ApplicationRequired", "Recommended"] = "None"
    create: bool = True
    update: bool = True
    format: str | None = Field(
        default=None, description="of a text (Text, Email, Phone, Url …) or of a time (DateOnly)"
    )
    behavior: Literal["UserLocal", "DateOnly", "TimeZoneIndependent"] | None = Field(
        default=None, description="of a time; the type `date` is one of behavior DateOnly"
    )
    secured: bool = Field(
        default=False, description="column-level security: nobody reads or writes it unless permitted"
    )
    source: Literal["simple", "calculated", "rollup"] = Field(
        default="simple", description="calculated and rolled-up columns cannot be written"
    )
    schema_name: str | None = None
    label: str | None = None
    targets: dict[str, TargetDefinition] = Field(default_factory=dict)


class StateDefinition(_Strict):
    label: str
    default: int
    statuses: dict[int, str]


class EndDefinition(_Strict):
    table: str
    column: str
    navigation: str


class IntersectDefinition(_Strict):
    """What makes a table the intersect table of a many-to-many relationship."""

    schema_name: str
    first: EndDefinition
    second: EndDefinition


class TableDefinition(_Strict):
    """One table file."""

    table: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]*$")]
    set: str
    id: str
    name: str
    schema_name: str | None = None
    label: str | None = None
    type_code: int = 10000
    custom: bool = False
    activity: bool = False
    ownership: Literal["user", "none"] = "user"
    optimistic_concurrency: bool = True
    view_of: list[str] = Field(default_factory=list)
    parties: str = ""
    intersect: IntersectDefinition | None = None
    states: dict[int, StateDefinition] = Field(default_factory=dict)
    columns: dict[str, ColumnDefinition] = Field(default_factory=dict)
    keys: dict[str, list[str]] = Field(default_factory=dict)


Definitions = Mapping[str, Any]

_SERVICE_TABLES = ("businessunit", "systemuser", "team")
_USER = {"systemuser": TargetDefinition()}
_OWNER = {"systemuser": TargetDefinition(navigation="ownerid"), "team": TargetDefinition(navigation="ownerid")}
_TEXT_LIMIT = {Kind.STRING: 100, Kind.MEMO: 2000}
# The range that a number has unless its column sets a narrower one.
_RANGE: dict[Kind, tuple[float, float]] = {
    Kind.INTEGER: (-2147483648, 2147483647),
    Kind.BIGINT: (-9223372036854775808, 9223372036854775807),
    Kind.DECIMAL: (-100_000_000_000, 100_000_000_000),
    Kind.DOUBLE: (-100_000_000_000, 100_000_000_000),
    Kind.MONEY: (-922_337_203_685_477, 922_337_203_685_477),
}
_FORMAT = {Kind.STRING: "Text", Kind.MEMO: "TextArea", Kind.DATETIME: "DateAndTime"}
_SOURCES = {"simple": 0, "calculated": 1, "rollup": 2}
_ACTIVE = {
    0: StateDefinition(label="Active", default=1, statuses={1: "Active"}),
    1: StateDefinition(label="Inactive", default=2, statuses={2: "Inactive"}),
}


# What the service fills in or decides by; a table cannot be without them.
SERVICE_COLUMNS = frozenset(
    {
        "createdon", "modifiedon", "createdby", "modifiedby", "createdonbehalfby", "modifiedonbehalfby",
        "versionnumber", "ownerid", "owningbusinessunit", "owninguser", "owningteam", "statecode", "statuscode",
    }
)  # fmt: skip


def _common(definition: TableDefinition) -> dict[str, ColumnDefinition]:
    """Columns that the service adds to every table."""
    columns = {
        "createdon": ColumnDefinition(type="datetime", create=False, update=False),
        "modifiedon": ColumnDefinition(type="datetime", create=False, update=False),
        "createdby": ColumnDefinition(type="lookup", targets=_USER, create=False, update=False),
        "modifiedby": ColumnDefinition(type="lookup", targets=_USER, create=False, update=False),
        "createdonbehalfby": ColumnDefinition(type="lookup", targets=_USER, create=False, update=False),
        "modifiedonbehalfby": ColumnDefinition(type="lookup", targets=_USER, create=False, update=False),
        "overriddencreatedon": ColumnDefinition(type="datetime", update=False),
        "importsequencenumber": ColumnDefinition(type="integer", update=False),
        "versionnumber": ColumnDefinition(type="bigint", create=False, update=False),
    }
    if definition.ownership == "user":
        columns["ownerid"] = ColumnDefinition(type="owner", targets=_OWNER, required="SystemRequired")
        columns["owningbusinessunit"] = ColumnDefinition(
            type="lookup", targets={"businessunit": TargetDefinition()}, create=False, update=False
        )
        columns["owninguser"] = ColumnDefinition(type="lookup", targets=_USER, create=False, update=False)
        columns["owningteam"] = ColumnDefinition(
            type="lookup", targets={"team": TargetDefinition()}, create=False, update=False
        )
    return columns


def column_of(table: str, name: str, definition: ColumnDefinition) -> Column:
    """The column of a table that a definition describes."""
    kind = KINDS[definition.type]
    schema_name = definition.schema_name or name
    lookups = tuple(
        Lookup(
            target=target,
            navigation=spec.navigation or schema_name,
            collection=spec.collection or f"{target}_{table}_{name}",
            on_delete=spec.on_delete,
            schema_name=spec.schema_name or f"{target}_{table}_{name}",
        )
        for target, spec in definition.targets.items()
    )
    text = kind in _TEXT_LIMIT
    low, high = _RANGE.get(kind, (None, None))
    behavior = definition.behavior or ("DateOnly" if definition.type == "date" else "UserLocal")
    computed = definition.source != "simple"
    return Column(
        name=name,
        kind=kind,
        schema_name=schema_name,
        label=definition.label or name,
        max_length=int(definition.max or _TEXT_LIMIT[kind]) if text else 0,
        minimum=low if definition.min is None else definition.min,
        maximum=None if text else high if definition.max is None else definition.max,
        precision=definition.precision,
        options=tuple(Option(value, label) for value, label in definition.options.items()),
        default=definition.default,
        required=definition.required,
        creatable=definition.create and not computed,
        updatable=definition.update and not computed,
        text_format=definition.format or ("DateOnly" if behavior == "DateOnly" else _FORMAT.get(kind, "None")),
        behavior=behavior,
        secured=definition.secured,
        source=_SOURCES[definition.source],
        lookups=lookups,
    )


def _misfit(table: TableDefinition, name: str, definition: ColumnDefinition) -> str:
    """What the service would not let an administrator make; empty when it would."""
    time = definition.type in {"datetime", "date"}
    if definition.behavior is not None and not time:
        return "only a datetime has a behavior"
    if definition.type == "date" and definition.behavior not in (None, "DateOnly"):
        return f"a date has the behavior DateOnly, not {definition.behavior}"
    if time and definition.format not in (None, "DateOnly", "DateAndTime"):
        return f"the format of a time is DateOnly or DateAndTime, not {definition.format}"
    if definition.format == "DateAndTime" and (definition.type == "date" or definition.behavior == "DateOnly"):
        return "the behavior DateOnly has the format DateOnly"
    if definition.secured and name == table.name:
        return "the primary name column cannot be secured"
    return ""


def _state_columns(definition: TableDefinition, states: Mapping[int, StateDefinition]) -> dict[str, Column]:
    # An activity cannot be created closed: its state is documented as not valid for create.
    first = min(states)
    state = Column(
        name="statecode",
        kind=Kind.STATE,
        schema_name="StateCode" if not definition.custom else "statecode",
        label="Status",
        options=tuple(Option(value, spec.label) for value, spec in states.items()),
        default=first,
        required="SystemRequired",
        creatable=not definition.activity,
    )
    status = Column(
        name="statuscode",
        kind=Kind.STATUS,
        schema_name="StatusCode" if not definition.custom else "statuscode",
        label="Status Reason",
        options=tuple(
            Option(value, label, number) for number, spec in states.items() for value, label in spec.statuses.items()
        ),
        default=states[first].default,
    )
    return {"statecode": state, "statuscode": status}


def build(definition: TableDefinition) -> Table:
    """The table that a definition describes. Raises SchemaError naming every reference that leads nowhere."""
    states = definition.states or _ACTIVE
    columns = {
        definition.id: Column(
            name=definition.id,
            kind=Kind.GUID,
            schema_name=definition.id,
            label=definition.id,
            required="SystemRequired",
            updatable=False,
        )
    }
    columns |= {name: column_of(definition.table, name, spec) for name, spec in definition.columns.items()}
    columns |= _state_columns(definition, states)
    for name, spec in _common(definition).items():
        columns.setdefault(name, column_of(definition.table, name, spec))
    wrong = [f"primary name '{definition.name}' is not a column"] if definition.name not in columns else []
    wrong += [
        f"key '{key}' names no column '{name}'"
        for key, names in definition.keys.items()
        for name in names
        if name not in columns
    ]
    wrong += [
        f"column '{name}' has no targets"
        for name, spec in definition.columns.items()
        if spec.type == "lookup" and not spec.targets
    ]
    wrong += [
        f"column '{name}': {reason}"
        for name, spec in definition.columns.items()
        if (reason := _misfit(definition, name, spec))
    ]
    if wrong:
        raise SchemaError(f"table {definition.table}: {'; '.join(wrong)}")
    return Table(
        logical_name=definition.table,
        entity_set=definition.set,
        schema_name=definition.schema_name or definition.table,
        label=definition.label or definition.table,
        primary_id=definition.id,
        primary_name=definition.name,
        columns=columns,
        states=tuple(State(value, spec.label, spec.default) for value, spec in states.items()),
        keys={name: tuple(parts) for name, parts in definition.keys.items()},
        type_code=definition.type_code,
        custom=definition.custom,
        activity=definition.activity,
        user_owned=definition.ownership == "user",
        optimistic_concurrency=definition.optimistic_concurrency,
        view_of=tuple(definition.view_of),
        parties=definition.parties,
        intersect=_intersect(definition.intersect),
    )


def _intersect(definition: IntersectDefinition | None) -> ManyToMany | None:
    if definition is None:
        return None
    first, second = (End(item.table, item.column, item.navigation) for item in (definition.first, definition.second))
    return ManyToMany(definition.schema_name, first, second)


def table_from(definition: Definitions, *, source: str = "table") -> Table:
    """One table from plain data. Raises SchemaError with every mistake."""
    try:
        return build(TableDefinition.model_validate(definition))
    except ValidationError as error:
        mistakes = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise SchemaError(f"{source}: {mistakes}") from error


def read_schema(*paths: Path) -> list[Table]:
    """The tables of some files, or of every .yaml, .yml and .json file in a folder."""
    files: list[Path] = []
    for path in paths:
        files += (
            sorted(item for item in path.iterdir() if item.suffix in {".yaml", ".yml", ".json"})
            if path.is_dir()
            else [path]
        )
    tables = []
    for file in files:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        many = content["tables"] if isinstance(content, dict) and "tables" in content else [content]
        tables += [table_from(item, source=file.name) for item in many]
    return tables


def schema_of(tables: Iterable[Table]) -> Schema:
    """These tables, and those without which nobody could sign in or own a row, unless they are among them.

    Raises SchemaError for two tables of one name and for lookups that lead nowhere.
    """
    given = list(tables)
    names = {table.logical_name for table in given}
    own = read_schema(*(TABLES / f"{name}.yaml" for name in _SERVICE_TABLES if name not in names))
    schema = Schema(())
    for table in [*own, *given]:
        check_set(schema, table)
        schema.put(table)
    for table in schema:
        check_lookups(schema, table)
    return schema


def check_set(schema: Schema, table: Table) -> None:
    """Raises SchemaError when another table has this set name."""
    holder = schema.by_set.get(table.entity_set)
    if holder is not None and holder.logical_name != table.logical_name:
        raise SchemaError(f"table {table.logical_name}: the set '{table.entity_set}' is that of {holder.logical_name}")


def check_lookups(schema: Schema, table: Table) -> None:
    """Raises SchemaError naming every lookup to a table that is not there."""
    known = {*schema.by_name, table.logical_name}
    ends = (table.intersect.first, table.intersect.second) if table.intersect else ()
    wrong = [
        f"{table.logical_name} relates '{end.table}', which is not a table here"
        for end in ends
        if end.table not in known
    ]
    wrong += [
        f"{table.logical_name}.{column.name} points to '{lookup.target}', which is not a table here"
        for column in table.columns.values()
        for lookup in column.lookups
        if lookup.target not in known
    ]
    if wrong:
        raise SchemaError("; ".join(wrong))


def default_schema() -> Schema:
    """The example tenant: accounts, contacts, users, teams, activities, campaigns and the call queue."""
    return schema_of(read_schema(TABLES))
